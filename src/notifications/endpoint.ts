import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import { type DeliveryTarget, deliver, isAccepted } from "./delivery.ts";
import { type EnvelopeEvent, type EventFormat, renderEvent } from "./envelope.ts";
import type { RegistryEvent } from "./event.ts";
import { type EventFilter, isIgnored } from "./filter.ts";
import type { EventQueue } from "./queue.ts";

/** What is counted of an endpoint, by the names that distribution gives it. */
export type EndpointCounter = "Events" | "Successes" | "Failures" | "Errors";

/** Takes what endpoints count. */
export interface EndpointMetrics {
  count(endpoint: string, counter: EndpointCounter): void;
  /** A change of the number of events that wait, the one in delivery included. */
  pending(endpoint: string, change: number): void;
  /** An answer, as in `200 OK`. */
  status(endpoint: string, text: string): void;
  /** Events that were given up because the queue was full. */
  dropped(endpoint: string, events: number): void;
}

/** What an endpoint is made of. */
export interface EndpointParts {
  readonly name: string;
  readonly target: DeliveryTarget;
  readonly format: EventFormat;
  readonly filter: EventFilter;
  /** Failures in a row after which every attempt waits for `backoffMs`. */
  readonly threshold: number;
  readonly backoffMs: number;
  readonly queue: EventQueue;
  /** Whether what waits outlives the process. */
  readonly persistent: boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: EndpointMetrics | undefined;
}

/** What has happened at an endpoint since the start. */
export interface EndpointCounts {
  readonly Pending: number;
  readonly Events: number;
  readonly Successes: number;
  readonly Failures: number;
  readonly Errors: number;
  readonly Dropped: number;
  readonly Statuses: Readonly<Record<string, number>>;
}

/** A repeated message about one endpoint is written once in this time. */
const LOG_PERIOD_MS = 60_000;

/** One listener: a queue and the loop that empties it, event by event, for ever trying the oldest until it is accepted. */
export class Endpoint {
  readonly #parts: EndpointParts;
  readonly #stop = new AbortController();
  readonly #counts = { Events: 0, Successes: 0, Failures: 0, Errors: 0 };
  readonly #statuses: Record<string, number> = {};
  readonly #loop: Promise<void>;
  #dropped = 0;
  #droppedUnlogged = 0;
  #dropLoggedAt = Number.NEGATIVE_INFINITY;
  #failureLoggedAt = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #failedAt = 0;
  #wake: () => void = () => {};
  #idle: (() => void)[] = [];

  constructor(parts: EndpointParts) {
    this.#parts = parts;
    parts.metrics?.pending(parts.name, parts.queue.size);
    this.#loop = this.#run();
  }

  /** Whether this listener wants to hear of an event. */
  wants(event: RegistryEvent): boolean {
    return !isIgnored(event, this.#parts.filter);
  }

  /** Takes an event; never waits and never throws. */
  push(event: EnvelopeEvent): void {
    const { name, queue, metrics } = this.#parts;
    const before = queue.size;
    const dropped = queue.push(event);
    this.#count("Events");
    metrics?.pending(name, queue.size - before);
    if (dropped > 0) this.#noteDropped(dropped);
    this.#wake();
  }

  /** What has happened so far. */
  counts(): EndpointCounts {
    return { Pending: this.#parts.queue.size, ...this.#counts, Dropped: this.#dropped, Statuses: { ...this.#statuses } };
  }

  /** Resolves when nothing waits any more, or when waiting is of no use: the queue outlives the process and the listener is away. */
  whenIdle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Ends the deliveries, the one under way included, and closes the queue. @returns How many events were lost. */
  async close(): Promise<number> {
    this.#stop.abort(new Error("the registry stops"));
    this.#wake();
    await this.#loop;
    const lost = this.#parts.persistent ? 0 : this.#parts.queue.size;
    await this.#parts.queue[Symbol.asyncDispose]();
    return lost;
  }

  async #run(): Promise<void> {
    const { queue } = this.#parts;
    while (!this.#stop.signal.aborted) {
      const awake = new Promise<void>((resolve) => (this.#wake = resolve));
      const event = await this.#peek();
      if (event === undefined) {
        this.#releaseIdle();
        await awake;
      } else if (await this.#deliverUntilAccepted(event)) {
        const before = queue.size;
        queue.confirm();
        this.#parts.metrics?.pending(this.#parts.name, queue.size - before);
      }
    }
    this.#releaseIdle();
  }

  /** The next event; a queue that cannot be read is tried again after the back-off, like a listener that is away. */
  async #peek(): Promise<EnvelopeEvent | undefined> {
    while (!this.#stop.signal.aborted) {
      try {
        return await this.#parts.queue.peek();
      } catch (error) {
        this.#noteFailure("events cannot be read from the queue", { "err.message": messageOf(error) });
        await this.#parts.clock.sleep(this.#parts.backoffMs, this.#stop.signal);
      }
    }
    return undefined;
  }

  async #deliverUntilAccepted(event: EnvelopeEvent): Promise<boolean> {
    const { threshold, backoffMs, clock } = this.#parts;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      if (this.#failures >= threshold) await clock.sleep(Math.max(0, this.#failedAt + backoffMs - clock.now()), signal);
      if (signal.aborted) return false;
      if (await this.#attempt(event)) {
        if (this.#failures > 0) this.#parts.log.info("notification endpoint takes events again", { endpoint: this.#parts.name, failures: this.#failures });
        this.#failures = 0;
        return true;
      }
      this.#failures++;
      this.#failedAt = clock.now();
      this.#releaseIdle();
    }
    return false;
  }

  async #attempt(event: EnvelopeEvent): Promise<boolean> {
    const { target, format, metrics, name } = this.#parts;
    try {
      const answer = await deliver(target, renderEvent(event, format), this.#stop.signal);
      this.#statuses[answer.text] = (this.#statuses[answer.text] ?? 0) + 1;
      metrics?.status(name, answer.text);
      this.#count(isAccepted(answer) ? "Successes" : "Failures");
      if (isAccepted(answer)) return true;
      this.#noteFailure("notification endpoint refuses an event", { status: answer.text });
    } catch (error) {
      if (this.#stop.signal.aborted) return false;
      this.#count("Errors");
      this.#noteFailure("notification endpoint cannot be reached", { "err.message": messageOf(error) });
    }
    return false;
  }

  #count(counter: EndpointCounter): void {
    this.#counts[counter]++;
    this.#parts.metrics?.count(this.#parts.name, counter);
  }

  #isIdle(): boolean {
    return this.#stop.signal.aborted || this.#parts.queue.size === 0 || (this.#parts.persistent && this.#failures > 0);
  }

  #releaseIdle(): void {
    if (!this.#isIdle()) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #noteFailure(message: string, facts: Readonly<Record<string, unknown>>): void {
    const now = this.#parts.clock.now();
    if (now - this.#failureLoggedAt < LOG_PERIOD_MS) return;
    this.#failureLoggedAt = now;
    this.#parts.log.warn(message, { endpoint: this.#parts.name, pending: this.#parts.queue.size, ...facts });
  }

  #noteDropped(events: number): void {
    const { name, log, clock, metrics } = this.#parts;
    this.#dropped += events;
    this.#droppedUnlogged += events;
    metrics?.dropped(name, events);
    const now = clock.now();
    if (now - this.#dropLoggedAt < LOG_PERIOD_MS) return;
    this.#dropLoggedAt = now;
    log.error("the queue of a notification endpoint is full: events are lost", { endpoint: name, lost: this.#droppedUnlogged });
    this.#droppedUnlogged = 0;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
