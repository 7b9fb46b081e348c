import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";

/** What a background job does once; it looks at the signal and ends early when the program stops. */
export type JobRun = (signal: AbortSignal) => Promise<void>;

/** When a job runs. */
export interface JobSchedule {
  /** Before the first run, in milliseconds. */
  readonly delayMs: number;
  /** From the end of one run to the begin of the next, in milliseconds; a function for calendars. */
  readonly intervalMs: number | (() => number);
}

/** The background work of the program: named, never two runs of one job at once, failures logged, waited for at the end. */
export class Jobs implements AsyncDisposable {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Starts a job. */
  start(name: string, schedule: JobSchedule, run: JobRun): void {
    const loop = this.#loop(name, schedule, run);
    this.#running.add(loop);
    void loop.finally(() => this.#running.delete(loop));
  }

  /** Ends every job and waits for the runs under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#running);
  }

  async #loop(name: string, schedule: JobSchedule, run: JobRun): Promise<void> {
    const { signal } = this.#stop;
    await this.#clock.sleep(schedule.delayMs, signal);
    while (!signal.aborted) {
      try {
        await run(signal);
      } catch (error) {
        if (!signal.aborted) this.#log.error("background job failed", { job: name, "err.message": error instanceof Error ? error.message : String(error) });
      }
      await this.#clock.sleep(typeof schedule.intervalMs === "number" ? schedule.intervalMs : schedule.intervalMs(), signal);
    }
  }
}
