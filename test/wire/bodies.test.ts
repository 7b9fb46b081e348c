import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, seededBytes, startUpload, uploadLocation } from "../support/http.ts";
import { header, RawSocket } from "../support/raw-socket.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

let registry: RegistryProcess;
beforeAll(async () => {
  registry = await startRegistry();
});
afterAll(() => registry[Symbol.asyncDispose]());

/** Begins an upload. @returns Path and query of its URL. */
async function newUpload(): Promise<string> {
  return pathOf(await startUpload({ url: registry.url, name: "wire/bodies" }));
}

function pathOf(location: string): string {
  const url = new URL(location, registry.url);
  return url.pathname + url.search;
}

function withDigest(path: string, digest: string): string {
  return `${path}&digest=${encodeURIComponent(digest)}`;
}

/** How far an upload is, and its newest URL. Polls: the server learns of a lost client only after a moment. */
async function waitForSize(path: string, sizeBytes: number): Promise<string> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const response = await fetch(registry.url + path);
    const range = response.headers.get("range");
    if (response.status === 204 && range === `0-${Math.max(0, sizeBytes - 1)}`) {
      return pathOf(uploadLocation({ url: registry.url, name: "wire/bodies" }, response));
    }
    if (Date.now() > deadline) throw new Error(`the upload stands at ${response.status} ${range}, expected ${sizeBytes} bytes`);
    await Bun.sleep(50);
  }
}

async function expectBlob(content: Uint8Array): Promise<void> {
  const response = await fetch(`${registry.url}/v2/wire/bodies/blobs/${digestOf(content)}`);
  expect(response.status).toBe(200);
  expect(digestOf(await response.bytes())).toBe(digestOf(content));
}

describe("Expect: 100-continue", () => {
  test("is answered before the body, and the upload succeeds", async () => {
    await using socket = await RawSocket.open(registry.port);
    const content = seededBytes(50_000, 1);
    const path = withDigest(await newUpload(), digestOf(content));
    await socket.writeHead(`PUT ${path} HTTP/1.1`, "Host: registry", `Content-Length: ${content.length}`, "Expect: 100-continue");
    const proceed = await socket.readResponse();
    expect(proceed.statusLine).toBe("HTTP/1.1 100 Continue");
    await socket.write(content);
    expect((await socket.readOnlyResponse()).status).toBe(201);
    await expectBlob(content);
  });

  test("does no harm when the client does not wait", async () => {
    await using socket = await RawSocket.open(registry.port);
    const path = await newUpload();
    await socket.writeHead(`PATCH ${path} HTTP/1.1`, "Host: registry", "Content-Length: 5", "Expect: 100-continue");
    await socket.write("hello");
    let answer = await socket.readResponse();
    if (answer.status === 100) answer = await socket.readResponse();
    expect([answer.status, header(answer, "range")]).toEqual([202, "0-4"]);
  });
});

describe("chunked bodies", () => {
  test("in chunks of every size, with extensions and without, are stored exactly", async () => {
    await using socket = await RawSocket.open(registry.port);
    const content = seededBytes(200_000, 2);
    const path = await newUpload();
    await socket.writeHead(`PATCH ${path} HTTP/1.1`, "Host: registry", "Transfer-Encoding: chunked");
    let offset = 0;
    for (let size = 1; offset < content.length; size = (size * 7 + 3) % 20_011) {
      const part = content.slice(offset, offset + Math.max(1, size));
      offset += part.length;
      await socket.write(`${part.length.toString(16)}${size % 5 === 0 ? ";name=value" : ""}\r\n`);
      await socket.write(part);
      await socket.write("\r\n");
    }
    await socket.write("0\r\n\r\n");
    const accepted = await socket.readOnlyResponse();
    expect([accepted.status, header(accepted, "range")]).toEqual([202, "0-199999"]);
    const put = withDigest(pathOf(header(accepted, "location") ?? ""), digestOf(content));
    await socket.writeHead(`PUT ${put} HTTP/1.1`, "Host: registry", "Content-Length: 0");
    expect((await socket.readOnlyResponse()).status).toBe(201);
    await expectBlob(content);
  });

  test("of no bytes are accepted", async () => {
    await using socket = await RawSocket.open(registry.port);
    await socket.writeHead(`PATCH ${await newUpload()} HTTP/1.1`, "Host: registry", "Transfer-Encoding: chunked");
    await socket.write("0\r\n\r\n");
    const answer = await socket.readOnlyResponse();
    expect([answer.status, header(answer, "range")]).toEqual([202, "0-0"]);
  });

  test("carry manifests without a length", async () => {
    await using socket = await RawSocket.open(registry.port);
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [] });
    await socket.writeHead(
      "PUT /v2/wire/bodies/manifests/chunked HTTP/1.1",
      "Host: registry",
      "Content-Type: application/vnd.oci.image.index.v1+json",
      "Transfer-Encoding: chunked",
    );
    for (const letter of manifest) await socket.write(`1\r\n${letter}\r\n`);
    await socket.write("0\r\n\r\n");
    const answer = await socket.readOnlyResponse();
    expect([answer.status, header(answer, "docker-content-digest")]).toEqual([201, digestOf(manifest)]);
  });
});

