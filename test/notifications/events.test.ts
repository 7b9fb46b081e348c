import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Listener, startListener } from "../../src/notifications/testing/listener.ts";
import { freePort } from "../support/free-port.ts";
import { ACCEPT_ALL, expectStatus, pushBlob, pushImage, type Repository, startUpload } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

/** An event as it arrives. */
interface Event {
  readonly id: string;
  readonly timestamp: string;
  readonly action: string;
  readonly target: Readonly<Record<string, unknown>>;
  readonly request: Readonly<Record<string, unknown>>;
  readonly actor: object;
  readonly source: Readonly<Record<string, unknown>>;
}

function eventsOf(listener: Listener): Event[] {
  return listener.heard.flatMap(({ body }) => (JSON.parse(body) as { events: Event[] }).events);
}

/** Pushes, pulls, mounts and deletes: everything that there is an event for. */
async function doEverything(registry: RegistryProcess): Promise<void> {
  const team: Repository = { url: registry.url, name: "team/app" };
  const image = await pushImage(team, "v1", { layers: [new TextEncoder().encode("layer")] });
  const url = `${registry.url}/v2`;
  await expectStatus(200, `${url}/team/app/manifests/v1`, { headers: { accept: ACCEPT_ALL } });
  await expectStatus(200, `${url}/team/app/manifests/${image.digest}`, { method: "HEAD", headers: { accept: ACCEPT_ALL } });
  const layer = image.layers[0]?.digest ?? "";
  await (await expectStatus(200, `${url}/team/app/blobs/${layer}`)).bytes();
  await expectStatus(200, `${url}/team/app/blobs/${layer}`, { method: "HEAD" });
  await expectStatus(404, `${url}/team/app/manifests/none`);
  await expectStatus(201, `${url}/team/other/blobs/uploads/?mount=${layer}&from=team/app`, { method: "POST" });
  await startUpload({ url: registry.url, name: "team/none" });
  await expectStatus(202, `${url}/team/app/manifests/${image.digest}`, { method: "DELETE" });
  await expectStatus(202, `${url}/team/app/blobs/${layer}`, { method: "DELETE" });
}

/** What an event says, without what differs from run to run and between versions of distribution (3 prints empty fields). */
function essence(event: Event, registry: RegistryProcess): object {
  const { url, ...target } = event.target;
  return {
    action: event.action,
    target: Object.fromEntries(Object.entries(target).filter(([, value]) => value !== "" && value !== 0).sort(([a], [b]) => (a < b ? -1 : 1))),
    url: typeof url === "string" ? url.replace(registry.host, "HOST") : url,
    request: { method: event.request["method"], host: String(event.request["host"]).replace(registry.host, "HOST"), useragent: String(event.request["useragent"]).replace(/\/.*/, "") },
    actor: event.actor,
  };
}

