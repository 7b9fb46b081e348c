import { type Stats, statSync } from "node:fs";
import { LruMap } from "../../lib/lru.ts";

/** Files and folders whose state is remembered from when it was first seen, so that it can be trusted later: some 15 MiB. */
const MAX_SIGHTINGS = 50_000;
/**
 * File systems stamp what changes with the kernel's tick, of 1 to 10 ms: a file or folder may change twice and bear the same time. Only
 * what is read this much later than its time was first seen is certain to have all that came with that time. (Seen, and not: stamped,
 * as the clock of a file server is not ours.)
 */
export const TICK_MS = 50;
/** The same for file systems that count whole seconds (ext3, HFS+) or two (FAT). */
export const COARSE_TICK_MS = 2_500;

/**
 * What changes whenever the content of a file does, or names are added to a folder or taken from it, and cannot be set back by a
 * copying program. Milliseconds with fractions tell a quarter of a microsecond apart, in which nothing changes twice.
 */
export class FileState {
  readonly #file: string;
  readonly #dev: number;
  readonly #ino: number;
  readonly #size: number;
  readonly #mtimeMs: number;
  readonly #ctimeMs: number;

  constructor(file: string, { dev, ino, size, mtimeMs, ctimeMs }: Stats) {
    this.#file = file;
    this.#dev = dev;
    this.#ino = ino;
    this.#size = size;
    this.#mtimeMs = mtimeMs;
    this.#ctimeMs = ctimeMs;
  }

  /** Whether these are the facts of a file in this state. */
  isOf({ dev, ino, size, mtimeMs, ctimeMs }: Stats): boolean {
    return this.#ctimeMs === ctimeMs && this.#mtimeMs === mtimeMs && this.#ino === ino && this.#size === size && this.#dev === dev;
  }

  /** Asks the file system whether the file is in this state. False also when it cannot be asked. */
  isCurrent(): boolean {
    try {
      const found = statSync(this.#file, { throwIfNoEntry: false });
      return found !== undefined && this.isOf(found);
    } catch {
      return false;
    }
  }
}

/** Tells which states of files can be trusted: whoever reads the file after that, and finds it in the same state later, read all of it. */
export class FileStates {
  readonly #sightings = new LruMap<string, { readonly state: FileState; readonly firstSeenMs: number }>(MAX_SIGHTINGS);
  readonly #nowMs: () => number;

  /** @param nowMs A clock that only goes forward. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /**
   * The state of a file; undefined when it is too new to be trusted.
   * @param info The facts of the file, asked just now.
   */
  trusted(file: string, info: Stats): FileState | undefined {
    const nowMs = this.#nowMs();
    const sighting = this.#sightings.get(file);
    if (sighting?.state.isOf(info) !== true) {
      this.#sightings.set(file, { state: new FileState(file, info), firstSeenMs: nowMs });
      return undefined;
    }
    const tickMs = info.ctimeMs % 1000 === 0 ? COARSE_TICK_MS : TICK_MS;
    return nowMs - sighting.firstSeenMs >= tickMs ? sighting.state : undefined;
  }
}
