import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, pushImage, seededBytes, startUpload } from "../support/http.ts";
import { header, RawSocket } from "../support/raw-socket.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

const LAYER = seededBytes(300_000, 7);
const LAYER_DIGEST = digestOf(LAYER);
let registry: RegistryProcess;
let manifestDigest: string;
let manifestBytes: Uint8Array;

beforeAll(async () => {
  registry = await startRegistry({ config: { http: { debug: { addr: "127.0.0.1:0", prometheus: { enabled: true } } } } });
  const image = await pushImage({ url: registry.url, name: "wire/image" }, "latest", { format: "docker", layers: [LAYER, new Uint8Array(0)] });
  manifestDigest = image.digest;
  manifestBytes = image.bytes;
});
afterAll(() => registry[Symbol.asyncDispose]());

const BLOB = `/v2/wire/image/blobs/${LAYER_DIGEST}`;
const MANIFEST = "/v2/wire/image/manifests/latest";
const ACCEPT = "Accept: application/vnd.docker.distribution.manifest.v2+json";

async function open(): Promise<RawSocket> {
  return await RawSocket.open(registry.port);
}

describe("one connection", () => {
  test("serves several requests after one another", async () => {
    await using socket = await open();
    for (let round = 0; round < 3; round++) {
      await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry");
      const base = await socket.readOnlyResponse();
      expect(base.status).toBe(200);
      expect(Buffer.from(base.body).toString().trim()).toBe("{}");
      await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry");
      const blob = await socket.readOnlyResponse();
      expect(digestOf(blob.body)).toBe(LAYER_DIGEST);
    }
  });

  test("answers pipelined requests in their order", async () => {
    await using socket = await open();
    const requests = [`GET ${BLOB}`, `HEAD ${BLOB}`, `GET ${MANIFEST}`, "GET /v2/wire/image/tags/list", "GET /v2/wire/nothing/manifests/x", `GET ${BLOB}`, "GET /v2/"];
    await socket.write(requests.map((line) => `${line} HTTP/1.1\r\nHost: registry\r\n${ACCEPT}\r\n\r\n`).join(""));
    const answers = [];
    for (const line of requests) answers.push(await socket.readResponse({ method: line.split(" ")[0] ?? "" }));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 404, 200, 200]);
    expect(digestOf(answers[0]?.body ?? "")).toBe(LAYER_DIGEST);
    expect(digestOf(answers[2]?.body ?? "")).toBe(manifestDigest);
    expect(digestOf(answers[5]?.body ?? "")).toBe(LAYER_DIGEST);
    expect(socket.pending.length).toBe(0);
  });

  test("takes a request that comes byte by byte", async () => {
    await using socket = await open();
    for (const letter of `GET ${MANIFEST} HTTP/1.1\r\nHost: registry\r\n${ACCEPT}\r\n\r\n`) await socket.write(letter);
    const answer = await socket.readOnlyResponse();
    expect(Buffer.from(answer.body)).toEqual(Buffer.from(manifestBytes));
  });

  test.each([
    ["an unknown manifest", "GET /v2/wire/image/manifests/nothing", 404],
    ["an unknown blob", `GET /v2/wire/image/blobs/${digestOf("nothing")}`, 404],
    ["a bad digest", "GET /v2/wire/image/blobs/sha256:abc", 400],
    ["an unknown route", "GET /v2/wire/image/nothing", 404],
    ["a method that is not allowed", "PUT /v2/wire/image/tags/list", 405],
    ["a page size that is no number", "GET /v2/_catalog?n=-1", 400],
    ["a blob that starts after its end", `GET ${BLOB}\nRange: bytes=400000-`, 416],
  ])("goes on after an error: %s", async (_, request, status) => {
    await using socket = await open();
    const [line = "", ...headers] = request.split("\n");
    await socket.writeHead(`${line} HTTP/1.1`, "Host: registry", ...headers);
    const error = await socket.readOnlyResponse();
    expect(error.status).toBe(status);
    expect(error.framing).toBe("length");
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry");
    expect(digestOf((await socket.readOnlyResponse()).body)).toBe(LAYER_DIGEST);
  });

  test("is closed after Connection: close, once the whole answer was sent", async () => {
    await using socket = await open();
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry", "Connection: close");
    const answer = await socket.readResponse();
    expect(digestOf(answer.body)).toBe(LAYER_DIGEST);
    expect(await socket.closes(3000)).toBe(true);
    expect(socket.pending.length).toBe(0);
  });

  test("is answered when the client closes its half right after the request", async () => {
    await using socket = await open();
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry", "Connection: close");
    socket.end();
    expect((await socket.readResponse()).status).toBe(200);
  });

  test("that ends in the middle of a request head harms nobody", async () => {
    await using broken = await open();
    await broken.write("GET /v2/ HTTP/1.1\r\nHos");
    broken.reset();
    await using socket = await open();
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry");
    expect((await socket.readOnlyResponse()).status).toBe(200);
  });

  test("that ends in the middle of an answer harms nobody", async () => {
    for (let round = 0; round < 5; round++) {
      await using broken = await open();
      await broken.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry");
      broken.reset();
    }
    await using socket = await open();
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry");
    expect(digestOf((await socket.readOnlyResponse()).body)).toBe(LAYER_DIGEST);
  });

  test("of HTTP/1.0 without a Host is answered and closed", async () => {
    await using socket = await open();
    await socket.writeHead("GET /v2/ HTTP/1.0");
    await socket.closes(3000);
    const text = Buffer.from(socket.pending).toString("latin1");
    expect(text).toStartWith("HTTP/1.");
    expect(text.split("\r\n")[0]).toEndWith("200 OK");
    expect(text.slice(text.indexOf("\r\n\r\n") + 4).trim()).toBe("{}");
  });

  test.each([
    ["of HTTP/1.0 without a Host", "HTTP/1.0", []],
    ["with a Host that is none", "HTTP/1.1", ["Host: ["]],
  ])("%s answers probes", async (_, version, headers) => {
    const [, debug = ""] = await registry.child.waitForOutput(/debug server listening [^\s",]*:(\d+)/);
    for (const [port, path] of [[registry.port, "/livez"], [registry.port, "/readyz"], [Number(debug), "/debug/health"], [Number(debug), "/metrics"], [Number(debug), "/readyz"]] as const) {
      await using socket = await RawSocket.open(port);
      await socket.writeHead(`GET ${path} ${version}`, ...headers, "Connection: close");
      await socket.closes(3000);
      expect([path, Buffer.from(socket.pending).toString("latin1").split("\r\n")[0]]).toEqual([path, "HTTP/1.1 200 OK"]);
    }
  });

  test("with the absolute form of a URL is answered as with the path alone", async () => {
    await using socket = await open();
    await socket.writeHead(`GET http://registry${MANIFEST} HTTP/1.1`, "Host: registry", ACCEPT);
    expect(digestOf((await socket.readOnlyResponse()).body)).toBe(manifestDigest);
  });
});

