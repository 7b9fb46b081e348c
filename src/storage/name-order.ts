import type { DirectoryEntry } from "./driver.ts";
import { firstAfter } from "./list-page.ts";

/*
 * Object stores list children in the order of their keys, in which a directory `v1` is `v1/`; drivers list in the order of names.
 * The two differ where a name goes on with a character below the slash: as keys `v1-rc/` < `v1.0` < `v1/`, as names
 * v1 < v1-rc < v1.0. So a name waits as long as the store may still come with a directory that is a beginning of it.
 */

const SLASH = 47;
/** So many names wait before the store is asked about single directories instead. */
const MAX_WAITING = 10_000;

/** How `inNameOrder` is to work. */
export interface NameOrderOptions {
  /** Leaves out names up to this one. The children may come from this name on: every later name's key is greater than it. */
  readonly startAfter?: string;
  /** Asks the store whether there is a directory of that name, when too many names wait to know. Without it any number waits. */
  readonly hasDirectory?: (name: string) => Promise<boolean>;
  /** How many names may wait before `hasDirectory` is asked. */
  readonly maxWaiting?: number;
}

/**
 * Puts the children of a directory into bytewise order of names.
 * @param children In bytewise order of keys, where a directory's key ends with a slash. A name that is both a file and a directory
 *   is given once.
 */
export async function* inNameOrder(children: AsyncIterable<DirectoryEntry>, options: NameOrderOptions = {}): AsyncGenerator<DirectoryEntry> {
  const waiting = new WaitingNames(options);
  for await (const child of children) {
    waiting.add(child);
    yield* waiting.takeReady();
    while (waiting.isFull()) yield* await waiting.takeByAsking();
  }
  yield* waiting.takeAll();
}

class WaitingNames {
  readonly #hasDirectory: ((name: string) => Promise<boolean>) | undefined;
  readonly #maxWaiting: number;
  /** Sorted by name. */
  readonly #entries: DirectoryEntry[] = [];
  /** Directories that the store said it does not have. */
  readonly #absent = new Set<string>();
  #lastTaken: string;
  #lastKey = "";

  constructor(options: NameOrderOptions) {
    this.#hasDirectory = options.hasDirectory;
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
    this.#lastTaken = options.startAfter ?? "";
  }

  add(entry: DirectoryEntry): void {
    const { name } = entry;
    this.#lastKey = entry.isDirectory ? `${name}/` : name;
    if (name <= this.#lastTaken) return;
    const index = firstAfter(this.#entries, name);
    if (this.#entries[index - 1]?.name === name) return;
    this.#entries.splice(index, 0, entry);
  }

  isFull(): boolean {
    return this.#hasDirectory !== undefined && this.#entries.length > this.#maxWaiting;
  }

  takeReady(): DirectoryEntry[] {
    let count = 0;
    for (const { name } of this.#entries) {
      if (this.#awaitedBefore(name) !== undefined) break;
      this.#lastTaken = name;
      count++;
    }
    if (count > 0) this.#absent.clear();
    return this.#entries.splice(0, count);
  }

  /** Settles by asking the store which directories come before the first name that waits, and takes what is ready then. */
  async takeByAsking(): Promise<DirectoryEntry[]> {
    const [first] = this.#entries;
    const awaited = first === undefined ? undefined : this.#awaitedBefore(first.name);
    if (awaited === undefined) return this.takeReady();
    if (await this.#hasDirectory?.(awaited)) {
      this.#lastTaken = awaited;
      return [{ name: awaited, isDirectory: true }];
    }
    this.#absent.add(awaited);
    return [];
  }

  takeAll(): DirectoryEntry[] {
    return this.#entries.splice(0);
  }

  /** The first name that a directory still to come may have and that belongs before a name. */
  #awaitedBefore(name: string): string | undefined {
    for (let end = 1; end < name.length; end++) {
      if (name.charCodeAt(end) >= SLASH) continue;
      const beginning = name.slice(0, end);
      if (beginning <= this.#lastTaken || this.#absent.has(beginning)) continue;
      // The shortest beginning has the greatest key of all beginnings: past it, none comes.
      return this.#lastKey < `${beginning}/` ? beginning : undefined;
    }
    return undefined;
  }
}