describe("a body that breaks off keeps the bytes that came", () => {
  test.each([
    ["with a length, by a reset", "Content-Length: 100000", "reset"],
    ["with a length, by closing one half", "Content-Length: 100000", "end"],
    ["chunked, by a reset", "Transfer-Encoding: chunked", "reset"],
    ["chunked, by closing one half", "Transfer-Encoding: chunked", "end"],
  ] as const)("%s", async (_, framing, how) => {
    const content = seededBytes(60_000, 3);
    const path = await newUpload();
    {
      await using socket = await RawSocket.open(registry.port);
      await socket.writeHead(`PATCH ${path} HTTP/1.1`, "Host: registry", framing);
      if (framing.startsWith("Transfer")) await socket.write(`${(100_000).toString(16)}\r\n`);
      await socket.write(content.slice(0, 40_000));
      // A reset throws away what the server has not read yet: give it the time.
      await Bun.sleep(300);
      if (how === "reset") socket.reset();
      else socket.end();
      await socket.closes(2000);
    }
    const next = await waitForSize(path, 40_000);
    await using socket = await RawSocket.open(registry.port);
    await socket.writeHead(`PUT ${withDigest(next, digestOf(content))} HTTP/1.1`, "Host: registry", "Content-Length: 20000");
    await socket.write(content.slice(40_000));
    expect((await socket.readOnlyResponse()).status).toBe(201);
    await expectBlob(content);
  });

  test("and a manifest of which a part came is not stored", async () => {
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [] });
    {
      await using socket = await RawSocket.open(registry.port);
      await socket.writeHead(
        "PUT /v2/wire/bodies/manifests/partial HTTP/1.1",
        "Host: registry",
        "Content-Type: application/vnd.oci.image.index.v1+json",
        `Content-Length: ${manifest.length + 10}`,
      );
      await socket.write(manifest);
      await Bun.sleep(100);
      socket.end();
      await socket.closes(2000);
    }
    const response = await fetch(`${registry.url}/v2/wire/bodies/manifests/partial`);
    expect(response.status).toBe(404);
  });
});

describe("slow bodies are no error", () => {
  // All at once: each takes longer than any idle timeout that a server has by habit.
  test.concurrent("1 KiB a second for 14 seconds", async () => {
    const content = seededBytes(14 * 1024, 4);
    await using socket = await RawSocket.open(registry.port);
    await socket.writeHead(`PUT ${withDigest(await newUpload(), digestOf(content))} HTTP/1.1`, "Host: registry", `Content-Length: ${content.length}`);
    for (let offset = 0; offset < content.length; offset += 1024) {
      await socket.write(content.slice(offset, offset + 1024));
      await Bun.sleep(1000);
    }
    expect((await socket.readOnlyResponse()).status).toBe(201);
    await expectBlob(content);
  });

  test.concurrent("a byte at a time, chunked, with a pause of 12 seconds", async () => {
    const content = seededBytes(200, 5);
    await using socket = await RawSocket.open(registry.port);
    await socket.writeHead(`PATCH ${await newUpload()} HTTP/1.1`, "Host: registry", "Transfer-Encoding: chunked");
    for (const [index, byte] of content.entries()) {
      await socket.write(Uint8Array.of(0x31, 13, 10, byte, 13, 10));
      if (index === 100) await Bun.sleep(12_000);
    }
    await socket.write("0\r\n\r\n");
    const answer = await socket.readOnlyResponse();
    expect([answer.status, header(answer, "range")]).toEqual([202, "0-199"]);
  });

  test.concurrent("a client that reads its blob with a pause of 12 seconds gets all of it", async () => {
    const content = seededBytes(32 * 1024 * 1024, 6);
    const path = await newUpload();
    const pushed = await fetch(`${registry.url}${withDigest(path, digestOf(content))}`, { method: "PUT", body: content });
    expect(pushed.status).toBe(201);
    const response = await fetch(`${registry.url}/v2/wire/bodies/blobs/${digestOf(content)}`);
    const hasher = new Bun.CryptoHasher("sha256");
    let received = 0;
    for await (const chunk of response.body ?? []) {
      if (received === 0) await Bun.sleep(12_000);
      received += chunk.length;
      hasher.update(chunk);
    }
    expect(received).toBe(content.length);
    expect(`sha256:${hasher.digest("hex")}`).toBe(digestOf(content));
  });
});

