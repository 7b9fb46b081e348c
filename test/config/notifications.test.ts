import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Heard, type Listener, startListener } from "../../src/notifications/testing/listener.ts";
import { expectStatus, pushBlob, pushImage, type PushedImage, TYPES } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

async function startNotifying(endpoints: readonly ConfigSection[], more: ConfigSection = {}): Promise<RegistryProcess> {
  return await startRegistry({ config: { notifications: { endpoints, ...more }, http: { debug: { addr: "127.0.0.1:0", prometheus: { enabled: true } } } } });
}

async function debug(registry: RegistryProcess, path: string): Promise<Response> {
  return await expectStatus(200, `http://${/debug server listening (\S+:\d+)/.exec(registry.child.output())?.[1]}${path}`);
}

async function until(condition: () => boolean, withinMs = 8000): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (!condition() && Date.now() < deadline) await Bun.sleep(20);
  return condition();
}

/** `action mediaType` of events in distribution's envelope. */
function kinds(heard: readonly Heard[], path: string): readonly string[] {
  const events = heard.filter((request) => request.path === path).flatMap(({ body }) => (JSON.parse(body) as { events: { action: string; target: { mediaType: string } }[] }).events);
  return events.map(({ action, target }) => `${action} ${target.mediaType}`.trim());
}

const BLOB = "application/octet-stream";

describe("notifications.endpoints", () => {
  const cleanup = new AsyncDisposableStack();
  let listener: Listener;
  let registry: RegistryProcess;
  let image: PushedImage;
  beforeAll(async () => {
    listener = cleanup.use(startListener());
    const endpoint = (name: string, more: ConfigSection = {}): ConfigSection => ({ name, url: `${listener.url}/${name}`, ...more });
    registry = cleanup.use(
      await startNotifying(
        [
          endpoint("plain", { headers: { "X-Own": ["a", "b"], Authorization: "Bearer one" }, secret: "signing secret" }),
          endpoint("off", { disabled: true }),
          endpoint("actions", { ignore: { actions: ["push"] } }),
          endpoint("types", { ignore: { mediatypes: [BLOB] } }),
          endpoint("old-types", { ignoredmediatypes: [TYPES.ociManifest] }),
          endpoint("cloud", { format: "cloudevents" }),
        ],
        { events: { includereferences: true } },
      ),
    );
    image = await pushImage({ url: registry.url, name: "team/app" }, "v1");
    await expectStatus(202, `${registry.url}/v2/team/app/blobs/${image.config.digest}`, { method: "DELETE" });
    await until(() => kinds(listener.heard, "/plain").length === 4 && listener.heard.filter(({ path }) => path === "/cloud").length === 4);
  });
  afterAll(async () => await cleanup.disposeAsync());

  test("notifications.endpoints[].name, url and disabled: who is told", async () => {
    expect(new Set(listener.heard.map(({ path }) => path))).toEqual(new Set(["/plain", "/actions", "/types", "/old-types", "/cloud"]));
    const vars = (await (await debug(registry, "/debug/vars")).json()) as { registry: { notifications: { endpoints: { name: string; url: string }[] } } };
    expect(vars.registry.notifications.endpoints.map(({ name, url }) => [name, url])).toContainEqual(["plain", `${listener.url}/plain`]);
    expect(kinds(listener.heard, "/plain")).toEqual([`push ${BLOB}`, `push ${BLOB}`, `push ${TYPES.ociManifest}`, "delete"]);
  });
  test("notifications.endpoints[].headers and secret: on every request", () => {
    for (const { headers, body } of listener.heard.filter(({ path }) => path === "/plain")) {
      expect([headers.get("x-own"), headers.get("authorization")]).toEqual(["a, b", "Bearer one"]);
      expect(headers.get("x-registry-signature-256")).toBe(`sha256=${createHmac("sha256", "signing secret").update(body).digest("hex")}`);
    }
  });
  test("notifications.endpoints[].ignore and ignoredmediatypes: what is not told", () => {
    expect(kinds(listener.heard, "/actions")).toEqual(["delete"]);
    expect(kinds(listener.heard, "/types")).toEqual([`push ${TYPES.ociManifest}`, "delete"]);
    expect(kinds(listener.heard, "/old-types")).toEqual([`push ${BLOB}`, `push ${BLOB}`, "delete"]);
  });
  test("notifications.endpoints[].format: CloudEvents", () => {
    const [request] = listener.heard.filter(({ path }) => path === "/cloud");
    expect(request?.headers.get("content-type")).toStartWith("application/cloudevents+json");
    expect(JSON.parse(request?.body ?? "")).toMatchObject({ specversion: "1.0" });
  });
  test("notifications.events.includereferences: pushed manifests list what they refer to", async () => {
    const bodies = listener.heard.filter(({ path, body }) => path === "/plain" && body.includes(TYPES.ociManifest)).map(({ body }) => body);
    expect(bodies[0]).toContain(image.layers[0]?.digest ?? "?");
    await using other = startListener();
    await using silent = await startNotifying([{ name: "a", url: other.url }]);
    const pushed = await pushImage({ url: silent.url, name: "a" }, "v1");
    await until(() => other.heard.length === 3);
    expect(other.heard.at(-1)?.body).not.toContain(pushed.layers[0]?.digest ?? "?");
  });
});

