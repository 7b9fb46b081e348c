import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { freePort } from "../support/free-port.ts";
import { expectStatus, pushBlob, startUpload, uploadLocation } from "../support/http.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { HTTP_SECRET, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { refusedStart } from "./refusal.ts";

/** Containers often have none. */
const HAS_IPV6 = Object.values(networkInterfaces()).flat().some((address) => address?.address === "::1");

describe("http.addr", () => {
  test("http.addr: a port of one's own, on loopback alone", async () => {
    const port = freePort();
    await using registry = await startRegistry({ config: { http: { addr: `127.0.0.1:${port}` } } });
    expect(registry.port).toBe(port);
    await expectStatus(200, `http://127.0.0.1:${port}/v2/`);
    const elsewhere = await fetch(`http://127.0.0.2:${port}/v2/`).catch(() => "refused");
    expect(elsewhere).toBe("refused");
  });
  test.skipIf(!HAS_IPV6)("http.addr: IPv6, any free port, and all addresses", async () => {
    await using loopback = await startRegistry({ config: { http: { addr: "[::1]:0" } } });
    expect(loopback.child.output()).toContain(`listening on [::1]:${loopback.port}`);
    await expectStatus(200, `http://[::1]:${loopback.port}/v2/`);
    for (const addr of ["", ":0"]) {
      await using registry = await startRegistry({ config: { http: { addr } } });
      await expectStatus(200, `http://127.0.0.1:${registry.port}/v2/`);
      await expectStatus(200, `http://[::1]:${registry.port}/v2/`);
    }
  });
  test("http.addr: one that is taken ends the start", async () => {
    await using registry = await startRegistry();
    const { exitCode, stderr } = await refusedStart({ http: { addr: registry.host } });
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`cannot listen on ${registry.host}`);
  });
});

describe("http.reuseport", () => {
  /** Who answers a client that has just connected; what was asked is there, whoever it is. */
  async function answeredBy(url: string): Promise<string | null> {
    const response = await fetch(url, { keepalive: false, headers: { connection: "close" } });
    expect(response.status).toBe(200);
    await response.bytes();
    return response.headers.get("x-served-by");
  }
  test("http.reuseport: two processes share a port and a store, and one goes on when the other ends", async () => {
    const http = (name: string, addr: string): object => ({ http: { addr, reuseport: true, secret: HTTP_SECRET, headers: { "X-Served-By": [name] } } });
    await using first = await startRegistry({ config: { ...http("first", "127.0.0.1:0") } });
    await using second = await startRegistry({ config: { ...http("second", first.host) }, storageFolder: first.storageFolder });
    const blob = `${first.url}/v2/a/blobs/${await pushBlob({ url: first.url, name: "a" }, Buffer.from("shared"))}`;
    const seen = new Set<string | null>();
    // The system decides; both are asked sooner or later.
    for (let asked = 0; seen.size < 2 && asked < 2000; asked++) seen.add(await answeredBy(blob));
    expect([...seen].sort()).toEqual(["first", "second"]);
    await first.child.stop();
    for (let asked = 0; asked < 20; asked++) expect(await answeredBy(blob)).toBe("second");
    expect(second.child.output()).not.toContain("cannot");
  });
  test("http.reuseport: a port is not shared with who does not say so", async () => {
    await using registry = await startRegistry();
    expect((await refusedStart({ http: { addr: registry.host, reuseport: true } })).stderr).toContain(`cannot listen on ${registry.host}`);
  });
});

describe("http.net", () => {
  const unix = (path: string, more: object = {}): object => ({ http: { net: "unix", addr: path, ...more } });

  test("http.net and http.socketmode: a socket with these permissions, which goes away", async () => {
    await using folder = await tempFolder();
    const path = join(folder.path, "registry.sock");
    await using registry = await startRegistry({ config: { ...unix(path, { socketmode: "0600" }) } });
    expect(registry.child.output()).toContain(`listening on ${path}`);
    expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
    expect((await fetch("http://localhost/v2/", { unix: path })).status).toBe(200);
  });
  test("http.net: a socket that a killed process left is replaced", async () => {
    await using folder = await tempFolder();
    const path = join(folder.path, "registry.sock");
    const first = await startRegistry({ config: { ...unix(path) } });
    await first.child.stop("SIGKILL");
    expect(existsSync(path)).toBe(true);
    await using second = await startRegistry({ config: { ...unix(path) } });
    expect((await fetch("http://localhost/v2/", { unix: path })).status).toBe(200);
    expect((statSync(path).mode & 0o777).toString(8)).toBe("660");
    await second.child.stop();
    await first[Symbol.asyncDispose]();
  });
  test("http.net: neither a socket that is used nor a file is removed", async () => {
    await using folder = await tempFolder();
    const path = join(folder.path, "other.sock");
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(path, resolve));
    expect((await refusedStart({ ...unix(path) })).stderr).toContain("another process listens there");
    await new Promise((resolve) => other.close(resolve));
    const file = join(folder.path, "file");
    await Bun.write(file, "precious");
    expect((await refusedStart({ ...unix(file) })).stderr).toContain("exists and is not a socket");
    expect(await Bun.file(file).text()).toBe("precious");
  });
});

