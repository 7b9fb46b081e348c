import { type Clock, SYSTEM_CLOCK } from "../../lib/clock.ts";

const BASE_DELAY_MS = 100;
const MAX_DELAY_MS = 10_000;
/** An overload counts like so many failures more. */
const OVERLOAD_FAILURES = 2;

/** How often, and for which failures, something is tried again. */
export interface RetryPolicy {
  /** How often it is tried after the first time. */
  readonly maxRetries: number;
  /** Whether a failure may pass by itself. */
  readonly isTransient: (error: unknown) => boolean;
  /** Whether the other side has too much to do: it is left alone for longer. */
  readonly isOverload?: (error: unknown) => boolean;
  /** Ends the waiting: the last failure is thrown. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** From 0 up to 1. */
  readonly random?: () => number;
}

/** Runs something, and again after failures that may pass, with growing pauses of random length. @throws The last failure */
export async function retry<T>(work: () => Promise<T>, policy: RetryPolicy): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await work();
    } catch (error) {
      if (failures >= policy.maxRetries || !policy.isTransient(error)) throw error;
      failures++;
      await pauseAfter(failures + (policy.isOverload?.(error) === true ? OVERLOAD_FAILURES : 0), policy);
      if (policy.signal?.aborted === true) throw error;
    }
  }
}

/** Waits as long as it is good to wait after so many failures in a row. */
export async function pauseAfter(failures: number, policy: Pick<RetryPolicy, "signal" | "clock" | "random">): Promise<void> {
  const { clock = SYSTEM_CLOCK, random = Math.random } = policy;
  const longestMs = Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** (failures - 1));
  // Random from nothing on: instances that failed together do not come back together.
  await clock.sleep(random() * longestMs, policy.signal);
}
