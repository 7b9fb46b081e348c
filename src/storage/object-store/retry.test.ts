import { describe, expect, test } from "bun:test";
import type { Clock } from "../../lib/clock.ts";
import { pauseAfter, retry, type RetryPolicy } from "./retry.ts";

/** A clock that does not wait, and what it was asked to wait. */
function patientClock(): { readonly clock: Clock; readonly pauses: number[] } {
  const pauses: number[] = [];
  return { pauses, clock: { now: () => 0, sleep: async (ms) => void pauses.push(ms) } };
}

function failing(times: number, error: Error): () => Promise<string> {
  let left = times;
  return async () => {
    if (left-- > 0) throw error;
    return "done";
  };
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(() => undefined, (error: unknown) => error);
}

describe("retry", () => {
  const policy = (more: Partial<RetryPolicy> = {}): RetryPolicy & { readonly pauses: number[] } => ({ maxRetries: 3, isTransient: () => true, random: () => 1, ...patientClock(), ...more });

  test("tries again after growing pauses", async () => {
    const { pauses, ...rest } = policy();
    expect(await retry(failing(3, new Error("x")), rest)).toBe("done");
    expect(pauses).toEqual([100, 200, 400]);
  });

  test("waits longer when the other side has too much to do", async () => {
    const { pauses, ...rest } = policy({ isOverload: () => true });
    expect(await retry(failing(2, new Error("x")), rest)).toBe("done");
    expect(pauses).toEqual([400, 800]);
  });

  test("gives up after so many times, with the last failure", async () => {
    const { pauses, ...rest } = policy();
    const error = new Error("for ever");
    expect(await failureOf(retry(failing(9, error), rest))).toBe(error);
    expect(pauses.length).toBe(3);
  });

  test("does not try again what cannot pass, or when it was told to stop", async () => {
    const error = new Error("refused");
    const refused = policy({ isTransient: () => false });
    const stopped = policy({ signal: AbortSignal.abort() });
    expect(await failureOf(retry(failing(1, error), refused))).toBe(error);
    expect(refused.pauses).toEqual([]);
    expect(await failureOf(retry(failing(1, error), stopped))).toBe(error);
  });
});

test("pauseAfter waits at random from nothing on, and never longer than ten seconds", async () => {
  const { clock, pauses } = patientClock();
  for (const random of [0, 0.5, 0.999]) await pauseAfter(1, { clock, random: () => random });
  await pauseAfter(50, { clock, random: () => 1 });
  expect(pauses).toEqual([0, 50, 99.9, 10_000]);
});
