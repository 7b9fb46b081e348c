import { describe, expect, test } from "bun:test";
import type { RegistryError } from "../oci/errors.ts";
import { settled, TestClock } from "./testing/test-clock.ts";
import { UploadHolds } from "./upload-hold.ts";

async function failureOf(call: Promise<unknown>): Promise<unknown> {
  return await call.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe("UploadHolds.take", () => {
  test("waits for a second, whatever the clock is set to meanwhile", async () => {
    let nowMs = 0;
    const sleeps: (() => void)[] = [];
    const holds = new UploadHolds({ now: () => nowMs, sleep: () => new Promise((resolve) => void sleeps.push(resolve)) });
    using _first = await holds.take("a");
    const second = failureOf(holds.take("a"));
    nowMs -= 3_600_000;
    for (const wake of sleeps) wake();
    expect((await second) as RegistryError).toMatchObject({ code: "RANGE_INVALID" });
    expect(sleeps.length).toBe(1);
  });

  test("gives a hold that is given back to one who waits, and leaves no timer behind", async () => {
    const clock = new TestClock();
    const holds = new UploadHolds(clock);
    const first = await holds.take("a");
    const waiting = [holds.take("a"), holds.take("a")];
    await settled();
    first[Symbol.dispose]();
    const second = await Promise.race(waiting);
    const others = Promise.all(waiting.map(failureOf));
    await clock.advance(1_000);
    expect(await others).toEqual(expect.arrayContaining([undefined, expect.objectContaining({ code: "RANGE_INVALID" })]));
    second[Symbol.dispose]();
    expect(holds.find("a")).toBeUndefined();
    expect(clock.sleeping).toBe(0);
  });
});