test("notifications.endpoints[].timeout, threshold and backoff: how it goes on when nobody answers well", async () => {
  const patientAt: number[] = [];
  await using listener = startListener(async ({ path }) => {
    if (path === "/patient") patientAt.push(performance.now());
    if (path === "/slow") await Bun.sleep(60_000);
    return new Response(null, { status: 500 });
  });
  await using registry = await startNotifying([
    { name: "quick", url: `${listener.url}/quick`, threshold: 1000, backoff: "1h" },
    { name: "careful", url: `${listener.url}/careful`, threshold: 3, backoff: "1h" },
    { name: "patient", url: `${listener.url}/patient`, threshold: 1, backoff: "300ms" },
    { name: "slow", url: `${listener.url}/slow`, timeout: "100ms", threshold: 4, backoff: "1h" },
  ]);
  const count = (path: string): number => listener.heard.filter((request) => request.path === path).length;
  await pushBlob({ url: registry.url, name: "a" }, "content");
  expect(await until(() => count("/quick") > 20)).toBe(true);
  expect(await until(() => count("/slow") === 4)).toBe(true);
  expect(await until(() => count("/patient") >= 3)).toBe(true);
  expect(count("/careful")).toBe(3);
  for (const [index, at] of patientAt.entries()) if (index > 0) expect(at - (patientAt[index - 1] ?? 0)).toBeGreaterThan(250);
  expect(count("/slow")).toBe(4);
});

test("notifications.endpoints[].queuesize: beyond it the oldest are lost, and counted", async () => {
  await using registry = await startNotifying([{ name: "away", url: "http://127.0.0.1:1", queuesize: 3 }]);
  const digest = await pushBlob({ url: registry.url, name: "a" }, "content");
  for (let pull = 0; pull < 9; pull++) await expectStatus(200, `${registry.url}/v2/a/blobs/${digest}`, { method: "HEAD" });
  const metrics = await (await debug(registry, "/metrics")).text();
  const value = (name: string): number => Number(new RegExp(`^${name}\\{endpoint="away"\\} (\\d+)$`, "m").exec(metrics)?.[1]);
  expect(value("registry_notifications_pending_total")).toBeLessThanOrEqual(4);
  expect(value("registry_notifications_dropped_total")).toBe(10 - value("registry_notifications_pending_total"));
});

describe("queues on disk", () => {
  function bytesIn(folder: string): number {
    return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
  }

  test("notifications.directory and notifications.endpoints[].persist: events wait there", async () => {
    await using folder = await tempFolder();
    await using registry = await startNotifying([{ name: "kept", url: "http://127.0.0.1:1", persist: true }, { name: "lost", url: "http://127.0.0.1:1" }], { directory: folder.path });
    await pushBlob({ url: registry.url, name: "a" }, "content");
    expect(await until(() => bytesIn(folder.path) > 200)).toBe(true);
    expect(readdirSync(folder.path).join()).toContain("kept");
    expect(readdirSync(folder.path).join()).not.toContain("lost");
  });
  test("notifications.endpoints[].maxsize: beyond it the oldest are lost", async () => {
    await using folder = await tempFolder();
    await using registry = await startNotifying([{ name: "small", url: "http://127.0.0.1:1", persist: true, maxsize: "1MiB" }, { name: "large", url: "http://127.0.0.1:1", persist: true }], { directory: folder.path });
    const digest = await pushBlob({ url: registry.url, name: "a" }, "content");
    const headers = { "user-agent": "x".repeat(60_000) };
    for (let pull = 0; pull < 60; pull++) await expectStatus(200, `${registry.url}/v2/a/blobs/${digest}`, { method: "HEAD", headers });
    await registry.child.stop();
    const [large = 0, small = 0] = readdirSync(folder.path).filter((name) => /large|small/.test(name)).sort().map((name) => bytesIn(join(folder.path, name)));
    expect(large).toBeGreaterThan(3_000_000);
    expect(small).toBeLessThanOrEqual(1024 * 1024);
  });
});
