import { type BigIntStats, type Dirent, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { LruMap } from "../../lib/lru.ts";
import type { DirectoryEntry, ListOptions, ListPage } from "../driver.ts";

/** Names kept over all folders, so that a page of a large one costs a search and not a reading. */
const MAX_NAMES = 500_000;
/**
 * File systems stamp folders by the kernel's tick. A folder that was changed just before it was read may change again within the
 * same tick and keep its time, so what was read so soon after a change is not trusted later.
 */
const RACY_NS = 50_000_000n;

interface Listing {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mtimeNs: bigint;
  readonly entries: readonly DirectoryEntry[];
}

/** Sorted listings of folders, each proven by the folder's identity and modification time before it is used: never stale. */
export class DirectoryCache {
  readonly #listings = new LruMap<string, Listing>(MAX_NAMES, MAX_NAMES);

  /** Lists a folder. Throws what the file system throws, ENOENT and ENOTDIR among it. */
  list(folder: string, options: ListOptions): ListPage {
    return pageOf(this.#entries(folder), options);
  }

  #entries(folder: string): readonly DirectoryEntry[] {
    const info = statSync(folder, { bigint: true });
    const known = this.#listings.get(folder);
    if (known !== undefined && isSame(known, info)) return known.entries;
    const readAt = BigInt(Date.now()) * 1_000_000n;
    const entries = readEntries(folder);
    if (readAt - info.mtimeNs > RACY_NS && isSame(info, statSync(folder, { bigint: true }))) {
      this.#listings.set(folder, { dev: info.dev, ino: info.ino, mtimeNs: info.mtimeNs, entries }, entries.length + 1);
    } else {
      this.#listings.delete(folder);
    }
    return entries;
  }
}

function isSame(a: { readonly dev: bigint; readonly ino: bigint; readonly mtimeNs: bigint }, b: Pick<BigIntStats, "dev" | "ino" | "mtimeNs">): boolean {
  return a.mtimeNs === b.mtimeNs && a.ino === b.ino && a.dev === b.dev;
}

function readEntries(folder: string): readonly DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const isDirectory = directoryKind(folder, entry);
    if (isDirectory !== undefined) entries.push({ name: entry.name, isDirectory });
  }
  return entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

// Links are followed; one that leads nowhere is not there.
function directoryKind(folder: string, entry: Dirent): boolean | undefined {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  return statSync(join(folder, entry.name), { throwIfNoEntry: false })?.isDirectory();
}

function pageOf(entries: readonly DirectoryEntry[], options: ListOptions): ListPage {
  const start = options.startAfter === undefined ? 0 : firstAfter(entries, options.startAfter);
  const end = options.limit === undefined ? entries.length : Math.min(entries.length, start + options.limit);
  const page = start === 0 && end === entries.length ? entries : entries.slice(start, end);
  return { entries: page, next: end < entries.length ? (page.at(-1)?.name ?? options.startAfter ?? "") : undefined };
}

function firstAfter(entries: readonly DirectoryEntry[], name: string): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((entries[middle]?.name ?? "") <= name) low = middle + 1;
    else high = middle;
  }
  return low;
}
