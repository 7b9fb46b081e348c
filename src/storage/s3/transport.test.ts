import { afterEach, describe, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { SILENT_LOGGER } from "../../telemetry/log.ts";
import { StoreConnectionError } from "../object-store/connection-error.ts";
import { RequestLog } from "./request-log.ts";
import { pathAndQuery, type SignedRequest, Transport } from "./transport.ts";

describe("pathAndQuery", () => {
  test.each([
    [{ path: "/b/k" }, "/b/k"],
    [{ path: "/b/k", query: {} }, "/b/k"],
    [{ path: "/b", query: { uploads: "" } }, "/b?uploads="],
    [{ path: "/b", query: { uploads: null } }, "/b?uploads"],
    [{ path: "/b", query: { prefix: "a b/ü*(1)", "list-type": "2" } }, "/b?list-type=2&prefix=a%20b%2F%C3%BC%2A%281%29"],
    [{ path: "/b", query: { x: ["2", "1"] } }, "/b?x=2&x=1"],
  ] satisfies [Pick<SignedRequest, "path" | "query">, string][])("writes %p as it was signed", (request, expected) => {
    expect(pathAndQuery(request)).toBe(expected);
  });
});

describe("Transport", () => {
  let server: Server | undefined;
  let transport: Transport | undefined;
  const sockets = new Set<Socket>();

  afterEach(async () => {
    transport?.destroy();
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
  });

  /** A server that answers whatever comes with the same bytes. */
  async function answering(answer: string | undefined, options: { readonly closes?: boolean } = {}): Promise<(more?: Partial<SignedRequest>, signal?: AbortSignal) => Promise<Awaited<ReturnType<Transport["handle"]>>["response"]>> {
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.once("data", () => {
        if (answer !== undefined) socket.write(answer);
        if (options.closes === true) socket.end();
      });
    });
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    transport = new Transport({ skipVerify: false, silenceMs: 200, proxyEnv: {}, log: new RequestLog(SILENT_LOGGER, "off") });
    const opened = transport;
    return async (more = {}, signal) => (await opened.handle({ method: "GET", protocol: "http:", hostname: "127.0.0.1", port, path: "/", headers: { host: "x" }, ...more }, { abortSignal: signal })).response;
  }

  async function failureOf(work: Promise<unknown>): Promise<unknown> {
    return await work.then(() => undefined, (error: unknown) => error);
  }

  test("collects an answer", async () => {
    const ask = await answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Twice: a\r\nX-Twice: b\r\n\r\nhello");
    const { statusCode, headers, body } = await ask();
    expect([statusCode, headers["x-twice"], Buffer.from(body as Uint8Array).toString()]).toEqual([200, "a, b", "hello"]);
  });

  test.each([
    ["ends before its time", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", true],
    ["comes to a halt", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", false],
    ["does not come", undefined, false],
    ["is no answer", undefined, true],
  ])("fails as of a broken connection when an answer %s", async (_what, answer, closes) => {
    const ask = await answering(answer, { closes });
    expect(await failureOf(ask())).toBeInstanceOf(StoreConnectionError);
  });

  test("sends a body, also where the answer comes before its end", async () => {
    const ask = await answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    const { statusCode } = await ask({ method: "PUT", body: new Uint8Array(8 * 1024 * 1024), headers: { host: "x", "content-length": String(8 * 1024 * 1024) } });
    expect(statusCode).toBe(403);
    // Nobody will ever read the rest.
    for (const deadline = Date.now() + 5000; Date.now() < deadline && [...sockets].some((socket) => !socket.destroyed); ) {
      for (const socket of sockets) socket.resume();
      await Bun.sleep(5);
    }
    expect([...sockets].map((socket) => socket.destroyed)).toEqual([true]);
  });

  test("gives up when it is told to", async () => {
    const ask = await answering(undefined);
    const given = new AbortController();
    const failing = failureOf(ask({}, given.signal));
    given.abort(new Error("enough"));
    expect(String(await failing)).toContain("enough");
  });
});