describe("answers without a body", () => {
  test.each([
    ["a blob", BLOB, LAYER.length],
    ["the empty blob", `/v2/wire/image/blobs/${digestOf("")}`, 0],
  ])("HEAD of %s names the length and sends nothing", async (_, path, length) => {
    await using socket = await open();
    await socket.writeHead(`HEAD ${path} HTTP/1.1`, "Host: registry");
    const answer = await socket.readOnlyResponse({ method: "HEAD" });
    expect(answer.status).toBe(200);
    expect(header(answer, "content-length")).toBe(String(length));
    expect(header(answer, "content-type")).toBe("application/octet-stream");
    expect(header(answer, "docker-content-digest")).toStartWith("sha256:");
    expect(answer.headers.has("transfer-encoding")).toBe(false);
    expect(answer.headers.has("content-disposition")).toBe(false);
  });

  test("HEAD of a manifest names the length and sends nothing", async () => {
    await using socket = await open();
    await socket.writeHead(`HEAD ${MANIFEST} HTTP/1.1`, "Host: registry", ACCEPT);
    const answer = await socket.readOnlyResponse({ method: "HEAD" });
    expect(header(answer, "content-length")).toBe(String(manifestBytes.length));
    expect(header(answer, "docker-content-digest")).toBe(manifestDigest);
  });

  test.each([
    ["an unknown blob", `/v2/wire/image/blobs/${digestOf("nothing")}`, 404],
    ["an unknown manifest", "/v2/wire/image/manifests/nothing", 404],
    ["an unknown route", "/v2/wire", 404],
  ])("HEAD of %s sends the error's headers and nothing else", async (_, path, status) => {
    await using socket = await open();
    await socket.writeHead(`HEAD ${path} HTTP/1.1`, "Host: registry");
    const answer = await socket.readOnlyResponse({ method: "HEAD" });
    expect(answer.status).toBe(status);
    expect(answer.body.length).toBe(0);
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry");
    expect((await socket.readOnlyResponse()).status).toBe(200);
  });

  test("304 for a blob has its validators and neither body nor length", async () => {
    await using socket = await open();
    for (const method of ["GET", "HEAD"]) {
      await socket.writeHead(`${method} ${BLOB} HTTP/1.1`, "Host: registry", `If-None-Match: "${LAYER_DIGEST}"`);
      const answer = await socket.readOnlyResponse({ method });
      expect(answer.status).toBe(304);
      expect(header(answer, "etag")).toBe(`"${LAYER_DIGEST}"`);
      expect(answer.headers.has("transfer-encoding")).toBe(false);
      // A length is allowed here, but only the one that a 200 would have (RFC 9110, section 15.4.5).
      expect([undefined, String(LAYER.length)]).toContain(header(answer, "content-length"));
    }
  });

  test("304 for a manifest has no body", async () => {
    await using socket = await open();
    await socket.writeHead(`GET ${MANIFEST} HTTP/1.1`, "Host: registry", ACCEPT, `If-None-Match: "${manifestDigest}"`);
    const answer = await socket.readOnlyResponse();
    expect(answer.status).toBe(304);
    expect([undefined, String(manifestBytes.length)]).toContain(header(answer, "content-length"));
  });

  test("the upload's 202, 204 and 201 are framed by a length of 0, or by their status", async () => {
    await using socket = await open();
    const location = new URL(await startUpload({ url: registry.url, name: "wire/image" }));
    await socket.writeHead(`PATCH ${location.pathname}${location.search} HTTP/1.1`, "Host: registry", "Content-Length: 5");
    await socket.write("hello");
    const accepted = await socket.readOnlyResponse();
    expect([accepted.status, header(accepted, "content-length"), header(accepted, "range")]).toEqual([202, "0", "0-4"]);
    const next = new URL(header(accepted, "location") ?? "", registry.url);

    await socket.writeHead(`GET ${next.pathname}${next.search} HTTP/1.1`, "Host: registry");
    const status = await socket.readOnlyResponse();
    expect([status.status, status.framing, header(status, "range")]).toEqual([204, "none", "0-4"]);

    next.searchParams.set("digest", digestOf("hello"));
    await socket.writeHead(`PUT ${next.pathname}${next.search} HTTP/1.1`, "Host: registry", "Content-Length: 0");
    const created = await socket.readOnlyResponse();
    expect([created.status, header(created, "content-length"), header(created, "docker-content-digest")]).toEqual([201, "0", digestOf("hello")]);
  });
});

