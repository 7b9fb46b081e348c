import type { DirectoryEntry, ListOptions, ListPage } from "../driver.ts";
import { type ChildrenPage, inNameOrder } from "../name-order.ts";
import { isPathName } from "../paths.ts";
import { listInParts } from "./parts-of-listing.ts";

/** What stores give at most in one page of a listing, and what `list` gives when it is told no limit. */
const MAX_PAGE_ENTRIES = 1000;
/** What `list` gives at most when it is told to give more. */
const MAX_ENTRIES = 100_000;

/** A page of a store's own listing with a delimiter. */
export interface KeyPage {
  /** Names of objects without the delimiter behind the prefix, in bytewise order. */
  readonly keys: readonly string[];
  /** Beginnings that other objects have in common, each with the delimiter at its end, in bytewise order. */
  readonly directories: readonly string[];
  /** To be given back for the next page; undefined when this was the last. */
  readonly next: string | undefined;
}

/** What is asked of a store's listing. */
export interface KeyPageRequest {
  readonly prefix: string;
  /** Default: `/`. */
  readonly delimiter?: string;
  /** Only names bytewise greater than this one. Not given together with `next`. */
  readonly startAfter?: string;
  readonly next?: string;
  readonly limit: number;
}

/** Lists one page with a delimiter. */
export type ListKeys = (request: KeyPageRequest) => Promise<KeyPage>;

/** Which children are to be listed, and how. */
export interface ChildrenOptions extends ListOptions {
  /** The store begins a listing after any name at once: what is long can be read in parts at the same time. */
  readonly seeks?: boolean;
}

/**
 * Lists the children of a directory of an object store, in the order of names.
 * @param prefix What the keys in the directory begin with: empty, or with a slash at the end.
 * @returns undefined when there is no such directory: nothing in it.
 */
export async function listChildren(list: ListKeys, prefix: string, options: ChildrenOptions = {}): Promise<ListPage | undefined> {
  const limit = Math.min(Math.max(1, options.limit ?? MAX_PAGE_ENTRIES), MAX_ENTRIES);
  const startAfter = options.startAfter === undefined ? {} : { startAfter: options.startAfter };
  const children = new ChildrenInKeyOrder(list, { prefix, limit, seeks: options.seeks === true, ...startAfter });
  const hasDirectory = async (name: string): Promise<boolean> => await hasKeys(list, `${prefix}${name}/`);
  let entries: readonly DirectoryEntry[] = [];
  // When as many wait as are wanted, it is cheaper to ask what they wait for than to read on.
  for await (const ready of inNameOrder(children.pages(), { ...startAfter, hasDirectory, maxWaiting: limit - 1 })) {
    entries = entries.concat(ready);
    const isMore = entries.length > limit || (entries.length === limit && !children.isAtEnd);
    if (isMore) return { entries: entries.slice(0, limit), next: entries[limit - 1]?.name };
  }
  if (entries.length === 0 && !(options.startAfter !== undefined && (await hasKeys(list, prefix)))) return undefined;
  return { entries, next: undefined };
}

async function hasKeys(list: ListKeys, prefix: string): Promise<boolean> {
  const { keys, directories } = await list({ prefix, limit: 1 });
  return keys.length + directories.length > 0;
}

interface ChildrenRequest {
  readonly prefix: string;
  readonly limit: number;
  readonly seeks: boolean;
  readonly startAfter?: string;
}

class ChildrenInKeyOrder {
  /** Whether the store has given all. */
  isAtEnd = false;
  readonly #list: ListKeys;
  readonly #request: ChildrenRequest;
  readonly #startAfter: string | undefined;

  constructor(list: ListKeys, request: ChildrenRequest) {
    this.#list = list;
    this.#request = request;
    this.#startAfter = request.startAfter === undefined ? undefined : request.prefix + request.startAfter;
  }

  async *pages(): AsyncGenerator<ChildrenPage> {
    const { prefix, limit, seeks } = this.#request;
    const all = seeks && limit === MAX_ENTRIES ? await listInParts(this.#list, { prefix, startAfter: this.#startAfter, maxChildren: MAX_ENTRIES }) : undefined;
    if (all === undefined) return yield* this.#onePageAfterAnother();
    this.isAtEnd = true;
    yield { children: all.flatMap((page) => this.#childrenOn(page)), isLast: true };
  }

  async *#onePageAfterAnother(): AsyncGenerator<ChildrenPage> {
    const { prefix } = this.#request;
    // The child that the page begins after may come again: as a directory, its key is greater.
    const limit = Math.min(this.#startAfter === undefined ? this.#request.limit : this.#request.limit + 1, MAX_PAGE_ENTRIES);
    let next: string | undefined;
    do {
      const from = next !== undefined ? { next } : this.#startAfter !== undefined ? { startAfter: this.#startAfter } : {};
      const page = await this.#list({ prefix, limit, ...from });
      if (page.next !== undefined && page.next === next) throw new Error(`the store's listing of ${JSON.stringify(prefix)} does not come to an end`);
      next = page.next;
      this.isAtEnd = next === undefined;
      yield { children: this.#childrenOn(page), isLast: this.isAtEnd };
    } while (next !== undefined);
  }

  #childrenOn(page: KeyPage): DirectoryEntry[] {
    return [...mergeInKeyOrder(page, this.#request.prefix)].filter(({ name }) => isPathName(name));
  }
}

function* mergeInKeyOrder({ keys, directories }: KeyPage, prefix: string): Generator<DirectoryEntry> {
  let file = 0;
  let directory = 0;
  while (file < keys.length || directory < directories.length) {
    const nextKey = keys[file];
    const nextDirectory = directories[directory];
    if (nextDirectory === undefined || (nextKey !== undefined && nextKey < nextDirectory)) {
      file++;
      yield { name: (nextKey ?? "").slice(prefix.length), isDirectory: false };
    } else {
      directory++;
      yield { name: nextDirectory.slice(prefix.length, -1), isDirectory: true };
    }
  }
}
