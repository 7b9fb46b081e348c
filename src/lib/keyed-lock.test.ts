import { describe, expect, test } from "bun:test";
import { KeyedLock } from "./keyed-lock.ts";

describe("KeyedLock", () => {
  test("lets one in at a time, in order, and keys do not wait for each other", async () => {
    const locks = new KeyedLock();
    const log: string[] = [];
    const work = async (key: string, label: string): Promise<void> => {
      using _lock = await locks.take(key);
      log.push(`${label} in`);
      await Promise.resolve();
      await Promise.resolve();
      log.push(`${label} out`);
    };
    await Promise.all([work("a", "1"), work("a", "2"), work("b", "3"), work("a", "4")]);
    expect(log.filter((line) => !line.startsWith("3"))).toEqual(["1 in", "1 out", "2 in", "2 out", "4 in", "4 out"]);
    expect(log.indexOf("3 in")).toBeLessThan(log.indexOf("2 in"));
  });

  test("is given back when the work fails", async () => {
    const locks = new KeyedLock();
    const failing = async (): Promise<void> => {
      using _lock = await locks.take("a");
      throw new Error("no");
    };
    await expect(failing()).rejects.toThrow("no");
    using lock = await locks.take("a");
    expect(lock).toBeDefined();
  });
});
