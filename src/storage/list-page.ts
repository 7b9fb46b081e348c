import type { DirectoryEntry, ListOptions, ListPage } from "./driver.ts";

/** Cuts a page out of all children of a directory, sorted by name. */
export function pageOf(children: readonly DirectoryEntry[], options: ListOptions): ListPage {
  const start = options.startAfter === undefined ? 0 : firstAfter(children, options.startAfter);
  const end = options.limit === undefined ? children.length : Math.min(children.length, start + Math.max(1, options.limit));
  const entries = start === 0 && end === children.length ? children : children.slice(start, end);
  return { entries, next: end < children.length ? entries.at(-1)?.name : undefined };
}

/** The index of the first name that is bytewise greater than `after`, in ASCII names that are sorted; their count when none is. */
export function firstAfter(sorted: readonly { readonly name: string }[], after: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const name = sorted[middle]?.name;
    if (name !== undefined && name <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}