describe("notifications", () => {
  test("say what distribution says of the same requests", async () => {
    const heard: object[][] = [];
    for (const implementation of ["source", "distribution"] as const) {
      await using listener = startListener();
      const notifications = { endpoints: [{ name: "a", url: listener.url, timeout: "1s", threshold: 3, backoff: "100ms" }] };
      await using registry = await startRegistry({ implementation, config: { notifications } });
      await doEverything(registry);
      await waitUntil(() => eventsOf(listener).filter(({ action }) => action === "delete").length === 3);
      heard.push(eventsOf(listener).map((event) => essence(event, registry)));
    }
    expect(heard[0]).toEqual(heard[1] ?? []);
  });

  describe("of one process", () => {
    let folder: TempFolder;
    let listener: Listener;
    let registry: RegistryProcess;
    beforeAll(async () => {
      folder = await tempFolder();
      listener = startListener();
      const endpoint = { name: "a", url: `${listener.url}/hook`, headers: { Authorization: ["Bearer of-events"] }, secret: "s3cret" };
      const notifications = { directory: folder.path, events: { includereferences: true }, endpoints: [endpoint, { name: "off", url: "http://127.0.0.1:1", disabled: true }] };
      registry = await startRegistry({ config: { notifications, http: { debug: { addr: "127.0.0.1:0" } } } });
      await doEverything(registry);
      await waitUntil(() => eventsOf(listener).length >= 11);
    });
    afterAll(async () => {
      await registry[Symbol.asyncDispose]();
      await listener[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    });

    test("come in the order of the requests, each once", () => {
      const events = eventsOf(listener);
      expect(events.map(({ action, target }) => `${action} ${String(target["repository"])} ${String(target["tag"] ?? "")}`.trim())).toEqual([
        "push team/app",
        "push team/app",
        "push team/app v1",
        "pull team/app v1",
        "pull team/app",
        "pull team/app",
        "pull team/app",
        "mount team/other",
        "delete team/app",
        "delete team/app v1",
        "delete team/app",
      ]);
      expect(new Set(events.map(({ id }) => id)).size).toBe(11);
      expect(new Set(events.map(({ source }) => JSON.stringify(source))).size).toBe(1);
    });

    test("carry the endpoint's headers and a signature, and list references", () => {
      const [push] = listener.heard;
      expect(push?.path).toBe("/hook");
      expect(push?.headers.get("authorization")).toBe("Bearer of-events");
      expect(push?.headers.get("x-registry-signature-256")).toMatch(/^sha256=[0-9a-f]{64}$/);
      expect(push?.headers.get("content-type")).toBe("application/vnd.docker.distribution.events.v2+json");
      const manifest = eventsOf(listener).find(({ action, target }) => action === "push" && target["tag"] === "v1");
      expect((manifest?.target["references"] as unknown[]).length).toBe(2);
    });

    test("are counted in /debug/vars, without secrets", async () => {
      const [, address = ""] = await registry.child.waitForOutput(/debug server listening ([^\s",]+)/);
      const text = await (await expectStatus(200, `http://${address}/debug/vars`)).text();
      const vars = JSON.parse(text) as { registry: { notifications: { endpoints: Record<string, unknown>[] } } };
      expect(vars.registry.notifications.endpoints).toMatchObject([{ name: "a", Threshold: 10, Metrics: { Events: 11, Successes: 11, Pending: 0, Statuses: { "200 OK": 11 } } }]);
      expect(text).not.toContain("of-events");
      expect(text).not.toContain("s3cret");
    });
  });

  test("that wait on disk survive a killed process, all of them and in order", async () => {
    await using folder = await tempFolder();
    const port = freePort();
    const notifications = { directory: join(folder.path, "queue"), endpoints: [{ name: "kept", url: `http://127.0.0.1:${port}/`, persist: true, backoff: "100ms" }] };
    const storageFolder = join(folder.path, "storage");
    const wanted = 1000;
    {
      await using registry = await startRegistry({ config: { notifications }, storageFolder });
      const repository = { url: registry.url, name: "team/app" };
      const digest = await pushBlob(repository, "content");
      for (let i = 0; i < wanted - 1; i += 20) {
        await Promise.all(Array.from({ length: Math.min(20, wanted - 1 - i) }, () => expectStatus(200, `${registry.url}/v2/team/app/blobs/${digest}`, { method: "HEAD" })));
      }
      await registry.child.stop("SIGKILL");
    }
    await using listener = startListener(undefined, port);
    await using registry = await startRegistry({ config: { notifications }, storageFolder });
    await waitUntil(() => new Set(listener.ids()).size >= wanted, 20_000);
    const events = eventsOf(listener);
    const once = events.filter((event, index) => events.findIndex(({ id }) => id === event.id) === index);
    expect(once.length).toBe(wanted);
    const times = once.map(({ timestamp }) => timestamp);
    expect(times).toEqual([...times].sort());
    expect(registry.child.output()).not.toContain("damaged");
  });

  test("are flushed at shutdown within the drain time", async () => {
    let answers = 0;
    await using listener = startListener(async () => {
      await Bun.sleep(20);
      answers++;
      return new Response("ok");
    });
    await using registry = await startRegistry({ config: { notifications: { endpoints: [{ name: "a", url: listener.url }] }, http: { draintimeout: "5s" } } });
    const digest = await pushBlob({ url: registry.url, name: "a" }, "content");
    await Promise.all(Array.from({ length: 30 }, () => expectStatus(200, `${registry.url}/v2/a/blobs/${digest}`, { method: "HEAD" })));
    expect(answers).toBeLessThan(31);
    expect(await registry.child.stop()).toBe(0);
    expect(answers).toBe(31);
  });
});

async function waitUntil(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error("the condition did not come true");
    await Bun.sleep(10);
  }
}
