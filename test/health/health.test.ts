import { describe, expect, test } from "bun:test";
import { rm, symlink } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { freePort } from "../support/free-port.ts";
import { expectStatus } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

const INTERVAL = "40ms";

async function startChecked(health: object): Promise<RegistryProcess> {
  return await startRegistry({ config: { health, http: { debug: { addr: "127.0.0.1:0" } } } });
}

function debugUrl(registry: RegistryProcess): string {
  return `http://${/debug server listening (\S+:\d+)/.exec(registry.child.output())?.[1]}`;
}

/** What `/debug/health` says, once it has this status. @throws Error when it does not get it within 5 seconds */
async function healthWhen(registry: RegistryProcess, status: number): Promise<Readonly<Record<string, string>>> {
  const deadline = Date.now() + 5000;
  for (;;) {
    const response = await fetch(`${debugUrl(registry)}/debug/health`);
    if (response.status === status) return (await response.json()) as Record<string, string>;
    if (Date.now() > deadline) throw new Error(`/debug/health is ${response.status}, expected ${status}`);
    await Bun.sleep(20);
  }
}

interface Asked {
  readonly method: string;
  readonly headers: Headers;
}

/** A server that counts what it is asked, and answers what it is told to. */
function startService(answer: () => Response | Promise<Response>): { readonly url: string; readonly requests: readonly Asked[] } & AsyncDisposable {
  const requests: Asked[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 20,
    fetch(request) {
      requests.push({ method: request.method, headers: new Headers(request.headers) });
      return answer();
    },
  });
  return { url: server.url.origin, requests, [Symbol.asyncDispose]: async () => await server.stop(true) };
}

async function listenOn(port: number): Promise<Server> {
  const server = createServer((socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

describe("health.file", () => {
  test("health.file[].file and interval: unhealthy while it exists, everywhere but at /livez", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "down");
    await using registry = await startChecked({ file: [{ file, interval: INTERVAL }] });
    expect(await healthWhen(registry, 200)).toEqual({});
    for (const url of [registry.url, debugUrl(registry)]) {
      await expectStatus(200, `${url}/livez`);
      await expectStatus(200, `${url}/readyz`);
    }
    await Bun.write(file, "");
    expect(await healthWhen(registry, 503)).toEqual({ [file]: "file exists" });
    const response = await expectStatus(503, `${registry.url}/v2/`);
    expect(await response.json()).toMatchObject({ errors: [{ code: "UNAVAILABLE", detail: "health check failed: please see /debug/health" }] });
    for (const url of [registry.url, debugUrl(registry)]) {
      await expectStatus(200, `${url}/livez`);
      await expectStatus(503, `${url}/readyz`);
    }
    await rm(file);
    expect(await healthWhen(registry, 200)).toEqual({});
    await expectStatus(200, `${registry.url}/v2/`);
    await registry.child.waitForOutput(/health check recovered/);
  });
});

describe("health.storagedriver", () => {
  test("health.storagedriver.enabled, interval and threshold: an empty store is healthy, one that does not answer is not", async () => {
    await using folder = await tempFolder();
    const root = join(folder.path, "root");
    const start = async (threshold: number): Promise<RegistryProcess> =>
      await startRegistry({ config: { storage: { filesystem: { rootdirectory: root } }, health: { storagedriver: { enabled: true, interval: INTERVAL, threshold } }, http: { debug: { addr: "127.0.0.1:0" } } } });
    await symlink(root, root);
    await using patient = await start(1000);
    await using quick = await start(1);
    const [name = ""] = Object.keys(await healthWhen(quick, 503));
    expect(name).toBe("storagedriver_filesystem");
    await Bun.sleep(100);
    await healthWhen(patient, 200);
    await rm(root);
    expect(await healthWhen(quick, 200)).toEqual({});
  });
});

describe("health.http", () => {
  test("health.http[].uri, headers and statuscode: a HEAD with these headers that must be answered so", async () => {
    let status = 204;
    await using service = startService(() => new Response(null, { status }));
    const uri = `${service.url}/health`;
    await using registry = await startChecked({ http: [{ uri, headers: { "X-Check": ["a"], Authorization: ["Bearer secret-of-the-check"] }, statuscode: 204, interval: INTERVAL }] });
    while (service.requests.length < 3) await Bun.sleep(20);
    expect(service.requests[0]?.method).toBe("HEAD");
    expect(service.requests[0]?.headers.get("x-check")).toBe("a");
    await healthWhen(registry, 200);
    status = 200;
    expect(await healthWhen(registry, 503)).toEqual({ [uri]: `${uri}: downstream service returned unexpected status: 200` });
    status = 204;
    await healthWhen(registry, 200);
    expect(registry.child.output()).not.toContain("secret-of-the-check");
  });
  test("health.http[].threshold: so many failures in a row", async () => {
    let failures = 0;
    await using service = startService(() => {
      const isWell = failures % 3 === 2;
      failures++;
      return new Response(null, { status: isWell ? 200 : 500 });
    });
    await using registry = await startChecked({ http: [{ uri: service.url, threshold: 3, interval: INTERVAL }] });
    while (service.requests.length < 9) await Bun.sleep(20);
    expect(registry.child.output()).not.toContain("health check failed");
    failures = Number.NEGATIVE_INFINITY;
    await healthWhen(registry, 503);
  });
  test("health.http[].timeout: a service that is silent has failed", async () => {
    await using service = startService(async () => await new Promise<Response>(() => undefined));
    await using registry = await startChecked({ http: [{ uri: service.url, timeout: "60ms", interval: INTERVAL }] });
    expect((await healthWhen(registry, 503))[service.url]).toMatch(/no answer within 60ms|error while checking/);
  });
  test("health.http[].interval: the time between checks", async () => {
    await using often = startService(() => new Response(null));
    await using seldom = startService(() => new Response(null));
    await using registry = await startChecked({ http: [{ uri: often.url, interval: INTERVAL }, { uri: seldom.url, interval: "1h" }] });
    while (often.requests.length < 4) await Bun.sleep(20);
    expect(seldom.requests.length).toBe(0);
    await healthWhen(registry, 200);
  });
});

describe("health.tcp", () => {
  test("health.tcp[].addr, interval and threshold: a port that must be open", async () => {
    const [port, closed] = [freePort(), freePort()];
    const first = await listenOn(port);
    await using registry = await startChecked({ tcp: [{ addr: `127.0.0.1:${port}`, interval: INTERVAL, threshold: 2 }] });
    await Bun.sleep(200);
    await healthWhen(registry, 200);
    await new Promise((resolve) => first.close(resolve));
    expect(await healthWhen(registry, 503)).toEqual({ [`127.0.0.1:${port}`]: `127.0.0.1:${port}: connection failed` });
    const second = await listenOn(port);
    await healthWhen(registry, 200);
    await new Promise((resolve) => second.close(resolve));
    await using patient = await startChecked({ tcp: [{ addr: `127.0.0.1:${closed}`, interval: INTERVAL, threshold: 1000 }] });
    await Bun.sleep(300);
    await healthWhen(patient, 200);
  });
  test("health.tcp[].timeout: an address that never answers has failed", async () => {
    // TEST-NET-1 leads nowhere; where the network refuses it at once the check has failed too.
    await using registry = await startChecked({ tcp: [{ addr: "192.0.2.1:9", timeout: "100ms", interval: INTERVAL }] });
    expect(Object.keys(await healthWhen(registry, 503))).toEqual(["192.0.2.1:9"]);
  });
});
