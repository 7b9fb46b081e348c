import { describe, expect, test } from "bun:test";
import { Slots } from "./slots.ts";

describe("Slots", () => {
  test("lets so many run at once, and the others in the order of asking", async () => {
    const slots = new Slots(3);
    const gates = Array.from({ length: 10 }, () => Promise.withResolvers<number>());
    const started: number[] = [];
    const results = gates.map((gate, index) =>
      slots.run(async () => {
        started.push(index);
        return await gate.promise;
      }),
    );
    await Promise.resolve();
    expect(started).toEqual([0, 1, 2]);
    gates[1]?.resolve(11);
    expect(await results[1]).toBe(11);
    expect(started).toEqual([0, 1, 2, 3]);
    gates.forEach((gate, index) => gate.resolve(index));
    expect(await Promise.all(results)).toEqual([0, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(started).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("gives the place of work that failed to the next", async () => {
    const slots = new Slots(1);
    const failed = slots.run(async () => {
      throw new Error("no");
    });
    const next = slots.run(async () => "next");
    await expect(failed).rejects.toThrow("no");
    expect(await next).toBe("next");
    expect(await slots.run(async () => "free again")).toBe("free again");
  });
});
