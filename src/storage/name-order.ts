import { mapConcurrently } from "../lib/concurrently.ts";
import type { DirectoryEntry } from "./driver.ts";

/*
 * Object stores list children in the order of their keys, in which a directory `v1` is `v1/`; drivers list in the order of names.
 * The two differ where a name goes on with a character below the slash: as keys `v1-rc/` < `v1.0` < `v1/`, as names
 * v1 < v1-rc < v1.0. So a name waits as long as the store may still come with a directory that is a beginning of it.
 */

const SLASH = 47;
/** How many of the names that wait are asked for at a time, and how many questions are under way at once. */
const MAX_ASKED_FOR = 1000;
const QUESTIONS_AT_ONCE = 16;

/** What a store gives of a directory's children in one answer, in bytewise order of keys, where a directory's key ends with a slash. */
export interface ChildrenPage {
  readonly children: readonly DirectoryEntry[];
  readonly isLast: boolean;
}

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
 * Puts the children of a directory into bytewise order of names. A name that is both a file and a directory is given once.
 * @returns What is known of the order after each page; never nothing.
 */
export async function* inNameOrder(pages: AsyncIterable<ChildrenPage>, options: NameOrderOptions = {}): AsyncGenerator<readonly DirectoryEntry[]> {
  const waiting = new WaitingNames(options);
  for await (const { children, isLast } of pages) {
    waiting.add(children);
    if (isLast) break;
    let ready = waiting.takeReady();
    while (waiting.isFull()) ready = [...ready, ...(await waiting.takeByAsking())];
    if (ready.length > 0) yield ready;
  }
  const rest = waiting.takeAll();
  if (rest.length > 0) yield rest;
}

class WaitingNames {
  readonly #hasDirectory: ((name: string) => Promise<boolean>) | undefined;
  readonly #maxWaiting: number;
  /** Sorted by name. */
  #entries: DirectoryEntry[] = [];
  /** Names of which the store has said whether there is such a directory. */
  readonly #settled = new Set<string>();
  #lastTaken: string;
  #lastKey = "";

  constructor({ startAfter = "", hasDirectory, maxWaiting = Number.POSITIVE_INFINITY }: NameOrderOptions) {
    this.#hasDirectory = hasDirectory;
    this.#maxWaiting = maxWaiting;
    this.#lastTaken = startAfter;
  }

  add(children: readonly DirectoryEntry[]): void {
    const last = children.at(-1);
    if (last === undefined) return;
    this.#lastKey = last.isDirectory ? `${last.name}/` : last.name;
    this.#insert(children.filter(({ name }) => name > this.#lastTaken));
  }

  isFull(): boolean {
    return this.#hasDirectory !== undefined && this.#entries.length > this.#maxWaiting;
  }

  takeReady(): DirectoryEntry[] {
    const waits = this.#entries.findIndex(({ name }) => this.#isAwaitedBefore(name));
    return this.#take(waits === -1 ? this.#entries.length : waits);
  }

  /** Settles by asking the store which directories come before names that wait, and takes what is ready then. */
  async takeByAsking(): Promise<DirectoryEntry[]> {
    const wanted = this.#entries.slice(0, Math.min(this.#maxWaiting + 1, MAX_ASKED_FOR));
    const awaited = new Set(wanted.flatMap(({ name }) => [...this.#allAwaitedBefore(name)]));
    const found = await mapConcurrently(awaited, QUESTIONS_AT_ONCE, async (name) => ({ name, isThere: (await this.#hasDirectory?.(name)) === true }));
    for (const { name } of found) this.#settled.add(name);
    this.#insert(found.filter(({ isThere }) => isThere).map(({ name }) => ({ name, isDirectory: true })));
    return this.takeReady();
  }

  takeAll(): DirectoryEntry[] {
    return this.#take(this.#entries.length);
  }

  #take(count: number): DirectoryEntry[] {
    const taken: DirectoryEntry[] = [];
    for (const entry of this.#entries.splice(0, count)) {
      if (entry.name === this.#lastTaken) continue;
      this.#lastTaken = entry.name;
      taken.push(entry);
    }
    return taken;
  }

  #insert(entries: readonly DirectoryEntry[]): void {
    const last = this.#entries.at(-1)?.name ?? "";
    const sorted = entries.toSorted(byName);
    this.#entries = this.#entries.concat(sorted);
    // As a rule all that comes is greater.
    if ((sorted[0]?.name ?? "") < last) this.#entries.sort(byName);
  }

  /** Whether a directory may still come that belongs before a name. */
  #isAwaitedBefore(name: string): boolean {
    return this.#allAwaitedBefore(name).next().done !== true;
  }

  /** The names of directories that may still come and belong before a name. */
  *#allAwaitedBefore(name: string): Generator<string> {
    for (let end = 1; end < name.length; end++) {
      if (name.charCodeAt(end) >= SLASH) continue;
      const beginning = name.slice(0, end);
      if (beginning <= this.#lastTaken || this.#settled.has(beginning)) continue;
      // The shortest beginning has the greatest key of all: past it, none comes.
      if (this.#lastKey >= `${beginning}/`) return;
      yield beginning;
    }
  }
}

function byName(a: DirectoryEntry, b: DirectoryEntry): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
