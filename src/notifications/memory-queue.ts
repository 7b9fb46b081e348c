import type { EnvelopeEvent } from "./envelope.ts";
import type { EventQueue } from "./queue.ts";

/** A queue in memory; what waits in it is lost with the process. */
export class MemoryQueue implements EventQueue {
  readonly #maxEvents: number;
  // A list with a moving head: shift() on a long array would copy it for every event.
  #events: EnvelopeEvent[] = [];
  #head = 0;
  #current: EnvelopeEvent | undefined;

  /** @param maxEvents Beyond so many the oldest that is not being delivered is given up. */
  constructor(maxEvents: number) {
    this.#maxEvents = maxEvents;
  }

  get size(): number {
    return this.#events.length - this.#head + (this.#current === undefined ? 0 : 1);
  }

  push(event: EnvelopeEvent): number {
    this.#events.push(event);
    if (this.size <= this.#maxEvents) return 0;
    this.#take();
    return 1;
  }

  peek(): Promise<EnvelopeEvent | undefined> {
    this.#current ??= this.#take();
    return Promise.resolve(this.#current);
  }

  confirm(): void {
    this.#current = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#events = [];
    this.#head = 0;
    this.#current = undefined;
  }

  #take(): EnvelopeEvent | undefined {
    const event = this.#events[this.#head];
    if (event === undefined) return undefined;
    this.#head++;
    if (this.#head >= 1024 && this.#head * 2 >= this.#events.length) {
      this.#events = this.#events.slice(this.#head);
      this.#head = 0;
    }
    return event;
  }
}
