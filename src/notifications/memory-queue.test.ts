import { expect, test } from "bun:test";
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
