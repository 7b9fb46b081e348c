import type { DirectoryEntry, ListOptions, ListPage } from "../driver.ts";
import { inNameOrder } from "../name-order.ts";
import { isPathName } from "../paths.ts";

/** What stores give at most in one page of a listing, and what `list` gives when it is told no limit. */
const MAX_PAGE_ENTRIES = 1000;

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

/**
 * Lists the children of a directory of an object store, in the order of names.
 * @param prefix What the keys in the directory begin with: empty, or with a slash at the end.
 * @returns undefined when there is no such directory: nothing in it.
 */
export async function listChildren(list: ListKeys, prefix: string, options: ListOptions = {}): Promise<ListPage | undefined> {
  const limit = Math.min(Math.max(1, options.limit ?? MAX_PAGE_ENTRIES), MAX_PAGE_ENTRIES);
  const hasDirectory = async (name: string): Promise<boolean> => await hasKeys(list, `${prefix}${name}/`);
  const startAfter = options.startAfter === undefined ? {} : { startAfter: options.startAfter };
  const entries: DirectoryEntry[] = [];
  for await (const child of inNameOrder(childrenInKeyOrder(list, { prefix, limit: Math.min(limit + 1, MAX_PAGE_ENTRIES), ...startAfter }), { ...startAfter, hasDirectory })) {
    if (entries.length === limit) return { entries, next: entries.at(-1)?.name };
    entries.push(child);
  }
  if (entries.length === 0 && !(options.startAfter !== undefined && (await hasKeys(list, prefix)))) return undefined;
  return { entries, next: undefined };
}

async function hasKeys(list: ListKeys, prefix: string): Promise<boolean> {
  const { keys, directories } = await list({ prefix, limit: 1 });
  return keys.length + directories.length > 0;
}

async function* childrenInKeyOrder(list: ListKeys, request: { readonly prefix: string; readonly limit: number; readonly startAfter?: string }): AsyncGenerator<DirectoryEntry> {
  const { prefix, limit, startAfter } = request;
  let next: string | undefined;
  do {
    const page = await list({ prefix, limit, ...(next === undefined ? (startAfter === undefined ? {} : { startAfter: prefix + startAfter }) : { next }) });
    for (const entry of mergeInKeyOrder(page, prefix)) if (isPathName(entry.name)) yield entry;
    if (page.next !== undefined && page.next === next) throw new Error(`the store's listing of ${JSON.stringify(prefix)} does not come to an end`);
    next = page.next;
  } while (next !== undefined);
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
