import type { Clock } from "../lib/clock.ts";
import type { RunningHash } from "./upload-hash.ts";

/** Clients come back within seconds, or after an outage; what is dropped is read again when the upload ends. */
const MAX_KEPT = 4096;
const KEPT_FOR_MS = 60 * 60 * 1000;

/** What is remembered of an upload between two requests. */
export interface KeptHash {
  readonly hash: RunningHash;
  /** When the stored bytes were last changed, as seen when the hash was put away; undefined where the store does not say. */
  readonly modifiedAtMs: number | undefined;
  /** What the writer said of the stored bytes when it was closed; undefined where writers do not say. */
  readonly contentTag: string | undefined;
}

/** The running hashes of uploads that no request writes to just now; bounded in number and in time. */
export class KeptHashes implements Disposable {
  readonly #clock: Clock;
  /** By upload id, what was put away longest ago first. */
  readonly #kept = new Map<string, KeptHash & { readonly keptAt: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#kept.size;
  }

  keep(id: string, kept: KeptHash): void {
    this.drop(id);
    this.#kept.set(id, { ...kept, keptAt: this.#clock.now() });
    this.#sweep();
  }

  /** Takes a hash out: the caller owns it. */
  take(id: string): KeptHash | undefined {
    const kept = this.#kept.get(id);
    this.#kept.delete(id);
    return kept;
  }

  drop(id: string): void {
    this.take(id)?.hash[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    for (const id of [...this.#kept.keys()]) this.drop(id);
  }

  #sweep(): void {
    const oldest = this.#clock.now() - KEPT_FOR_MS;
    for (const [id, { keptAt }] of this.#kept) {
      if (this.#kept.size <= MAX_KEPT && keptAt >= oldest) return;
      this.drop(id);
    }
  }
}
