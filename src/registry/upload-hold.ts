import type { Clock } from "../lib/clock.ts";
import { RegistryError } from "../oci/errors.ts";

/** How long a request waits for the one that writes to the same upload. */
const WAIT_MS = 1_000;
/** A writer that has heard nothing from its client for so long gives way to one that comes anew. */
const STUCK_MS = 10_000;

/**
 * Who writes to which upload: one request at a time. A client whose connection broke without a trace comes back while its first
 * request still waits for bytes; that one is asked to let go, keeps what it received, and the new one goes on.
 */
export class UploadHolds {
  readonly #clock: Clock;
  readonly #holds = new Map<string, UploadHold>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The hold on an upload by this process, if there is one. */
  find(key: string): UploadHold | undefined {
    return this.#holds.get(key);
  }

  /**
   * Takes an upload, or waits a little for it.
   * @param options `evict` makes a holder that waits for its client let go at once.
   * @throws RegistryError RANGE_INVALID when another request goes on writing to it
   */
  async take(key: string, options: { readonly evict?: boolean; readonly signal?: AbortSignal | undefined } = {}): Promise<UploadHold> {
    if (!this.#holds.has(key)) return this.#grant(key);
    const waiting = new AbortController();
    // One sleep for the whole wait, and no look at a clock that may be set meanwhile.
    let isOver = false;
    const timeout = this.#clock.sleep(WAIT_MS, waiting.signal).then(() => {
      isOver = true;
    });
    try {
      for (;;) {
        const holder = this.#holds.get(key);
        if (holder === undefined) return this.#grant(key);
        if (options.evict === true || holder.silentMs >= STUCK_MS) holder.letGo();
        if (isOver || options.signal?.aborted === true) throw uploadBusy(holder.sizeBytes);
        await Promise.race([holder.released, timeout]);
      }
    } finally {
      waiting.abort();
    }
  }

  #grant(key: string): UploadHold {
    const hold = new UploadHold(this.#clock, () => void this.#holds.delete(key));
    this.#holds.set(key, hold);
    return hold;
  }
}

/** The right to write to an upload; disposing gives it back. */
export class UploadHold implements Disposable {
  readonly #clock: Clock;
  readonly #release: () => void;
  readonly #released = Promise.withResolvers<void>();
  #interrupt: ((reason: RegistryError) => void) | undefined;
  #waitingSince: number | undefined;
  #isLetGo = false;
  #size: (() => number) | undefined;

  constructor(clock: Clock, release: () => void) {
    this.#clock = clock;
    this.#release = release;
  }

  /** Resolves when the upload is free again. */
  get released(): Promise<void> {
    return this.#released.promise;
  }

  /** How long the client has been waited for, in milliseconds; 0 while something else is done. */
  get silentMs(): number {
    return this.#waitingSince === undefined ? 0 : this.#clock.now() - this.#waitingSince;
  }

  /** How far the upload is; undefined while its holder is finding out. */
  get sizeBytes(): number | undefined {
    return this.#size?.();
  }

  /** Says who knows how far the upload is. */
  observe(size: () => number): void {
    this.#size = size;
  }

  /** Ends a wait for the client, now or when it comes. */
  letGo(): void {
    this.#isLetGo = true;
    this.#interrupt?.(uploadBusy(this.sizeBytes));
  }

  /**
   * Waits for the client.
   * @throws RegistryError RANGE_INVALID when another request took over
   */
  async wait<T>(pending: Promise<T>): Promise<T> {
    if (this.#isLetGo) {
      pending.catch(() => undefined);
      throw uploadBusy(this.sizeBytes);
    }
    this.#waitingSince = this.#clock.now();
    try {
      // Not Promise.race: with one promise for the whole body every chunk would leave a reaction behind.
      return await new Promise<T>((resolve, reject) => {
        this.#interrupt = reject;
        pending.then(resolve, reject);
      });
    } finally {
      this.#waitingSince = undefined;
      this.#interrupt = undefined;
    }
  }

  [Symbol.dispose](): void {
    this.#release();
    this.#released.resolve();
  }
}

/** The answer to who writes where another writes. */
export function uploadBusy(sizeBytes: number | undefined, cause?: unknown): RegistryError {
  return new RegistryError("RANGE_INVALID", { detail: "another request writes to this upload", headers: { range: rangeOf(sizeBytes ?? 0) }, cause });
}

/** The `range` header's value for so many bytes, in the form that distribution gives also to none: `0-0`. */
export function rangeOf(sizeBytes: number): string {
  return `0-${Math.max(0, sizeBytes - 1)}`;
}
