import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, pushBlob } from "../support/http.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

let registry: RegistryProcess;
beforeAll(async () => {
  registry = await startRegistry();
  await pushBlob({ url: registry.url, name: "wire/bait" }, "bait");
});
afterAll(() => registry[Symbol.asyncDispose]());

/** A request that must not be carried out when it is hidden in what another one may or may not count as its body. */
const SMUGGLED = `DELETE /v2/wire/bait/blobs/${digestOf("bait")} HTTP/1.1\r\nHost: registry\r\n\r\n`;
const POST = "POST /v2/wire/target/blobs/uploads/ HTTP/1.1\r\nHost: registry\r\n";

/** Sends bytes, and gives the statuses of everything that looks like an answer until the connection ends or goes silent. */
async function statusesFor(bytes: string): Promise<{ statuses: number[]; isClosed: boolean }> {
  await using socket = await RawSocket.open(registry.port);
  await socket.write(bytes);
  const isClosed = await socket.closes(700);
  const text = Buffer.from(socket.pending).toString("latin1");
  return { statuses: [...text.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map((match) => Number(match[1])), isClosed };
}

async function expectBaitUntouched(): Promise<void> {
  const response = await fetch(`${registry.url}/v2/wire/bait/blobs/${digestOf("bait")}`);
  expect([response.status, await response.text()]).toEqual([200, "bait"]);
}

describe("a request whose length can be read in two ways is refused and the connection closed", () => {
  test.each([
    ["Content-Length, then Transfer-Encoding", `${POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["Transfer-Encoding, then Content-Length", `${POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["two Content-Lengths that differ", `${POST}Content-Length: 0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`],
    ["a list of lengths", `${POST}Content-Length: 0, ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`],
    ["a length with a sign", `${POST}Content-Length: +0\r\n\r\n${SMUGGLED}`],
    ["a negative length", `${POST}Content-Length: -1\r\n\r\n${SMUGGLED}`],
    ["a hexadecimal length", `${POST}Content-Length: 0x0\r\n\r\n${SMUGGLED}`],
    ["a length that no number holds", `${POST}Content-Length: 18446744073709551616\r\n\r\n${SMUGGLED}`],
    ["an empty length", `${POST}Content-Length: \r\n\r\n${SMUGGLED}`],
    ["a coding that is not chunked", `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["identity", `${POST}Transfer-Encoding: identity\r\n\r\n${SMUGGLED}`],
    ["chunked twice", `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["chunked, then identity", `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a space before the colon", `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a vertical tab before the value", `${POST}Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a folded header", `${POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a folded header that hides another", `${POST}X-Note: a\r\n Content-Length: 0\r\n\r\n${SMUGGLED}`],
    ["a bare LF that hides a header", `${POST}X-Note: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a bare CR that hides a header", `${POST}X-Note: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["lines that end with a bare LF", `${POST.replaceAll("\r\n", "\n")}Content-Length: 0\n\n${SMUGGLED}`],
    ["a NUL in a header", `${POST}X-Note: a\0b\r\nContent-Length: 0\r\n\r\n${SMUGGLED}`],
    ["chunked in HTTP/1.0", `${POST.replace("HTTP/1.1", "HTTP/1.0")}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ])("%s", async (_, bytes) => {
    const { statuses, isClosed } = await statusesFor(bytes);
    expect(statuses.length).toBeLessThanOrEqual(1);
    for (const status of statuses) expect([400, 501, 505]).toContain(status);
    expect(isClosed).toBe(true);
    await expectBaitUntouched();
  });
});

describe("a chunked body that is not well-formed ends the connection", () => {
  test.each([
    ["a size that is no number", `zz\r\nabc\r\n0\r\n\r\n${SMUGGLED}`],
    ["a size with 0x", `0x3\r\nabc\r\n0\r\n\r\n${SMUGGLED}`],
    ["a size with a sign", `+3\r\nabc\r\n0\r\n\r\n${SMUGGLED}`],
    ["a size that no number holds", `FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n${SMUGGLED}`],
    ["an empty size", `\r\nabc\r\n0\r\n\r\n${SMUGGLED}`],
    ["bare LFs", `3\nabc\n0\n\n${SMUGGLED}`],
    ["a chunk longer than its size", `3\r\nabcdef\r\n0\r\n\r\n${SMUGGLED}`],
    ["an endless size line", `3;${"x".repeat(1_000_000)}`],
  ])("%s", async (_, body) => {
    const { statuses, isClosed } = await statusesFor(`${POST}Transfer-Encoding: chunked\r\n\r\n${body}`);
    // The answer to the POST itself may have left before its body turned out to be broken.
    expect(statuses.filter((status) => ![202, 400, 413].includes(status))).toEqual([]);
    expect(isClosed).toBe(true);
    await expectBaitUntouched();
  });
});

describe("a request line that is none is refused", () => {
  test.each([
    ["bytes of a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
    ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n"],
    ["HTTP/2 in its version", "GET /v2/ HTTP/2.0\r\nHost: registry\r\n\r\n"],
    ["no version", "GET /v2/\r\nHost: registry\r\n\r\n"],
    ["a space in the path", "GET /v2/ a HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["a NUL in the path", "GET /v2/\0 HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["no leading slash", "GET v2/ HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["no Host in HTTP/1.1", "GET /v2/ HTTP/1.1\r\n\r\n"],
    ["a header without a colon", "GET /v2/ HTTP/1.1\r\nHost: registry\r\nnonsense\r\n\r\n"],
    ["a header without a name", "GET /v2/ HTTP/1.1\r\nHost: registry\r\n: x\r\n\r\n"],
    ["a space in a header's name", "GET /v2/ HTTP/1.1\r\nHost: registry\r\nX Y: x\r\n\r\n"],
  ])("%s", async (_, bytes) => {
    const { statuses, isClosed } = await statusesFor(bytes);
    expect(statuses.length).toBeLessThanOrEqual(1);
    for (const status of statuses) expect([400, 505]).toContain(status);
    expect(isClosed).toBe(true);
  });
});

describe("a strange but harmless request leaves the server well", () => {
  test.each([
    ["an unknown method", "BREW /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["a method in lower case", "get /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["CONNECT", "CONNECT other:443 HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["TRACE", "TRACE /v2/ HTTP/1.1\r\nHost: registry\r\nAuthorization: Basic c2VjcmV0OnNlY3JldA==\r\n\r\n"],
    ["OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["two Hosts", "GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"],
    ["a Host that is none", "GET /v2/ HTTP/1.1\r\nHost: a b/c?d\r\n\r\n"],
    ["an empty Host", "GET /v2/ HTTP/1.1\r\nHost: \r\n\r\n"],
    ["an expectation that nobody knows", "GET /v2/ HTTP/1.1\r\nHost: registry\r\nExpect: 200-maybe\r\n\r\n"],
    ["an upgrade", "GET /v2/ HTTP/1.1\r\nHost: registry\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"],
    ["an upgrade to h2c", "GET /v2/ HTTP/1.1\r\nHost: registry\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"],
    ["broken percent escapes", "GET /v2/%zz/%/manifests/%e0%a4%a HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["escaped path traversal", "GET /v2/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["plain path traversal", "GET /v2/../../../../etc/passwd HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["path traversal in a name", "GET /v2/a/../../b/manifests/latest HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["an escaped NUL and newline", "GET /v2/a%00b%0d%0aX-Evil:%201/manifests/latest HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["bytes above ASCII in the path", "GET /v2/\xc3\xa9/manifests/latest HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["a fragment", "GET /v2/#x HTTP/1.1\r\nHost: registry\r\n\r\n"],
    ["a query of a thousand keys", `GET /v2/_catalog?${Array.from({ length: 1000 }, (_, index) => `k${index}=v`).join("&")} HTTP/1.1\r\nHost: registry\r\n\r\n`],
  ])("%s", async (_, bytes) => {
    await using socket = await RawSocket.open(registry.port);
    await socket.write(bytes);
    await socket.closes(150);
    const text = Buffer.from(socket.pending).toString("latin1");
    expect(text).not.toContain("X-Evil");
    expect(text).not.toContain("root:");
    expect(text).not.toContain("c2VjcmV0");
    expect(text).not.toMatch(/HTTP\/1\.1 500/);
    expect(text).not.toMatch(/HTTP\/1\.1 101/);
    const alive = await fetch(`${registry.url}/v2/`);
    expect(alive.status).toBe(200);
    await expectBaitUntouched();
  });
});

describe("limits of the head", () => {
  const request = (headers: string): string => `GET /v2/ HTTP/1.1\r\nHost: registry\r\n${headers}\r\n`;

  test.each([
    ["one header of 60 KiB, as tokens that grant much are", request(`Authorization: Bearer ${"a".repeat(60 * 1024)}\r\n`)],
    ["a hundred headers", request(Array.from({ length: 100 }, (_, index) => `X-${index}: y\r\n`).join(""))],
    ["a thousand Accept types", request(`Accept: ${"application/x-thing, ".repeat(1000)}*/*\r\n`)],
  ])("%s are taken", async (_, bytes) => {
    expect((await statusesFor(bytes)).statuses).toEqual([200]);
  });

  test.each([
    ["a header of 2 MiB", request(`X-Long: ${"a".repeat(2 * 1024 * 1024)}\r\n`)],
    ["a path of 2 MiB", `GET /v2/${"a".repeat(2 * 1024 * 1024)} HTTP/1.1\r\nHost: registry\r\n\r\n`],
    ["a hundred thousand headers", request(Array.from({ length: 100_000 }, (_, index) => `X-${index}: yyyyyyyy\r\n`).join(""))],
  ])("%s is refused", async (_, bytes) => {
    const { statuses, isClosed } = await statusesFor(bytes);
    expect(statuses.length).toBeLessThanOrEqual(1);
    for (const status of statuses) expect([400, 414, 431]).toContain(status);
    expect(isClosed).toBe(true);
  });

  test("a path of 8 KiB is answered, not broken off", async () => {
    const { statuses } = await statusesFor(`GET /v2/${"a".repeat(8192)}/manifests/latest HTTP/1.1\r\nHost: registry\r\n\r\n`);
    expect(statuses).toHaveLength(1);
    expect([400, 404, 414]).toContain(statuses[0] ?? 0);
  });
});
