import { expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { tempFolder } from "../../test/support/temp-folder.ts";
import { ListeningSockets, mostDescriptors, openDescriptors, type SocketName } from "./listening-sockets.ts";

const DEADLINE_MS = 60_000;

interface Listener extends Disposable {
  readonly name: SocketName;
  readonly accepted: Set<unknown>;
}

/** Bun's types do not know that a port can be shared. */
const shared = (port: number): { readonly hostname: string; readonly port: number; readonly reusePort: boolean } => ({ hostname: "127.0.0.1", port, reusePort: true });

function listen(path?: string): Listener {
  const accepted = new Set<unknown>();
  const socket = { open: (client: unknown) => void accepted.add(client), close: (client: unknown) => void accepted.delete(client), data: () => undefined };
  if (path !== undefined) {
    const listener = Bun.listen({ unix: path, socket });
    return { name: { path }, accepted, [Symbol.dispose]: () => listener.stop(true) };
  }
  const listener = Bun.listen({ socket, ...shared(0) });
  return { name: { port: listener.port }, accepted, [Symbol.dispose]: () => listener.stop(true) };
}

function visit(name: SocketName): Socket & Disposable {
  const socket = "port" in name ? connect(name.port, "127.0.0.1") : connect(name.path);
  socket.on("error", () => undefined);
  return Object.assign(socket, { [Symbol.dispose]: () => void socket.destroy() });
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it does not come to that");
    await Bun.sleep(5);
  }
}

async function seeAdmission(listener: Listener): Promise<void> {
  const sockets = ListeningSockets.find(listener.name);
  expect(sockets.connections()).toBe(0);
  using first = visit(listener.name);
  await until(() => listener.accepted.size === 1);
  expect(sockets.connections()).toBe(1);

  sockets.admit("none");
  using second = visit(listener.name);
  await until(() => !second.connecting);
  await Bun.sleep(100);
  expect([listener.accepted.size, sockets.connections()]).toEqual([1, 1]);

  sockets.admit("once");
  await until(() => listener.accepted.size === 2);
  using third = visit(listener.name);
  await until(() => !third.connecting);
  await Bun.sleep(100);
  expect(sockets.connections()).toBe(2);

  sockets.admit("all");
  await until(() => listener.accepted.size === 3);
  expect(sockets.connections()).toBe(3);
  first.destroy();
  await until(() => listener.accepted.size === 2);
  expect(sockets.connections()).toBe(2);
}

test("ListeningSockets lets nobody in, some, or everybody, and counts them", async () => {
  using listener = listen();
  using other = listen();
  using elsewhere = visit(other.name);
  await until(() => other.accepted.size === 1 && !elsewhere.connecting);
  await seeAdmission(listener);
});

test("ListeningSockets does so on a unix socket", async () => {
  await using folder = await tempFolder();
  using listener = listen(join(folder.path, "socket"));
  await seeAdmission(listener);
});

test("ListeningSockets.find tells a newer listener from an older one of the same port", () => {
  using older = listen();
  const before = ListeningSockets.find(older.name);
  expect(() => ListeningSockets.find(older.name, before)).toThrow("not in a loop of events");
  if (!("port" in older.name)) throw new Error("it has a port");
  using newer = Bun.listen({ socket: { data: () => undefined }, ...shared(older.name.port) });
  expect(newer.port).toBe(older.name.port);
  const after = ListeningSockets.find(older.name, before);
  expect(() => ListeningSockets.find(older.name, after)).not.toThrow();
});

test("ListeningSockets leaves alone what has taken the number of a closed socket", async () => {
  const closed = listen();
  const sockets = ListeningSockets.find(closed.name);
  closed[Symbol.dispose]();
  using another = listen();
  sockets.admit("none");
  using visitor = visit(another.name);
  await until(() => another.accepted.size === 1 && !visitor.connecting);
});

test("openDescriptors and mostDescriptors tell what this process has and may have", async () => {
  const before = openDescriptors();
  using listener = listen();
  using visitor = visit(listener.name);
  await until(() => listener.accepted.size === 1 && !visitor.connecting);
  expect(openDescriptors()).toBeGreaterThanOrEqual(before + 3);
  expect(mostDescriptors()).toBeGreaterThan(openDescriptors());
});
