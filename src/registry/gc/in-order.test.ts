import { expect, test } from "bun:test";
import { mapInOrder } from "./in-order.ts";

test("mapInOrder gives results in the order of the items, with so many calls under way", async () => {
  let running = 0;
  let most = 0;
  const results: number[] = [];
  const map = async (item: number): Promise<number> => {
    most = Math.max(most, ++running);
    await Bun.sleep((7 - item) * 2);
    running--;
    return item * 10;
  };
  for await (const result of mapInOrder([1, 2, 3, 4, 5, 6], 3, map)) results.push(result);
  expect(results).toEqual([10, 20, 30, 40, 50, 60]);
  expect(most).toBe(3);
});

test("mapInOrder waits for the calls under way when one fails, or nobody wants more", async () => {
  let ended = 0;
  const map = async (item: number): Promise<number> => {
    await Bun.sleep(item);
    ended++;
    if (item === 1) throw new Error("one");
    return item;
  };
  const failure = await (async () => {
    for await (const _result of mapInOrder([1, 20, 30], 3, map)) continue;
  })().catch((error: unknown) => error);
  expect([String(failure), ended]).toEqual(["Error: one", 3]);
  for await (const _result of mapInOrder([2, 20, 30], 3, map)) break;
  expect(ended).toBe(6);
});