describe("206", () => {
  test.each([
    ["bytes=0-0", 0, 0],
    ["bytes=500-1499", 500, 1499],
    ["bytes=299999-", 299_999, 299_999],
    ["bytes=1000-", 1000, 299_999],
    ["bytes=-1", 299_999, 299_999],
    ["bytes=-500000", 0, 299_999],
    ["bytes=299000-500000", 299_000, 299_999],
    ["bytes=0-299999", 0, 299_999],
  ])("for %s is exactly that part", async (range, first, last) => {
    await using socket = await open();
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry", `Range: ${range}`);
    const answer = await socket.readOnlyResponse();
    expect(answer.status).toBe(206);
    expect(header(answer, "content-range")).toBe(`bytes ${first}-${last}/${LAYER.length}`);
    expect(header(answer, "content-length")).toBe(String(last - first + 1));
    expect(answer.framing).toBe("length");
    expect(Buffer.from(answer.body).equals(Buffer.from(LAYER.slice(first, last + 1)))).toBe(true);

    await socket.writeHead(`HEAD ${BLOB} HTTP/1.1`, "Host: registry", `Range: ${range}`);
    const head = await socket.readOnlyResponse({ method: "HEAD" });
    expect([200, 206]).toContain(head.status);
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry");
    expect((await socket.readOnlyResponse()).status).toBe(200);
  });

  test("for If-Range with the blob's tag, the whole for another", async () => {
    await using socket = await open();
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry", "Range: bytes=0-9", `If-Range: "${LAYER_DIGEST}"`);
    expect((await socket.readOnlyResponse()).status).toBe(206);
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry", "Range: bytes=0-9", 'If-Range: "another"');
    const whole = await socket.readOnlyResponse();
    expect([whole.status, whole.body.length]).toEqual([200, LAYER.length]);
  });
});

describe("ranges that cannot be served", () => {
  test.each(["bytes=300000-", "bytes=5000000-10000000", "bytes=500-0"])("416 for %s, with the length and a framed body", async (range) => {
    await using socket = await open();
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry", `Range: ${range}`);
    const answer = await socket.readOnlyResponse();
    expect(answer.status).toBe(416);
    expect(answer.framing).toBe("length");
    if (range !== "bytes=500-0") expect(header(answer, "content-range")).toBe(`bytes */${LAYER.length}`);
  });

  test.each([
    "bytes=",
    "bytes",
    "bytes=-",
    "bytes=--1",
    "bytes=abc-def",
    "bytes=1-2-3",
    "bytes=0x0-0x5",
    "bytes=-0",
    "items=0-1",
    "bytes=99999999999999999999999999-",
    "bytes=0-99999999999999999999999999",
    "bytes=1.5-2",
    `bytes=${"0-0,".repeat(2000)}0-0`,
    "bytes=0-1,3-4",
    "bytes=0-,0-,0-,0-,0-,0-,0-,0-",
  ])("never break the connection: %p", async (range) => {
    await using socket = await open();
    await socket.writeHead(`GET ${BLOB} HTTP/1.1`, "Host: registry", `Range: ${range}`);
    const answer = await socket.readOnlyResponse();
    expect([200, 206, 416]).toContain(answer.status);
    expect(answer.body.length).toBeLessThanOrEqual(LAYER.length + 2000);
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry");
    expect((await socket.readOnlyResponse()).status).toBe(200);
  });
});
