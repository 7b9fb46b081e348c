import { compareBytes } from "./bucket.ts";

/** What a page of a listing is to have. */
export interface PageRequest<T> {
  /** In order of their names. */
  readonly items: readonly T[];
  readonly nameOf: (item: T) => string;
  readonly prefix: string;
  /** Empty for none. */
  readonly delimiter: string;
  /** Whether an item, or a common prefix, by its name, comes after the place where the page begins. */
  readonly isAfter: (name: string, item: T | undefined) => boolean;
  readonly limit: number;
}

/** A page of a listing. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly prefixes: readonly string[];
  /** The last name or common prefix, if there is more behind it. */
  readonly next: string | undefined;
  readonly lastItem: T | undefined;
}

/** Cuts a page out of a listing; items with a delimiter behind the prefix count once for all that have the beginning in common. */
export function pageOf<T>({ items, nameOf, prefix, delimiter, isAfter, limit }: PageRequest<T>): Page<T> {
  const found: T[] = [];
  const prefixes: string[] = [];
  let last = "";
  let lastItem: T | undefined;
  for (const item of items) {
    const name = nameOf(item);
    if (!name.startsWith(prefix)) continue;
    const end = delimiter === "" ? -1 : name.indexOf(delimiter, prefix.length);
    const group = end === -1 ? undefined : name.slice(0, end + delimiter.length);
    if (group !== undefined ? group === prefixes.at(-1) || !isAfter(group, undefined) : !isAfter(name, item)) continue;
    if (found.length + prefixes.length === limit) return { items: found, prefixes, next: last, lastItem };
    if (group === undefined) found.push(item);
    else prefixes.push(group);
    last = group ?? name;
    lastItem = item;
  }
  return { items: found, prefixes, next: undefined, lastItem };
}

/** Whether a name is behind a marker. What a marker that is a common prefix stands for counts as given already. */
export function isBehind(name: string, marker: string, { prefix, delimiter }: { readonly prefix: string; readonly delimiter: string }): boolean {
  if (marker === "") return true;
  if (delimiter !== "" && marker.length > prefix.length && marker.endsWith(delimiter) && name.startsWith(marker)) return false;
  return compareBytes(name, marker) > 0;
}
