import { expect, test } from "bun:test";
import { connect } from "node:net";
import { LongRequests, requestTime, type RequestServer } from "./long-requests.ts";

const DEADLINE_MS = 60_000;

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it does not come to that");
    await Bun.sleep(5);
  }
}

/** A server whose requests are under way until they are told not to be. */
class FakeServer implements RequestServer {
  readonly ports = new Map<Request, number>();
  readonly renewed: Request[] = [];
  readonly unbounded: Request[] = [];

  begin(port: number): Request {
    const request = new Request("http://127.0.0.1/");
    this.ports.set(request, port);
    return request;
  }

  requestIP(request: Request): Bun.SocketAddress | null {
    const port = this.ports.get(request);
    return port === undefined ? null : { address: "127.0.0.1", family: "IPv4", port };
  }

  timeout(request: Request, seconds: number): void {
    if (seconds === 0) this.unbounded.push(request);
    else this.renewed.push(request);
  }

  times(request: Request): number {
    return this.renewed.filter((other) => other === request).length;
  }
}

test("LongRequests gives requests more time until they are answered, several on one connection too", async () => {
  const server = new FakeServer();
  const long = new LongRequests(server, { seconds: 60, renewMs: 1 });
  const [first, second, other] = [server.begin(1), server.begin(1), server.begin(2)];
  for (const request of [first, second, other]) long.add(request);
  await until(() => [first, second, other].every((request) => server.times(request) > 3));
  for (const request of [second, other]) server.ports.delete(request);
  const counts = [second, other].map((request) => server.times(request));
  await until(() => server.times(first) > 10);
  expect([second, other].map((request) => server.times(request))).toEqual(counts);
  server.ports.delete(first);
  const later = server.begin(1);
  long.add(later);
  await until(() => server.times(later) > 3);
  server.ports.delete(later);
});

test("LongRequests gives all time at once to who comes from nowhere", () => {
  const server = new FakeServer();
  const request = new Request("http://127.0.0.1/");
  new LongRequests(server, { seconds: 60, renewMs: 1 }).add(request);
  expect([server.renewed, server.unbounded]).toEqual([[], [request]]);
});

test("requestTime is the idle time, but never so short that a busy process would be late", () => {
  expect([requestTime(1), requestTime(200)].map(({ seconds }) => seconds)).toEqual([60, 200]);
});

test("LongRequests leaves the connection to Bun's timer again once its request is answered", async () => {
  let long: LongRequests | undefined;
  await using server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    // It counts in steps of four seconds.
    idleTimeout: 255,
    fetch(request, bun) {
      (long ??= new LongRequests(bun, { seconds: 1, renewMs: 100 })).add(request);
      return new Response("ok");
    },
  });
  const { port = 0 } = server;
  let isClosed = false;
  const socket = connect(port, "127.0.0.1", () => socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  socket.resume().once("close", () => (isClosed = true));
  await until(() => isClosed);
}, DEADLINE_MS);
