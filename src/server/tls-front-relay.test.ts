import { expect, test } from "bun:test";
import type { Socket } from "bun";
import { RelayDirection } from "./tls-front-relay.ts";

/** A socket that takes so many bytes until it is told to take more. */
class SlowSocket {
  readonly events: string[] = [];
  taken = "";
  room: number;

  constructor(room: number) {
    this.room = room;
  }

  write(bytes: Uint8Array): number {
    if (this.room < 0) return -1;
    const written = bytes.subarray(0, this.room);
    this.taken += Buffer.from(written).toString();
    this.room -= written.length;
    return written.length;
  }

  pause(): void {
    this.events.push("paused");
  }

  resume(): void {
    this.events.push("resumed");
  }

  end(): void {
    this.events.push("ended");
  }

  timeout(): void {
    this.events.push("given a time");
  }

  asSocket(): Socket<unknown> {
    return this as unknown as Socket<unknown>;
  }
}

function connected(room: number): { readonly direction: RelayDirection; readonly source: SlowSocket; readonly target: SlowSocket } {
  const [source, target] = [new SlowSocket(0), new SlowSocket(room)];
  const direction = new RelayDirection();
  direction.connect({ source: source.asSocket(), target: target.asSocket() });
  return { direction, source, target };
}

test("what the target takes at once goes through", () => {
  const { direction, source, target } = connected(100);
  direction.received(Buffer.from("one "));
  direction.received(Buffer.from("two"));
  direction.end();
  expect([target.taken, target.events, source.events]).toEqual(["one two", ["ended", "given a time"], []]);
});

test("the source waits while the target does, and nothing is lost or turned around", () => {
  const { direction, source, target } = connected(2);
  const reused = Buffer.from("abcdef");
  direction.received(reused);
  reused.fill("x");
  direction.received(Buffer.from("ghi"));
  expect([target.taken, source.events]).toEqual(["ab", ["paused", "paused"]]);
  target.room = 3;
  direction.drained();
  expect(source.events).not.toContain("resumed");
  target.room = 100;
  direction.drained();
  expect([target.taken, source.events.at(-1)]).toEqual(["abcdefghi", "resumed"]);
});

test("the target is ended only after it has everything", () => {
  const { direction, target } = connected(2);
  direction.received(Buffer.from("abc"));
  direction.end();
  expect(target.events).toEqual([]);
  target.room = 1;
  direction.drained();
  expect([target.taken, target.events]).toEqual(["abc", ["ended", "given a time"]]);
});

test("what comes before the target is there is kept for it", () => {
  const [source, target] = [new SlowSocket(0), new SlowSocket(100)];
  const direction = new RelayDirection();
  direction.connect({ source: source.asSocket() });
  direction.received(Buffer.from("early"));
  direction.end();
  expect(source.events).toEqual(["paused"]);
  direction.connect({ target: target.asSocket() });
  expect([target.taken, target.events, source.events]).toEqual(["early", ["ended", "given a time"], ["paused", "resumed"]]);
});

test("a target that is gone takes nothing, and does not hold the source up", () => {
  const { direction, source, target } = connected(2);
  direction.received(Buffer.from("abc"));
  direction.discard();
  direction.received(Buffer.from("more"));
  direction.drained();
  direction.end();
  expect([target.taken, target.events, source.events]).toEqual(["ab", [], ["paused", "resumed"]]);
});
