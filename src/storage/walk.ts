import { yieldToEventLoop } from "../lib/concurrently.ts";
import type { DirectoryEntry, FileInfo, StorageDriver } from "./driver.ts";
import { PathNotFoundError } from "./errors.ts";
import { childPath } from "./paths.ts";

/** Local drivers answer without letting anything else run; after so many entries a long way gives way. */
const ENTRIES_PER_TURN = 256;

/** What a walk comes by. */
export interface WalkEntry extends DirectoryEntry {
  readonly path: string;
}

/** Called for each entry of a walk. Returning `skip` for a directory leaves out what is in it; `stop` ends the walk. */
export type Visit = (entry: WalkEntry) => Promise<"skip" | "stop" | void> | "skip" | "stop" | void;

/** Every child of a directory in bytewise order of names, page by page. @throws PathNotFoundError when it is missing */
export async function* listAll(driver: StorageDriver, path: string, startAfter?: string): AsyncGenerator<DirectoryEntry> {
  let after = startAfter;
  for (;;) {
    const page = await driver.list(path, after === undefined ? {} : { startAfter: after });
    yield* page.entries;
    if (page.next === undefined) return;
    after = page.next;
  }
}

/**
 * Every file below a directory, in no promised order: by one flat listing where the store has one. What vanishes meanwhile is left
 * out; a missing directory has no files.
 */
export async function* listTree(driver: StorageDriver, path: string): AsyncGenerator<FileInfo> {
  if (driver.listFiles !== undefined) {
    for await (const page of driver.listFiles(path)) yield* page;
    return;
  }
  let count = 0;
  for await (const entry of childrenIfThere(driver, path)) {
    const child = childPath(path, entry.name);
    if (entry.isDirectory) yield* listTree(driver, child);
    else yield* fileIfThere(driver, child);
    if (++count % ENTRIES_PER_TURN === 0) await yieldToEventLoop();
  }
}

/**
 * Visits everything below a directory: a directory before what is in it, siblings in bytewise order of names, so that paths come in
 * order of their components. Directories that vanish on the way are taken as empty.
 * @param startAfter Visits only what comes after this path, which need not exist.
 * @throws PathNotFoundError when `from` is missing and there is no `startAfter`; whatever the driver or `visit` throws.
 */
export async function walk(driver: StorageDriver, from: string, visit: Visit, options: { readonly startAfter?: string } = {}): Promise<void> {
  const walker = new Walker(driver, visit);
  if (options.startAfter === undefined) await walker.visitAll(from, listAll(driver, from));
  else await walker.visitAfter(from, options.startAfter);
}

class Walker {
  readonly #driver: StorageDriver;
  readonly #visit: Visit;
  #count = 0;

  constructor(driver: StorageDriver, visit: Visit) {
    this.#driver = driver;
    this.#visit = visit;
  }

  /** @returns Whether the walk goes on. */
  async visitAll(directory: string, children: AsyncIterable<DirectoryEntry>): Promise<boolean> {
    for await (const { name, isDirectory } of children) {
      const path = childPath(directory, name);
      if (++this.#count % ENTRIES_PER_TURN === 0) await yieldToEventLoop();
      const decision = await this.#visit({ name, path, isDirectory });
      if (decision === "stop") return false;
      if (!isDirectory || decision === "skip") continue;
      if (!(await this.visitAll(path, childrenIfThere(this.#driver, path)))) return false;
    }
    return true;
  }

  /** @returns Whether the walk goes on. */
  async visitAfter(directory: string, startAfter: string): Promise<boolean> {
    const prefix = directory === "/" ? "/" : `${directory}/`;
    if (!startAfter.startsWith(prefix) || startAfter === prefix) {
      // Everything in here comes after the path, or everything before it.
      const isAfter = startAfter === directory || startAfter === prefix || isOrdered(startAfter, directory);
      return isAfter ? await this.visitAll(directory, childrenIfThere(this.#driver, directory)) : true;
    }
    const [name = ""] = startAfter.slice(prefix.length).split("/", 1);
    // That child itself comes before the path or is it; what is in it may come after.
    if (!(await this.visitAfter(prefix + name, startAfter))) return false;
    return await this.visitAll(directory, childrenIfThere(this.#driver, directory, name));
  }
}

/** Whether the first of two paths comes before the second in order of components. */
function isOrdered(first: string, second: string): boolean {
  // As a separator a character below all others makes the order of texts the order of components.
  return first.replaceAll("/", "\0") < second.replaceAll("/", "\0");
}

/** What `listAll` gives, and nothing for a directory that is missing. An error of whoever takes the entries does not come by here. */
async function* childrenIfThere(driver: StorageDriver, path: string, startAfter?: string): AsyncGenerator<DirectoryEntry> {
  try {
    yield* listAll(driver, path, startAfter);
  } catch (error) {
    if (!(error instanceof PathNotFoundError)) throw error;
  }
}

async function* fileIfThere(driver: StorageDriver, path: string): AsyncGenerator<FileInfo> {
  try {
    yield await driver.stat(path);
  } catch (error) {
    if (!(error instanceof PathNotFoundError)) throw error;
  }
}
