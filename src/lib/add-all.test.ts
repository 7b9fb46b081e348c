import { expect, test } from "bun:test";
import { addAll } from "./add-all.ts";

test("adds more items than a call can have arguments", () => {
  const list = [-1];
  addAll(list, Array.from({ length: 2_000_000 }, (_, index) => index));
  expect([list.length, list[0], list.at(-1)]).toEqual([2_000_001, -1, 1_999_999]);
});
