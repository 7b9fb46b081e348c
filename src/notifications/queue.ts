import type { EnvelopeEvent } from "./envelope.ts";

/** Events on their way to one endpoint, oldest first, bounded. One reader: it peeks, delivers, and confirms. */
export interface EventQueue extends AsyncDisposable {
  /** Events that are not confirmed yet. */
  readonly size: number;

  /**
   * Puts an event at the end; never waits and never throws.
   * @returns How many events were given up for it (the oldest ones, when the queue is full) or instead of it (when it cannot be kept).
   */
  push(event: EnvelopeEvent): number;

  /** The oldest event, undefined when there is none. The same one until it is confirmed. */
  peek(): Promise<EnvelopeEvent | undefined>;

  /** Takes away the event that `peek` gave. */
  confirm(): void;
}
