import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { StoreConnectionError } from "./connection-error.ts";
import { type DownloadAnswer, Downloads } from "./downloads.ts";

/** So long that nothing on a busy machine is taken for silence. */
const PATIENT_MS = 60_000;
const IMPATIENT_MS = 300;
const MIB = 1024 * 1024;

/** A server that is told what to do with each request. */
let server: Server;
let sockets: Socket[];
let requested: (socket: Socket, request: string) => void;
let downloads: Downloads;
let url: URL;

beforeEach(async () => {
  sockets = [];
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.on("data", (data) => requested(socket, data.toString("latin1")));
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  url = new URL(`http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`);
  downloads = new Downloads({ silenceMs: PATIENT_MS });
});
afterEach(async () => {
  downloads.close();
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => void server.close(() => resolve()));
});

async function get(signal?: AbortSignal): Promise<DownloadAnswer> {
  return await downloads.get({ url, path: "/a%20b?q=1", headers: { "x-request": "yes" } }, signal);
}

async function readAll({ content }: DownloadAnswer): Promise<string> {
  const pieces: Uint8Array[] = [];
  for (let piece = await content.next(); piece !== undefined; piece = await content.next()) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(() => undefined, (error: unknown) => error);
}

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !condition() && Date.now() < deadline; ) await Bun.sleep(5);
  expect(condition()).toBe(true);
}

/** Writes a text piece by piece, each in a packet of its own. */
async function trickle(socket: Socket, text: string, pieceLength: number): Promise<void> {
  socket.setNoDelay(true);
  for (let start = 0; start < text.length; start += pieceLength) {
    socket.write(text.slice(start, start + pieceLength));
    await Bun.sleep(1);
  }
}

describe("Downloads", () => {
  test("asks as it is told, and reads status and headers of any answer", async () => {
    let seen = "";
    requested = (socket, request) => {
      seen = request;
      socket.write("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-Twice: a\r\nx-twice:b \r\n\r\nnone");
    };
    const answer = await get();
    expect(seen).toBe(`GET /a%20b?q=1 HTTP/1.1\r\nhost: ${url.host}\r\nx-request: yes\r\n\r\n`);
    expect([answer.status, answer.headers, await readAll(answer)]).toEqual([404, { "content-length": "4", "x-twice": "a, b" }, "none"]);
  });

  test.each([
    ["of a length", "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world"],
    ["in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\nx-trailer: z\r\n\r\n"],
    ["after what is said before", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 206 Partial Content\r\ncontent-length: 11\r\n\r\nhello world"],
    ["in lines without a carriage return", "HTTP/1.1 200 OK\ncontent-length: 11\n\nhello world"],
  ])("reads content %s, however it is cut, and uses the connection again", async (_what, text) => {
    for (const pieceLength of [1, 7, 1000]) {
      requested = (socket) => void trickle(socket, text, pieceLength);
      expect(await readAll(await get())).toBe("hello world");
    }
    expect(sockets.length).toBe(1);
  });

  test.each([
    ["nothing", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    ["no content", "HTTP/1.1 204 No Content\r\n\r\n"],
  ])("uses the connection again after an answer with %s", async (_what, text) => {
    requested = (socket) => void socket.write(text);
    for (let round = 0; round < 3; round++) expect(await readAll(await get())).toBe("");
    expect(sockets.length).toBe(1);
  });

  test.each([
    ["is to be closed", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello"],
    ["speaks the old HTTP", "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
    ["gives more than was announced", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello world"],
  ])("takes a new connection where one %s", async (_what, text) => {
    requested = (socket) => void socket.write(text);
    for (let round = 0; round < 2; round++) expect(await readAll(await get())).toBe("hello");
    expect(sockets.length).toBe(2);
  });

  test("takes the end of the connection for that of content without a length", async () => {
    requested = (socket) => void socket.end("HTTP/1.0 200 OK\r\n\r\nhello");
    expect(await readAll(await get())).toBe("hello");
  });

  test("notices that a connection was closed while it was not needed", async () => {
    requested = (socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    await readAll(await get());
    sockets[0]?.end();
    await until(() => sockets[0]?.destroyed === true);
    expect(await readAll(await get())).toBe("hello");
  });

  test.each([
    ["breaks off", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", true],
    ["comes to a halt", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", false],
    ["breaks off in chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n32\r\nhello", true],
    ["breaks off between chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", true],
    ["breaks off in headers", "HTTP/1.1 200 OK\r\ncontent-le", true],
    ["does not come", "", false],
    ["is none", "", true],
    ["is no HTTP", "220 mail.example ESMTP\r\n\r\n", false],
    ["has no length of a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhello\r\n", false],
  ])("fails as of a broken connection when an answer %s", async (_what, text, closes) => {
    downloads = new Downloads({ silenceMs: IMPATIENT_MS });
    requested = (socket) => void (closes ? socket.end(text) : socket.write(text));
    expect(await failureOf(get().then(readAll))).toBeInstanceOf(StoreConnectionError);
  });

  test("fails as of a broken connection when content without a length is cut by a reset", async () => {
    requested = (socket) => void socket.write("HTTP/1.1 200 OK\r\n\r\nhello");
    const answer = await get();
    await answer.content.next();
    sockets[0]?.resetAndDestroy();
    expect(await failureOf(readAll(answer))).toBeInstanceOf(StoreConnectionError);
  });

  test("fails as of a broken connection when nobody listens", async () => {
    await new Promise<void>((resolve) => void server.close(() => resolve()));
    expect(await failureOf(get())).toMatchObject({ name: "StoreConnectionError", code: "ECONNREFUSED" });
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  });

  test.each([
    ["a line without an end", "x".repeat(MIB)],
    ["headers without an end", "x: y\r\n".repeat(1000)],
  ])("gives up over %s", async (_what, text) => {
    requested = (socket) => void socket.write(`HTTP/1.1 200 OK\r\n${text}`);
    expect(String(await failureOf(get()))).toContain("the store's answer has");
  });

  test("takes no more than a few pieces ahead of its reader, and all in the end", async () => {
    const piece = Buffer.alloc(MIB, "x");
    const total = 64;
    let sent = 0;
    requested = (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${total * MIB}\r\n\r\n`);
      const more = (): void => {
        while (sent < total) if ((sent++, !socket.write(piece))) return void socket.once("drain", more);
      };
      more();
    };
    const answer = await get();
    // Nobody reads: what goes out comes to a halt.
    for (let last = -1; last !== sent; await Bun.sleep(500)) last = sent;
    expect(sent).toBeLessThan(total / 2);
    expect((await readAll(answer)).length).toBe(total * MIB);
  });

  test("gives the connection up when content is not wanted any more", async () => {
    requested = (socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello");
    const answer = await get();
    await answer.content.next();
    answer.content.close();
    await until(() => sockets[0]?.destroyed === true);
  });

  test("gives up at once when it is told to", async () => {
    requested = () => undefined;
    const abort = new AbortController();
    const failing = failureOf(get(abort.signal));
    abort.abort(new Error("enough"));
    expect(await failing).toMatchObject({ message: "enough" });
    expect(await failureOf(get(abort.signal))).toMatchObject({ message: "enough" });
  });

  test("lets no line break into a request", async () => {
    expect(await failureOf(downloads.get({ url, path: "/", headers: { "x-request": "a\r\nb: c" } }))).toBeInstanceOf(TypeError);
  });
});
