/** A synchronous call longer than this waited for a slow disk or a network … */
const SLOW_CALL_MS = 5;
/** … or only for its turn on a busy processor. Two within this time are no chance. */
const SUSPICION_MS = 2_000;
/** For so long calls go through the thread pool then, before one is tried again. */
const SLOW_PERIOD_MS = 5_000;

/**
 * Watches how long synchronous calls to the file system take. From the page cache they take 1 to 4 microseconds, and the way through
 * the thread pool takes 25; but where they wait, they make every request wait.
 */
export class Pace {
  readonly #nowMs: () => number;
  #lastSlowMs = Number.NEGATIVE_INFINITY;
  #slowUntilMs = Number.NEGATIVE_INFINITY;

  /** @param nowMs A clock that only goes forward. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Whether calls are to go through the thread pool for now. */
  isSlow(): boolean {
    return this.#slowUntilMs > 0 && this.#nowMs() < this.#slowUntilMs;
  }

  /** Makes a synchronous call and takes its time. */
  run<T>(call: () => T): T {
    const startedMs = this.#nowMs();
    try {
      return call();
    } finally {
      const endedMs = this.#nowMs();
      if (endedMs - startedMs > SLOW_CALL_MS) this.#wasSlow(endedMs);
    }
  }

  #wasSlow(nowMs: number): void {
    if (nowMs - this.#lastSlowMs < SUSPICION_MS + SLOW_PERIOD_MS) this.#slowUntilMs = nowMs + SLOW_PERIOD_MS;
    this.#lastSlowMs = nowMs;
  }
}
