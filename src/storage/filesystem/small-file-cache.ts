import { type BigIntStats, statSync } from "node:fs";
import { LruMap } from "../../lib/lru.ts";

/** Files kept: some 10 MiB of links. */
const MAX_FILES = 50_000;
/** Larger files are not kept. */
export const MAX_KEPT_BYTES = 1024;
/** A file may change twice within the kernel's tick and bear the same times: only what is read this much later than its times were first seen is kept. */
const TICK_MS = 50;
/** The same for file systems that count whole seconds, or two. */
const COARSE_TICK_MS = 2_500;

interface Kept {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly firstSeenMs: number;
  /** Undefined until the file was read late enough to be certain. */
  bytes: Uint8Array | undefined;
}

/**
 * Contents of small files that are asked for again and again: links. Each is proven by the file's identity and times before it is
 * used, so a change by any process is seen at once; one call to the system in place of three.
 */
export class SmallFileCache {
  readonly #kept = new LruMap<string, Kept>(MAX_FILES);
  readonly #nowMs: () => number;

  /** @param nowMs A clock that only goes forward. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /**
   * The content of a file; never write to it.
   * @param read Reads the file; what it throws is thrown, and undefined handed on.
   */
  get(file: string, read: () => Uint8Array | undefined): Uint8Array | undefined {
    const known = this.#kept.get(file);
    if (known === undefined) return this.#meet(file, read);
    const found = statSync(file, { bigint: true, throwIfNoEntry: false });
    if (found === undefined || !isSame(known, found)) {
      this.#kept.delete(file);
      return this.#meet(file, read);
    }
    if (known.bytes !== undefined) return known.bytes;
    const isCertain = this.#nowMs() - known.firstSeenMs >= (known.mtimeNs % 1_000_000_000n === 0n ? COARSE_TICK_MS : TICK_MS);
    const bytes = read();
    if (isCertain && bytes !== undefined && isUnchanged(file, known)) known.bytes = bytes;
    return bytes;
  }

  // What is asked for once need not be remembered: only its times are, and its content when it is asked for again.
  #meet(file: string, read: () => Uint8Array | undefined): Uint8Array | undefined {
    const bytes = read();
    if (bytes === undefined || bytes.length > MAX_KEPT_BYTES) return bytes;
    const found = statSync(file, { bigint: true, throwIfNoEntry: false });
    if (found !== undefined) {
      const { dev, ino, size, mtimeNs, ctimeNs } = found;
      this.#kept.set(file, { dev, ino, size, mtimeNs, ctimeNs, firstSeenMs: this.#nowMs(), bytes: undefined });
    }
    return bytes;
  }
}

function isUnchanged(file: string, known: Kept): boolean {
  const found = statSync(file, { bigint: true, throwIfNoEntry: false });
  return found !== undefined && isSame(known, found);
}

function isSame(known: Kept, found: BigIntStats): boolean {
  return known.ino === found.ino && known.mtimeNs === found.mtimeNs && known.ctimeNs === found.ctimeNs && known.size === found.size && known.dev === found.dev;
}
