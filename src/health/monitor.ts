import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import type { HealthCheck } from "./checks.ts";

/** Runs checks again and again, and knows what is wrong just now. The first run is after one interval: a fresh process is healthy. */
export class HealthMonitor implements AsyncDisposable {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #failures = new Map<string, string>();
  readonly #loops: Promise<void>[];

  /** @throws Error when two checks have the same name */
  constructor(checks: readonly HealthCheck[], parts: { readonly log: Logger; readonly clock: Clock }) {
    this.#log = parts.log;
    this.#clock = parts.clock;
    const names = new Set(checks.map((check) => check.name));
    if (names.size !== checks.length) throw new Error("two health checks have the same name");
    this.#loops = checks.map((check) => this.#loop(check));
  }

  /** Whether every check is well. */
  get isHealthy(): boolean {
    return this.#failures.size === 0;
  }

  /** What is wrong, by the name of the check. */
  failures(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#failures);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#loops);
  }

  async #loop(check: HealthCheck): Promise<void> {
    const { signal } = this.#stop;
    let inARow = 0;
    for (;;) {
      await this.#clock.sleep(check.intervalMs, signal);
      if (signal.aborted) return;
      const problem = await this.#run(check);
      inARow = problem === undefined ? 0 : inARow + 1;
      if (problem === undefined) this.#recovered(check);
      else if (inARow >= check.threshold) this.#failed(check, problem);
    }
  }

  // A check that hangs has failed; its next run waits for the timeout and not for the check.
  async #run(check: HealthCheck): Promise<string | undefined> {
    const timeout = new AbortController();
    const done = new AbortController();
    const timedOut = this.#clock.sleep(check.timeoutMs, AbortSignal.any([done.signal, this.#stop.signal])).then(() => {
      timeout.abort();
      throw new Error(`no answer within ${check.timeoutMs}ms`);
    });
    try {
      await Promise.race([check.run(timeout.signal), timedOut]);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    } finally {
      timedOut.catch(() => undefined);
      done.abort();
    }
  }

  #failed(check: HealthCheck, problem: string): void {
    if (!this.#failures.has(check.name)) this.#log.error("health check failed", { check: check.name, "err.message": problem });
    this.#failures.set(check.name, problem);
  }

  #recovered(check: HealthCheck): void {
    if (this.#failures.delete(check.name)) this.#log.info("health check recovered", { check: check.name });
  }
}