describe("URLs and headers", () => {
  let registry: RegistryProcess;
  const cleanup = new AsyncDisposableStack();
  beforeAll(async () => {
    registry = cleanup.use(await startRegistry({ config: { http: { prefix: "/my/registry/", relativeurls: true, headers: { "X-Frame-Options": ["DENY"], "x-several": ["a", "b"] } } } }));
  });
  afterAll(async () => await cleanup.disposeAsync());

  test("http.prefix: everything is below it, and only there", async () => {
    await expectStatus(200, `${registry.url}/my/registry/v2/`);
    await expectStatus(404, `${registry.url}/v2/`);
  });
  test("http.relativeurls: locations are paths", async () => {
    const response = await expectStatus(202, `${registry.url}/my/registry/v2/a/blobs/uploads/`, { method: "POST" });
    expect(response.headers.get("location")).toStartWith("/my/registry/v2/a/blobs/uploads/");
  });
  test("http.headers: on every answer of the API, errors too", async () => {
    for (const path of ["v2/", "v2/a/manifests/none"]) {
      const { headers } = await fetch(`${registry.url}/my/registry/${path}`);
      expect([headers.get("x-frame-options"), headers.get("x-several")]).toEqual(["DENY", "a, b"]);
    }
  });
});

test("http.host: locations begin with it", async () => {
  await using registry = await startRegistry({ config: { http: { host: "https://registry.example.com/base/" } } });
  const response = await expectStatus(202, `${registry.url}/v2/a/blobs/uploads/`, { method: "POST" });
  expect(response.headers.get("location")).toStartWith("https://registry.example.com/base/v2/a/blobs/uploads/");
});

describe("http.secret", () => {
  test("http.secret: an upload goes on at another instance with the same, and not with another", async () => {
    await using folder = await tempFolder();
    const start = async (secret: string | undefined): Promise<RegistryProcess> => await startRegistry({ storageFolder: folder.path, config: { http: { secret } } });
    await using first = await start(HTTP_SECRET);
    const location = new URL(await startUpload({ url: first.url, name: "a" }));
    await using same = await start(HTTP_SECRET);
    const next = await expectStatus(202, `${same.url}${location.pathname}${location.search}`, { method: "PATCH", body: "part" });
    await using random = await start(undefined);
    await expectStatus(400, uploadLocation({ url: random.url, name: "a" }, next).replace(same.host, random.host), { method: "PATCH", body: "part" });
    expect(random.child.output()).toContain("No HTTP secret provided - generated random secret.");
    expect(same.child.output()).not.toContain("No HTTP secret provided");
  });
});

/** What an HTTP/2 client is answered; undefined when the server does not speak it. */
async function statusByHttp2(url: string): Promise<number | undefined> {
  return await new Promise((resolve) => {
    const session = connectHttp2(url, { rejectUnauthorized: false });
    const finish = (status: number | undefined): void => {
      session.destroy();
      resolve(status);
    };
    session.once("error", () => finish(undefined));
    session.setTimeout(2000, () => finish(undefined));
    const stream = session.request({ ":path": "/v2/" });
    stream.once("response", (headers) => finish(Number(headers[":status"])));
    stream.once("error", () => finish(undefined));
    stream.end();
  });
}

describe("http.h2c", () => {
  test("http.h2c.enabled: HTTP/2 without TLS, beside HTTP/1.1", async () => {
    await using on = await startRegistry({ config: { http: { h2c: { enabled: true } } } });
    expect(await statusByHttp2(on.url)).toBe(200);
    await expectStatus(200, `${on.url}/v2/`);
    await using off = await startRegistry();
    expect(await statusByHttp2(off.url)).toBeUndefined();
  });
});

describe("http.limits", () => {
  test("http.limits.idletimeout: a silent connection is closed", async () => {
    await using registry = await startRegistry({ config: { http: { limits: { idletimeout: "1s" } } } });
    await using socket = await RawSocket.open(registry.port);
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: h");
    expect((await socket.readResponse()).status).toBe(200);
    expect(await socket.closes(8000)).toBe(true);
  });
  test("http.limits.stalltimeout: a body that is silent ends, and what came of it is kept", async () => {
    await using registry = await startRegistry({ config: { http: { limits: { stalltimeout: "1s" } } } });
    const location = new URL(await startUpload({ url: registry.url, name: "a" }));
    await using socket = await RawSocket.open(registry.port);
    await socket.writeHead(`PATCH ${location.pathname}${location.search} HTTP/1.1`, "Host: h", "Content-Length: 100", "Content-Type: application/octet-stream");
    await socket.write("0123456789");
    const started = performance.now();
    const answered = socket.readResponse({ timeoutMs: 9000 }).then((response) => response.status).catch(() => "closed");
    expect([408, 400, 499, "closed"]).toContain(await answered);
    expect(performance.now() - started).toBeGreaterThan(800);
    expect((await expectStatus(204, location.href)).headers.get("range")).toBe("0-9");
  });
  test("http.limits.manifestbytes: one byte more is 413", async () => {
    await using registry = await startRegistry({ config: { http: { limits: { manifestbytes: "2KiB" } } } });
    const put = async (length: number): Promise<number> => (await fetch(`${registry.url}/v2/a/manifests/t`, { method: "PUT", headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" }, body: "x".repeat(length) })).status;
    expect([await put(2048), await put(2049)]).toEqual([400, 413]);
  });
  test("http.limits.headerbytes: longer headers are 431", async () => {
    await using registry = await startRegistry({ config: { http: { limits: { headerbytes: "8KiB" } } } });
    const get = async (length: number): Promise<number> => (await fetch(`${registry.url}/v2/`, { headers: { "x-long": "x".repeat(length) } })).status;
    expect([await get(7500), await get(8192), await get(60_000)]).toEqual([200, 431, 431]);
    await using unlimited = await startRegistry();
    expect((await fetch(`${unlimited.url}/v2/`, { headers: { "x-long": "x".repeat(100_000) } })).status).toBe(200);
  });
});
