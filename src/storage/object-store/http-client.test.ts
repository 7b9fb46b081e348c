import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { StoreConnectionError } from "./connection-error.ts";
import { HttpClient } from "./http-client.ts";

const SILENCE_MS = 300;

/** A server that is told what to do with each connection. */
let server: Server;
let sockets: Socket[];
let connected: (socket: Socket, request: string) => void;
let client: HttpClient;
let url: URL;

beforeEach(async () => {
  sockets = [];
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    let request = "";
    socket.on("data", (data) => {
      request += data.toString("latin1");
      if (!request.includes("\r\n\r\n")) return;
      connected(socket, request);
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  url = new URL(`http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/path?q=1`);
  client = new HttpClient({ silenceMs: SILENCE_MS, proxyEnv: {} });
});
afterEach(async () => {
  client.close();
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => void server.close(() => resolve()));
});

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
}

function answer(socket: Socket, text: string): void {
  socket.write(text.replaceAll("\n", "\r\n"));
}

describe("HttpClient", () => {
  test("sends what it is given, in one piece after the other, and says how long it is", async () => {
    let seen = "";
    connected = (socket, request) => {
      if (!request.endsWith("three")) return;
      seen = request;
      answer(socket, "HTTP/1.1 201 Created\ncontent-length: 2\nx-answer: yes\n\nok");
    };
    const { status, headers, body } = await client.send({ method: "PUT", url, headers: { "x-request": "1" }, body: ["one", "two", "three"].map((text) => Buffer.from(text)) });
    expect([status, headers["x-answer"], Buffer.from(body).toString()]).toEqual([201, "yes", "ok"]);
    expect(seen).toStartWith("PUT /path?q=1 HTTP/1.1\r\n");
    expect(seen.toLowerCase()).toContain("\r\ncontent-length: 11\r\n");
    expect(seen).toEndWith("\r\n\r\nonetwothree");
  });

  test("gives the answer of any status, redirects too", async () => {
    connected = (socket) => answer(socket, "HTTP/1.1 308 Resume Incomplete\nlocation: /elsewhere\nrange: bytes=0-9\ncontent-length: 0\n\n");
    expect(await client.send({ method: "PUT", url })).toMatchObject({ status: 308, headers: { range: "bytes=0-9" } });
  });

  test("leaves only content open", async () => {
    connected = (socket) => answer(socket, "HTTP/1.1 200 OK\ncontent-length: 4\n\ntext");
    const open = await client.open({ method: "GET", url });
    if (!("content" in open)) throw new Error("it is not open");
    expect(Buffer.from((await open.content.next()) ?? "").toString()).toBe("text");
    expect(await open.content.next()).toBeUndefined();
    connected = (socket) => answer(socket, "HTTP/1.1 404 Not Found\ncontent-length: 4\n\nnone");
    expect(await client.open({ method: "GET", url })).toMatchObject({ status: 404, body: Buffer.from("none") });
  });

  test("takes an answer that comes before everything was sent", async () => {
    connected = (socket) => answer(socket, "HTTP/1.1 413 Too Large\ncontent-length: 2\n\nno");
    const body = Array.from({ length: 64 }, () => new Uint8Array(1024 * 1024));
    // The server reads nothing more; either the answer was heard in time, or the connection was found broken.
    server.once("connection", (socket) => void socket.once("data", () => socket.pause()));
    const result = await client.send({ method: "PUT", url, body }).catch((error: unknown) => error);
    expect(result instanceof StoreConnectionError || (result as { readonly status: number }).status === 413).toBe(true);
  });

  test.each([
    ["closes without a word", (socket: Socket) => socket.destroy()],
    ["breaks an answer off", (socket: Socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.", () => socket.destroy())],
    ["says nothing", () => undefined],
    ["falls silent in the middle of an answer", (socket: Socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.")],
  ])("fails as a broken connection when the store %s", async (_, act) => {
    connected = (socket) => void act(socket);
    expect(await failureOf(client.send({ method: "GET", url }))).toBeInstanceOf(StoreConnectionError);
  });

  test("fails as a broken connection when nobody listens", async () => {
    const nobody = new URL(url);
    await new Promise<void>((resolve) => void server.close(() => resolve()));
    expect(await failureOf(client.send({ method: "GET", url: nobody }))).toBeInstanceOf(StoreConnectionError);
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  });

  test("tells of content that falls silent, and not of a reader that takes its time", async () => {
    connected = (socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.");
    const open = await client.open({ method: "GET", url });
    if (!("content" in open)) throw new Error("it is not open");
    await Bun.sleep(SILENCE_MS * 2);
    expect((await open.content.next())?.length).toBe(10);
    expect(await failureOf(open.content.next())).toMatchObject({ name: "StoreConnectionError", code: "ETIMEDOUT" });
  });

  test("gives up at once when it is told to", async () => {
    connected = () => undefined;
    const abort = new AbortController();
    const sent = failureOf(client.send({ method: "GET", url }, abort.signal));
    await Bun.sleep(20);
    abort.abort(new Error("enough"));
    expect(await sent).toMatchObject({ message: "enough" });
    expect(await failureOf(client.send({ method: "GET", url }, abort.signal))).toMatchObject({ message: "enough" });
  });

  test("uses a connection again", async () => {
    connected = (socket) => answer(socket, "HTTP/1.1 200 OK\ncontent-length: 0\n\n");
    for (let round = 0; round < 5; round++) await client.send({ method: "GET", url });
    expect(sockets.length).toBe(1);
  });
});
