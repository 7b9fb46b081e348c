import { describe, expect, test } from "bun:test";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { DEBUG_METRICS, uploadArrives } from "../support/arrival.ts";
import { digestOf, expectStatus, seededBytes, startUpload, withQuery } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** An upload that goes on when it is told to. */
interface SlowUpload {
  finish(): void;
  /** The status of its answer; undefined when it was cut. */
  readonly outcome: Promise<number | undefined>;
}

async function beginUpload(registry: RegistryProcess): Promise<SlowUpload> {
  const content = seededBytes(100_000, 3);
  const location = withQuery(await startUpload({ url: registry.url, name: "a" }), { digest: digestOf(content) });
  const release = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      controller.enqueue(content.subarray(0, 50_000));
      await release.promise;
      controller.enqueue(content.subarray(50_000));
      controller.close();
    },
  });
  const answer = fetch(location, { method: "PUT", body, headers: { "content-type": "application/octet-stream" } });
  await uploadArrives(registry);
  return { finish: () => release.resolve(), outcome: answer.then((response) => response.status).catch(() => undefined) };
}

describe("ending", () => {
  test("http.draintimeout: a transfer under way is finished, new connections are refused, status 0", async () => {
    await using registry = await startRegistry({ config: { http: { debug: DEBUG_METRICS, draintimeout: "15s" } } });
    const upload = await beginUpload(registry);
    process.kill(registry.child.pid, "SIGTERM");
    await registry.child.waitForOutput(/stopping server gracefully\. Draining connections for 15s/);
    await Bun.sleep(100);
    expect(await fetch(`${registry.url}/v2/`).then(() => "answered").catch(() => "refused")).toBe("refused");
    upload.finish();
    expect(await upload.outcome).toBe(201);
    expect(await registry.child.exited).toBe(0);
    expect(registry.child.output()).not.toContain("were still under way");
  });

  test("http.draintimeout: what is not done by then is cut, and said so", async () => {
    await using registry = await startRegistry({ config: { http: { debug: DEBUG_METRICS, draintimeout: "500ms" } } });
    const upload = await beginUpload(registry);
    const started = performance.now();
    expect(await registry.child.stop("SIGINT")).toBe(0);
    expect(performance.now() - started).toBeGreaterThan(450);
    expect(performance.now() - started).toBeLessThan(30_000);
    expect(registry.child.output()).toContain("requests were still under way at the end of http.draintimeout");
    upload.finish();
    expect(await upload.outcome).not.toBe(201);
  });

  test("http.draintimeout: without one nothing is waited for", async () => {
    await using registry = await startRegistry({ config: { http: { debug: DEBUG_METRICS } } });
    const upload = await beginUpload(registry);
    const started = performance.now();
    expect(await registry.child.stop()).toBe(0);
    expect(performance.now() - started).toBeLessThan(30_000);
    upload.finish();
    expect(await upload.outcome).not.toBe(201);
  });

  test("a second signal ends it at once", async () => {
    await using registry = await startRegistry({ config: { http: { debug: DEBUG_METRICS, draintimeout: "60s" } } });
    const upload = await beginUpload(registry);
    process.kill(registry.child.pid, "SIGTERM");
    await registry.child.waitForOutput(/Draining connections/);
    const started = performance.now();
    process.kill(registry.child.pid, "SIGTERM");
    expect(await registry.child.exited).toBe(1);
    expect(performance.now() - started).toBeLessThan(30_000);
    upload.finish();
    expect(await upload.outcome).not.toBe(201);
  });
});

test("SIGHUP: access rules are taken from the configuration again; what cannot be used leaves the old ones", async () => {
  await using folder = await tempFolder();
  const path = join(folder.path, "htpasswd");
  await writeFile(path, `bob:${await Bun.password.hash("bob", { algorithm: "bcrypt", cost: 4 })}\n`);
  const auth = (repositories: string, more: object = {}): object => ({ htpasswd: { realm: "r", path, rules: [{ repositories: [repositories], users: ["bob"], actions: ["pull"] }], ...more } });
  await using registry = await startRegistry({ config: { auth: auth("old/*") } });
  const config = parse(await readFile(registry.configFile, "utf8")) as object;
  const may = async (name: string): Promise<boolean> => (await fetch(`${registry.url}/v2/${name}/tags/list`, { headers: { authorization: `Basic ${btoa("bob:bob")}` } })).status === 404;
  const reload = async (changed: object, said: RegExp): Promise<void> => {
    await writeFile(registry.configFile, stringify({ ...config, auth: changed }));
    process.kill(registry.child.pid, "SIGHUP");
    await registry.child.waitForOutput(said);
  };
  expect([await may("old/a"), await may("new/a")]).toEqual([true, false]);
  await reload(auth("new/*"), /msg="reloaded" changed=auth /);
  expect([await may("old/a"), await may("new/a")]).toEqual([false, true]);
  await reload(auth("old/*", { groupsfile: join(folder.path, "nothing") }), /reload failed.*auth\.htpasswd\.groupsfile/);
  await reload({ silly: { realm: "r", service: "s" } }, /reload failed.*another kind of authorization needs a restart/);
  expect([await may("old/a"), await may("new/a")]).toEqual([false, true]);
});

test("SIGHUP: level, password file and groups are read again, and what was read is said", async () => {
  await using folder = await tempFolder();
  const [path, groupsfile] = [join(folder.path, "htpasswd"), join(folder.path, "groups")];
  const entry = async (user: string): Promise<string> => `${user}:${await Bun.password.hash(user, { algorithm: "bcrypt", cost: 4 })}\n`;
  await writeFile(path, await entry("alice"));
  await writeFile(groupsfile, "team:\n");
  const rules = [{ groups: ["team"], actions: ["pull"] }];
  await using registry = await startRegistry({ config: { auth: { htpasswd: { realm: "r", path, groupsfile, rules } } } });
  const asBob = { headers: { authorization: `Basic ${btoa("bob:bob")}` } };
  await expectStatus(401, `${registry.url}/v2/a/tags/list`, asBob);

  await writeFile(path, (await entry("alice")) + (await entry("bob")));
  await writeFile(groupsfile, "team: bob\n");
  const config = parse(await readFile(registry.configFile, "utf8")) as object;
  await writeFile(registry.configFile, stringify({ ...config, log: { level: "error" } }));
  process.kill(registry.child.pid, "SIGHUP");
  const [, changed] = await registry.child.waitForOutput(/msg="reloaded" changed="([^"]*)"/);
  expect(changed).toBe("password file, groups file, log level error");
  const before = registry.child.output().length;
  await expectStatus(404, `${registry.url}/v2/a/tags/list`, asBob);
  await registry.child.waitForOutput(/GET \/v2\/a\/tags\/list HTTP\/1.1" 404/);
  expect(registry.child.output().slice(before)).not.toContain("response completed");

  await writeFile(registry.configFile, stringify(config));
  process.kill(registry.child.pid, "SIGHUP");
  await registry.child.waitForOutput(/changed="log level info"/);
  await writeFile(registry.configFile, "broken: [");
  process.kill(registry.child.pid, "SIGHUP");
  await registry.child.waitForOutput(/reload failed.*not valid YAML/);
  await expectStatus(404, `${registry.url}/v2/a/tags/list`, asBob);
});
