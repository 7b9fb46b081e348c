import { describe, expect, test } from "bun:test";
import { openAzureDriver } from "../../src/storage/azure/driver.ts";
import { AZURE_OPTIONS } from "../../src/storage/azure/options.ts";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { makeCertificate } from "../support/certificates.ts";

const KEY = Buffer.from("the key of the account").toString("base64");
const ACCOUNT = { accountname: "theaccount", accountkey: KEY, container: "the-container", credentials: { type: "shared_key" } };

async function open(options: Readonly<Record<string, unknown>>): Promise<StorageDriver> {
  return await openAzureDriver(AZURE_OPTIONS.parse({ ...ACCOUNT, ...options }), { log: SILENT_LOGGER, userAgent: "registry/1" });
}

/** The URL that a client is sent to. */
async function urlOf(options: Readonly<Record<string, unknown>>): Promise<URL> {
  await using driver = await open(options);
  return new URL((await driver.redirectUrl?.("/docker/x", { method: "GET" })) ?? "");
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
}

/** Answers like the service, keeps nothing, and notes what it is asked; copies to a `y` are never done. */
function startRecorder(tls?: Bun.TLSOptions): { readonly url: string; readonly requests: Asked[] } & AsyncDisposable {
  const requests: Asked[] = [];
  const copying = { "x-ms-copy-id": "copy", "x-ms-copy-status": "pending" };
  const facts = { etag: '"1"', "last-modified": new Date(0).toUTCString(), "content-length": "5", "x-ms-blob-type": "BlockBlob" };
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    development: false,
    ...(tls === undefined ? {} : { tls }),
    async fetch(request) {
      await request.arrayBuffer();
      requests.push({ method: request.method, path: new URL(request.url).pathname, headers: new Headers(request.headers) });
      if (request.method === "HEAD") return new Response(null, { headers: request.url.endsWith("/y") ? { ...facts, ...copying } : facts });
      if (request.headers.has("x-ms-copy-source")) return new Response(null, { status: 202, headers: copying });
      return new Response(null, { status: request.method === "DELETE" ? 202 : 201, headers: { etag: '"1"', "last-modified": new Date(0).toUTCString() } });
    },
  });
  return { url: server.url.origin, requests, [Symbol.asyncDispose]: async () => await server.stop(true) };
}

describe("who asks, and where", () => {
  test("storage.azure.accountname, container, realm and rootdirectory: where blobs are", async () => {
    expect(String(await urlOf({})).split("?")[0]).toBe("https://theaccount.blob.core.windows.net/the-container/docker/x");
    expect(String(await urlOf({ realm: "core.chinacloudapi.cn", rootdirectory: "/some/where" })).split("?")[0]).toBe("https://theaccount.blob.core.chinacloudapi.cn/the-container/some/where/docker/x");
  });
  test("storage.azure.legacyrootprefix: whether names begin with a slash", async () => {
    const pathOf = async (options: Readonly<Record<string, unknown>>): Promise<string> => (await urlOf(options)).pathname;
    expect(await pathOf({ legacyrootprefix: true })).toBe("/the-container//docker/x");
    expect(await pathOf({ legacyrootprefix: true, rootdirectory: "/some/where/" })).toBe("/the-container//some/where/docker/x");
    // A configuration as only distribution 2.x takes it.
    expect(await pathOf({ credentials: {} })).toBe("/the-container//docker/x");
    expect(await pathOf({ credentials: {}, legacyrootprefix: false })).toBe("/the-container/docker/x");
    expect(await pathOf({ credentials: {}, rootdirectory: "/some/where" })).toBe("/the-container/some/where/docker/x");
  });
  test("storage.azure.serviceurl: a service under another name", async () => {
    await using recorder = startRecorder();
    await using driver = await open({ serviceurl: `${recorder.url}/theaccount` });
    await driver.putContent("/docker/x", "content");
    expect(recorder.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(["PUT /theaccount/the-container/docker/x"]);
  });
  test("storage.azure.accountkey and credentials.type: requests and URLs are signed with it", async () => {
    await using recorder = startRecorder();
    await using driver = await open({ serviceurl: recorder.url, credentials: { type: "shared_key" } });
    await driver.putContent("/docker/x", "content");
    expect(recorder.requests[0]?.headers.get("authorization")).toMatch(/^SharedKey theaccount:[A-Za-z0-9+/]{43}=$/);
    const expiry = (url: URL): string | null => url.searchParams.get("se");
    // All within one second, of which there is one soon enough.
    for (let attempt = 0; ; attempt++) {
      const [one, same, other] = [await urlOf({}), await urlOf({}), await urlOf({ accountkey: Buffer.from("another key").toString("base64") })];
      if (attempt < 50 && (expiry(one) !== expiry(same) || expiry(one) !== expiry(other))) continue;
      expect(one.searchParams.get("sig")).toBe(same.searchParams.get("sig"));
      expect(one.searchParams.get("sig")).not.toBe(other.searchParams.get("sig"));
      return;
    }
  });
  test("storage.azure.useragent: what requests carry, else the program's name", async () => {
    await using recorder = startRecorder();
    for (const options of [{ useragent: "mine/2" }, {}]) {
      await using driver = await open({ serviceurl: recorder.url, ...options });
      await driver.putContent("/docker/x", "content");
    }
    expect(recorder.requests.map(({ headers }) => headers.get("user-agent")?.split(" ")[0])).toEqual(["mine/2", "registry/1"]);
  });
  test("storage.azure.skipverify: whose certificate is taken", async () => {
    const { certificate: cert, key } = await makeCertificate("a store");
    await using recorder = startRecorder({ cert, key });
    await using careless = await open({ serviceurl: recorder.url, skipverify: true });
    await careless.putContent("/docker/x", "content");
    expect(recorder.requests).toHaveLength(1);
    await using careful = await open({ serviceurl: recorder.url });
    // Tried again and again, as a connection that breaks is: the driver is closed before it gives up.
    const outcome = Promise.race([careful.putContent("/docker/x", "content").then(() => "stored", () => "refused"), Bun.sleep(300).then(() => "not yet")]);
    expect(["refused", "not yet"]).toContain(await outcome);
    expect(recorder.requests).toHaveLength(1);
  });
});

describe("copies that the store makes slowly", () => {
  test("storage.azure.max_retries and retry_delay: how often, and how long apart, they are looked at", async () => {
    for (const [max_retries, retry_delay, leastMs] of [[0, "100ms", 0], [3, "40ms", 40 + 80 + 120]] as const) {
      await using recorder = startRecorder();
      await using driver = await open({ serviceurl: recorder.url, max_retries, retry_delay });
      const started = performance.now();
      const error = await driver.move("/docker/x", "/docker/y").catch((thrown: unknown) => String(thrown));
      expect(error).toContain("took too long: raise storage.azure.max_retries");
      expect(performance.now() - started).toBeGreaterThanOrEqual(leastMs);
      const looks = recorder.requests.filter(({ method, path }) => method === "HEAD" && path.endsWith("/y")).length;
      // One more after it was called off.
      expect([max_retries, looks]).toEqual([max_retries, max_retries + 1]);
    }
  });
});
