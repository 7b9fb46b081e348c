import { describe, expect, test } from "bun:test";
import { mapAhead, mapConcurrently, waitForAll } from "./concurrently.ts";

describe("mapConcurrently", () => {
  test("keeps the order and the bound", async () => {
    let running = 0;
    let most = 0;
    const results = await mapConcurrently([5, 1, 4, 2, 3], 2, async (item) => {
      most = Math.max(most, ++running);
      for (let turn = 0; turn < item; turn++) await Promise.resolve();
      running--;
      return item * 10;
    });
    expect([results, most]).toEqual([[50, 10, 40, 20, 30], 2]);
  });

  test("begins nothing after a failure, and waits for what was begun", async () => {
    const done: number[] = [];
    const work = mapConcurrently([1, 2, 3, 4, 5, 6], 2, async (item) => {
      if (item === 1) throw new Error("no");
      await new Promise((resolve) => void setImmediate(resolve));
      done.push(item);
    });
    await expect(work).rejects.toThrow("no");
    expect(done).toEqual([2]);
  });

  test("takes nothing, and a bound below one", async () => {
    expect(await mapConcurrently([], 0, async (item) => item)).toEqual([]);
    expect(await mapConcurrently([1, 2], 0, async (item) => item)).toEqual([1, 2]);
  });

  test("lets others have a turn in a long list", async () => {
    let turned = false;
    setImmediate(() => (turned = true));
    await mapConcurrently(Array.from({ length: 1000 }), 4, async () => undefined);
    expect(turned).toBe(true);
  });
});

describe("waitForAll", () => {
  test("waits for the others before it fails", async () => {
    let ended = false;
    const slow = new Promise<void>((resolve) => {
      setImmediate(() => {
        ended = true;
        resolve();
      });
    });
    await expect(waitForAll(Promise.reject(new Error("no")), slow)).rejects.toThrow("no");
    expect(ended).toBe(true);
  });
});

describe("mapAhead", () => {
  test("keeps the order, and the bound on what is under way", async () => {
    let [running, most] = [0, 0];
    const work = async (item: number): Promise<number> => {
      most = Math.max(most, ++running);
      for (let turn = 0; turn < item; turn++) await Promise.resolve();
      running--;
      return item * 10;
    };
    expect([await Array.fromAsync(mapAhead([5, 1, 4, 2, 3], 3, work)), most]).toEqual([[50, 10, 40, 20, 30], 3]);
  });

  test("throws a failure in its turn, and is deaf to others", async () => {
    const failing = mapAhead([1, 2, 3], 3, async (item) => {
      if (item > 1) throw new Error(`no ${item}`);
      return item;
    });
    expect((await failing.next()).value).toBe(1);
    const error = await failing.next().catch((failure: unknown) => failure);
    expect(String(error)).toBe("Error: no 2");
  });
});
