import type { EnvelopeEvent } from "./envelope.ts";
import type { EventQueue } from "./queue.ts";

/** What clients send of themselves may be long, and manifests refer to many things: events of a usual length never fill this. */
const MAX_CHARACTERS = 64 * 1024 * 1024;

interface Waiting {
  readonly event: EnvelopeEvent;
  readonly characters: number;
}

/** A queue in memory; what waits in it is lost with the process. */
export class MemoryQueue implements EventQueue {
  readonly #maxEvents: number;
  readonly #maxCharacters: number;
  // A list with a moving head: shift() on a long array would copy it for every event.
  #events: Waiting[] = [];
  #head = 0;
  /** Of all that wait. */
  #characters = 0;
  #current: EnvelopeEvent | undefined;

  /**
   * Beyond its bounds the oldest that is not being delivered is given up.
   * @param maxCharacters About as much memory as the events take, in bytes.
   */
  constructor(maxEvents: number, maxCharacters: number = MAX_CHARACTERS) {
    this.#maxEvents = maxEvents;
    this.#maxCharacters = maxCharacters;
  }

  get size(): number {
    return this.#waiting + (this.#current === undefined ? 0 : 1);
  }

  push(event: EnvelopeEvent): number {
    const characters = lengthOf(event);
    this.#events.push({ event, characters });
    this.#characters += characters;
    let dropped = 0;
    for (; this.size > this.#maxEvents || (this.#characters > this.#maxCharacters && this.#waiting > 1); dropped++) this.#take();
    return dropped;
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
    this.#characters = 0;
    this.#current = undefined;
  }

  get #waiting(): number {
    return this.#events.length - this.#head;
  }

  #take(): EnvelopeEvent | undefined {
    const waiting = this.#events[this.#head];
    if (waiting === undefined) return undefined;
    this.#head++;
    this.#characters -= waiting.characters;
    if (this.#head >= 1024 && this.#head * 2 >= this.#events.length) {
      this.#events = this.#events.slice(this.#head);
      this.#head = 0;
    }
    return waiting.event;
  }
}

/** Of the parts that can be long; everything else has some hundred. */
function lengthOf({ target, request }: EnvelopeEvent): number {
  const references = target.references === undefined ? 0 : JSON.stringify(target.references).length;
  return 500 + references + (target.url?.length ?? 0) + (request.host?.length ?? 0) + request.useragent.length;
}
