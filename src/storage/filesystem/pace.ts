/** A synchronous call longer than this waited: for a slow disk or a network … */
const SLOW_CALL_MS = 5;
/**
 * … or only for its turn on a busy processor, or for a container's share of it. But that happens to a process once in some
 * milliseconds of its work, which is hundreds of calls; so this many slow ones …
 */
const MANY_SLOW_CALLS = 3;
/** … among this many tell a slow disk. */
const WINDOW_CALLS = 64;
/** For so long calls go through the thread pool then, before some are tried again. */
const SLOW_PERIOD_MS = 10_000;

/**
 * Watches how long synchronous calls to the file system take. From the page cache they take 1 to 4 microseconds, and the way through
 * the thread pool takes 25; but where they wait, they make every request wait.
 */
export class Pace {
  readonly #nowMs: () => number;
  #callsInWindow = 0;
  #slowInWindow = 0;
  #slowUntilMs = 0;

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
      this.#took(this.#nowMs() - startedMs);
    }
  }

  #took(durationMs: number): void {
    if (durationMs > SLOW_CALL_MS) this.#slowInWindow++;
    if (this.#slowInWindow === MANY_SLOW_CALLS) this.#slowUntilMs = this.#nowMs() + SLOW_PERIOD_MS;
    else if (++this.#callsInWindow < WINDOW_CALLS) return;
    this.#callsInWindow = 0;
    this.#slowInWindow = 0;
  }
}