describe("large bodies", () => {
  /** Above 128 MiB, which is the most that Bun takes unless told otherwise. */
  const SIZE = 130 * 1024 * 1024;

  test.each(["Content-Length", "Transfer-Encoding"])("of 130 MiB by %s are stored", async (framing) => {
    const part = seededBytes(1024 * 1024, framing.length);
    const hasher = new Bun.CryptoHasher("sha256");
    for (let sent = 0; sent < SIZE; sent += part.length) hasher.update(part);
    const digest = `sha256:${hasher.digest("hex")}`;
    await using socket = await RawSocket.open(registry.port);
    const isChunked = framing === "Transfer-Encoding";
    await socket.writeHead(`PUT ${withDigest(await newUpload(), digest)} HTTP/1.1`, "Host: registry", isChunked ? `${framing}: chunked` : `${framing}: ${SIZE}`);
    for (let sent = 0; sent < SIZE; sent += part.length) {
      if (isChunked) await socket.write(`${part.length.toString(16)}\r\n`);
      await socket.write(part);
      if (isChunked) await socket.write("\r\n");
    }
    if (isChunked) await socket.write("0\r\n\r\n");
    expect((await socket.readOnlyResponse({ timeoutMs: 40_000 })).status).toBe(201);
    const head = await fetch(`${registry.url}/v2/wire/bodies/blobs/${digest}`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String(SIZE)]);
  });
});

describe("a refusal is readable by a client that is still sending", () => {
  const refusals: [string, (path: string) => string, number[]][] = [
    ["an upload that nobody knows", () => "PATCH /v2/wire/bodies/blobs/uploads/00000000-0000-4000-8000-000000000000?_state=x", [400, 404]],
    ["a digest that is none", (path) => `PUT ${withDigest(path, "sha256:abc")}`, [400]],
    ["a route that does not exist", () => "PUT /v2/wire/bodies/nothing", [404]],
    ["a method that is not allowed", () => "POST /v2/wire/bodies/tags/list", [405]],
    ["a manifest that is too large", () => "PUT /v2/wire/bodies/manifests/large", [400, 413]],
  ];

  test.each(refusals)("%s, when it sends 512 KiB before it reads", async (_, request, statuses) => {
    await using socket = await RawSocket.open(registry.port);
    const length = request("").includes("manifests") ? 5 * 1024 * 1024 : 512 * 1024;
    await socket.writeHead(`${request(await newUpload())} HTTP/1.1`, "Host: registry", `Content-Length: ${length}`, "Content-Type: application/vnd.oci.image.index.v1+json");
    await socket.write(new Uint8Array(length));
    expect(statuses).toContain((await socket.readResponse()).status);
  });

  test.each(refusals)("%s, when it reads while it sends 64 MiB", async (_, request, statuses) => {
    await using socket = await RawSocket.open(registry.port);
    const length = 64 * 1024 * 1024;
    await socket.writeHead(`${request(await newUpload())} HTTP/1.1`, "Host: registry", `Content-Length: ${length}`, "Content-Type: application/vnd.oci.image.index.v1+json");
    const answer = socket.readResponse();
    let isAnswered = false;
    void answer.then(() => (isAnswered = true)).catch(() => (isAnswered = true));
    const part = new Uint8Array(64 * 1024);
    for (let sent = 0; sent < length && !isAnswered; sent += part.length) await Promise.race([socket.write(part), answer]);
    expect(statuses).toContain((await answer).status);
  });

  test("and GET requests with a body are answered as without", async () => {
    await using socket = await RawSocket.open(registry.port);
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry", "Content-Length: 5");
    await socket.write("hello");
    expect((await socket.readOnlyResponse()).status).toBe(200);
    await socket.writeHead("GET /v2/ HTTP/1.1", "Host: registry");
    expect((await socket.readOnlyResponse()).status).toBe(200);
  });
});

describe("two requests write to one upload", () => {
  test("one of them wins, the other is told so, and the bytes are one's", async () => {
    const path = await newUpload();
    const contents = [seededBytes(3_000_000, 8), seededBytes(3_000_000, 9)];
    const answers = await Promise.all(contents.map((body) => fetch(registry.url + path, { method: "PATCH", body, headers: { "content-type": "application/octet-stream" } })));
    const winners = answers.flatMap((answer, index) => (answer.status === 202 ? [index] : []));
    expect(winners).toHaveLength(1);
    const [winner = 0] = winners;
    const loser = answers[1 - winner];
    expect(loser?.status).toBeGreaterThanOrEqual(400);
    expect(loser?.status).toBeLessThan(500);
    const content = contents[winner] ?? new Uint8Array();
    const next = pathOf(answers[winner]?.headers.get("location") ?? "");
    const finished = await fetch(registry.url + withDigest(next, digestOf(content)), { method: "PUT" });
    expect(finished.status).toBe(201);
    await expectBlob(content);
  });

  test("a PATCH that hangs does not block the upload for ever", async () => {
    const path = await newUpload();
    await using stuck = await RawSocket.open(registry.port);
    await stuck.writeHead(`PATCH ${path} HTTP/1.1`, "Host: registry", "Content-Length: 1000");
    await stuck.write("hello");
    await Bun.sleep(200);
    // The client that gave up on it asks where it stands; then its old connection goes away at last.
    const status = await fetch(registry.url + path);
    expect([204, 404, 416]).toContain(status.status);
    stuck.reset();
    const next = await waitForSize(path, 5);
    const finished = await fetch(registry.url + withDigest(next, digestOf("hello")), { method: "PUT" });
    expect(finished.status).toBe(201);
  });
});
