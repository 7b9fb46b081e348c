import type { DirectoryQuery } from "../driver.ts";
import { UnsupportedError } from "../errors.ts";
import type { KeyPage, ListKeys } from "./children.ts";
import type { ObjectKeys } from "./keys.ts";

const MAX_PAGE = 1000;
/** What stores answer, of one kind or another, that know no delimiter but the slash. */
const REFUSALS: ReadonlySet<unknown> = new Set([400, 405, 412, 422, 501]);

/** A store to look into. */
export interface SearchedStore {
  /** The driver's name, for error texts. */
  readonly name: string;
  readonly keys: ObjectKeys;
  readonly list: ListKeys;
}

/**
 * Finds directories by the end of their names. With that and a slash as the delimiter of a listing, the store gives each once,
 * whatever is in it.
 * @returns Paths, page by page.
 * @throws UnsupportedError when the store does not list so.
 * @see StorageDriver.findDirectories
 */
export async function* findDirectories(store: SearchedStore, path: string, query: DirectoryQuery): AsyncGenerator<readonly string[]> {
  const { keys } = store;
  const delimiter = `${query.nameEnd}/`;
  const startAfter = query.startAfter === undefined ? undefined : keys.key(query.startAfter);
  let last = startAfter ?? "";
  for await (const page of listPages(store, { prefix: keys.prefix(path), delimiter, startAfter, limit: Math.min(query.pageSize ?? MAX_PAGE, MAX_PAGE) })) {
    const found: string[] = [];
    for (const key of page) {
      if (key <= last) continue;
      last = key;
      const directory = keys.path(key.slice(0, -1));
      if (directory !== undefined) found.push(directory);
    }
    if (found.length > 0) yield found;
  }
}

interface Listing {
  readonly prefix: string;
  readonly delimiter: string;
  readonly startAfter: string | undefined;
  readonly limit: number;
}

async function* listPages({ name, list }: SearchedStore, { prefix, delimiter, startAfter, limit }: Listing): AsyncGenerator<readonly string[]> {
  let next: string | undefined;
  let last = "";
  do {
    const from = next !== undefined ? { next } : startAfter !== undefined ? { startAfter } : {};
    const page = await unlessRefused(name, () => list({ prefix, delimiter, limit, ...from }));
    yield beginningsIn(page, { prefix, delimiter, name });
    const end = lastOf(page) ?? last;
    // Some stores begin again with what they gave last, when more is in it than fits on a page.
    const isStuck = page.next === next || (end <= last && lastOf(page) !== undefined);
    if (page.next !== undefined && isStuck) throw unsupported(name, "it does not come to an end");
    last = end;
    next = page.next;
  } while (next !== undefined);
}

/** What the store gave in common, and what of it a store left to us that took no notice of the delimiter. */
function beginningsIn({ keys, directories }: KeyPage, { prefix, delimiter, name }: Pick<Listing, "prefix" | "delimiter"> & { readonly name: string }): string[] {
  const odd = directories.find((directory) => !directory.endsWith(delimiter));
  if (odd !== undefined) throw unsupported(name, `it gave ${JSON.stringify(odd)}`);
  const beginnings = keys.flatMap((key) => {
    const end = key.indexOf(delimiter, prefix.length);
    return end === -1 ? [] : [key.slice(0, end + delimiter.length)];
  });
  return beginnings.length === 0 ? [...directories] : [...beginnings, ...directories].sort();
}

function lastOf({ keys, directories }: KeyPage): string | undefined {
  return [keys.at(-1), directories.at(-1)].filter((name) => name !== undefined).sort().at(-1);
}

async function unlessRefused<T>(name: string, list: () => Promise<T>): Promise<T> {
  try {
    return await list();
  } catch (error) {
    if (error instanceof Error && "status" in error && REFUSALS.has(error.status)) throw unsupported(name, error.message);
    throw error;
  }
}

function unsupported(name: string, reason: string): UnsupportedError {
  return new UnsupportedError(name, `a listing with another delimiter than a slash: ${reason}`);
}
