import { expect, test } from "bun:test";
import type { EnvelopeEvent } from "./envelope.ts";
import { MemoryQueue } from "./memory-queue.ts";
import { numberedEvent } from "./testing/events.ts";

async function drain(queue: MemoryQueue): Promise<string[]> {
  const ids: string[] = [];
  for (let event = await queue.peek(); event !== undefined; event = await queue.peek()) {
    ids.push(event.id);
    queue.confirm();
  }
  return ids;
}

test("MemoryQueue gives events in order, each until it is confirmed", async () => {
  const queue = new MemoryQueue(5000);
  for (let i = 0; i < 3000; i++) expect(queue.push(numberedEvent(i))).toBe(0);
  expect((await queue.peek())?.id).toBe("0");
  expect((await queue.peek())?.id).toBe("0");
  expect(queue.size).toBe(3000);
  expect(await drain(queue)).toEqual(Array.from({ length: 3000 }, (_, i) => String(i)));
  expect(queue.size).toBe(0);
});

test("MemoryQueue gives up the oldest that is not in delivery when it is full", async () => {
  const queue = new MemoryQueue(3);
  queue.push(numberedEvent(0));
  await queue.peek();
  for (const i of [1, 2]) expect(queue.push(numberedEvent(i))).toBe(0);
  expect(queue.push(numberedEvent(3))).toBe(1);
  expect(queue.size).toBe(3);
  expect(await drain(queue)).toEqual(["0", "2", "3"]);
});

test("MemoryQueue gives up the oldest when clients make their events long", async () => {
  const queue = new MemoryQueue(1000, 1_000_000);
  const long = (number: number): EnvelopeEvent => {
    const event = numberedEvent(number);
    return { ...event, request: { ...event.request, useragent: "x".repeat(100_000) } };
  };
  let dropped = 0;
  for (let i = 0; i < 100; i++) dropped += queue.push(long(i));
  expect([dropped, queue.size]).toEqual([91, 9]);
  expect(queue.push({ ...long(100), target: { ...long(100).target, url: "x".repeat(2_000_000) } })).toBe(9);
  for (let i = 101; i < 110; i++) queue.push(numberedEvent(i));
  expect(await drain(queue)).toEqual(Array.from({ length: 9 }, (_, i) => String(101 + i)));
  for (let i = 0; i < 1000; i++) expect(queue.push(numberedEvent(i))).toBe(0);
});
