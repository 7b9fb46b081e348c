import { afterEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { sentStream } from "./sent-stream.ts";

const CHUNK_BYTES = 300_000;
/** More than fits into the buffers of a connection on loopback. */
const MANY = 200;

interface Source {
  readonly stream: ReadableStream<Uint8Array>;
  readonly given: Uint8Array[];
  isCancelled: boolean;
}

/** Chunks of their own memory, counted as they are taken. */
function sourceOf(chunks: readonly Uint8Array[], { failsAtEnd = false } = {}): Source {
  const given: Uint8Array[] = [];
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const chunk = chunks[given.length];
        if (chunk !== undefined) {
          given.push(chunk);
          controller.enqueue(chunk);
        } else if (failsAtEnd) controller.error(new Error("the store broke off"));
        else controller.close();
      },
      cancel: () => void (source.isCancelled = true),
    },
    { highWaterMark: 0 },
  );
  const source: Source = { stream, given, isCancelled: false };
  return source;
}

let servers: Bun.Server<undefined>[] = [];

afterEach(async () => {
  await Promise.all(servers.map((server) => server.stop(true)));
  servers = [];
});

function serve(source: Source): number {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", development: false, fetch: () => new Response(sentStream(source.stream)), error: () => new Response(null, { status: 500 }) });
  servers.push(server);
  return Number(server.port);
}

async function ask(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.pause();
  socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  return socket;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(5);
}

/** Waits until nothing has been taken from a source for a while. */
async function untilQuiet({ given }: Source): Promise<void> {
  for (let known = -1; known !== given.length || known === 0; ) {
    known = given.length;
    await Bun.sleep(200);
  }
}

describe("sentStream", () => {
  test("sends every byte as it was, also to a client that is slow at first", async () => {
    const chunks = Array.from({ length: MANY }, (_, index) => new Uint8Array(randomBytes(index % 3 === 0 ? 1000 : CHUNK_BYTES)));
    const expected = Buffer.concat(chunks);
    const source = sourceOf(chunks);

    const response = await fetch(`http://127.0.0.1:${serve(source)}/`);
    await Bun.sleep(50);
    const received = Buffer.from(await response.arrayBuffer());

    expect(received.equals(expected)).toBe(true);
  });

  test("frees the memory of what was sent", async () => {
    const source = sourceOf(Array.from({ length: 10 }, () => new Uint8Array(CHUNK_BYTES)));

    await (await fetch(`http://127.0.0.1:${serve(source)}/`)).arrayBuffer();

    expect(source.given.map(({ length }) => length)).toEqual(Array.from({ length: 10 }, () => 0));
  });

  test("leaves memory alone that others look at, too", async () => {
    const shared = new Uint8Array(randomBytes(2 * CHUNK_BYTES));
    const source = sourceOf([shared.subarray(0, CHUNK_BYTES), shared.subarray(CHUNK_BYTES)]);

    const received = await (await fetch(`http://127.0.0.1:${serve(source)}/`)).bytes();

    expect(Buffer.from(received).equals(shared)).toBe(true);
    expect(shared.length).toBe(2 * CHUNK_BYTES);
  });

  test("takes no more from its source while the client does not read", async () => {
    const source = sourceOf(Array.from({ length: MANY }, () => new Uint8Array(CHUNK_BYTES)));
    const socket = await ask(serve(source));

    await untilQuiet(source);

    expect(source.given.length).toBeLessThan(MANY);
    socket.destroy();
  });

  test("cancels its source when the client goes away", async () => {
    const source = sourceOf(Array.from({ length: MANY }, () => new Uint8Array(CHUNK_BYTES)));
    const socket = await ask(serve(source));
    await until(() => source.given.length > 0);

    socket.destroy();

    await until(() => source.isCancelled);
  });

  test("breaks the answer off when its source fails", async () => {
    const source = sourceOf([new Uint8Array(CHUNK_BYTES)], { failsAtEnd: true });
    const response = await fetch(`http://127.0.0.1:${serve(source)}/`);

    const error = await response.arrayBuffer().catch((reason: unknown) => reason);

    expect(error).toBeInstanceOf(Error);
  });
});
