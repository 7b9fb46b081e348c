import { describe, expect, test } from "bun:test";
import { PartBuffers } from "./part-buffers.ts";

describe("PartBuffers", () => {
  test("gives everybody one, and more as long as the budget lasts", () => {
    const buffers = new PartBuffers(10, 25);
    expect([buffers.take().length, buffers.take().length]).toEqual([10, 10]);
    const extra = [buffers.tryTakeExtra(), buffers.tryTakeExtra(), buffers.tryTakeExtra()];
    expect(extra.map((buffer) => buffer?.length)).toEqual([10, 10, undefined]);
    buffers.release(2, []);
    expect([buffers.tryTakeExtra()?.length, buffers.tryTakeExtra()?.length]).toEqual([10, undefined]);
  });

  test("gives out again one of those that were given back, and frees the others", () => {
    const buffers = new PartBuffers(10, 1000);
    const taken = [buffers.take(), ...Array.from({ length: 9 }, () => buffers.tryTakeExtra() ?? new Uint8Array())];
    buffers.release(10, taken);
    expect(taken.map(({ length }) => length)).toEqual([10, ...Array(9).fill(0)]);
    const again = Array.from({ length: 10 }, () => buffers.take());
    expect(again.filter((buffer) => taken.includes(buffer)).length).toBe(1);
  });
});
