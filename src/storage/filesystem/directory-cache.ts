import { type Dirent, readdirSync, type Stats, statSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { LruMap } from "../../lib/lru.ts";
import type { DirectoryEntry } from "../driver.ts";
import { isPathName } from "../paths.ts";
import { isErrno } from "./errno.ts";

/** Names kept over all folders, so that a page of a large one costs a search and not a reading: some 30 MiB. */
const MAX_NAMES = 200_000;
/** Folders whose state is remembered from when it was first seen until it can be trusted. */
const MAX_SIGHTINGS = 10_000;
/**
 * File systems stamp folders with the kernel's tick, of 1 to 10 ms: a folder may change twice and bear the same time. Only what is
 * read this much later than its time was first seen is certain to have all that came with that time. (Seen, and not: stamped, as
 * the clock of a file server is not ours.)
 */
const TICK_MS = 50;
/** The same for file systems that count whole seconds (ext3, HFS+) or two (FAT). */
const COARSE_TICK_MS = 2_500;
/** A folder whose list of names takes more than this is read in the thread pool. */
const MAX_SYNC_FOLDER_BYTES = 256 * 1024;

/**
 * What changes whenever names are added to a folder or taken from it, and cannot be set back by a copying program. Milliseconds with
 * fractions tell a quarter of a microsecond apart, in which no folder changes twice.
 */
class FolderState {
  readonly #dev: number;
  readonly #ino: number;
  readonly #mtimeMs: number;
  readonly #ctimeMs: number;

  constructor({ dev, ino, mtimeMs, ctimeMs }: Stats) {
    this.#dev = dev;
    this.#ino = ino;
    this.#mtimeMs = mtimeMs;
    this.#ctimeMs = ctimeMs;
  }

  isOf({ dev, ino, mtimeMs, ctimeMs }: Stats): boolean {
    return this.#ctimeMs === ctimeMs && this.#mtimeMs === mtimeMs && this.#ino === ino && this.#dev === dev;
  }
}

interface Sighting {
  readonly state: FolderState;
  readonly firstSeenMs: number;
}

/** The children of a folder in bytewise order of names. */
export interface Listing {
  readonly entries: readonly DirectoryEntry[];
  /** What `isUnchanged` wants; undefined where the listing could not be kept. */
  readonly state: object | undefined;
}

interface KeptListing extends Listing {
  readonly state: FolderState;
}

/**
 * Sorted listings of folders. Each is proven by the folder's identity and times before it is used, so a change by any process is
 * seen at once. Failures are the file system's own, ENOENT and ENOTDIR among them.
 */
export class DirectoryCache {
  readonly #listings = new LruMap<string, KeptListing>(MAX_NAMES, MAX_NAMES);
  readonly #sightings = new LruMap<string, Sighting>(MAX_SIGHTINGS);
  readonly #nowMs: () => number;

  /** @param nowMs A clock that only goes forward. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** @returns undefined for a folder so large that it is better read in the thread pool */
  list(folder: string): Listing | undefined {
    const info = statSync(folder);
    const known = this.#find(folder, info);
    if (known !== undefined) return known;
    if (info.size > MAX_SYNC_FOLDER_BYTES) return undefined;
    const isTrusted = this.#isTrusted(folder, info);
    return this.#keep(folder, isTrusted ? info : undefined, readdirSync(folder, { withFileTypes: true }));
  }

  /** As `list`, for any folder, by the thread pool. */
  async listInPool(folder: string): Promise<Listing> {
    const info = await stat(folder);
    const known = this.#find(folder, info);
    if (known !== undefined) return known;
    const isTrusted = this.#isTrusted(folder, info);
    return this.#keep(folder, isTrusted ? info : undefined, await readdir(folder, { withFileTypes: true }));
  }

  /** Whether the folder is as it was when a listing gave this very state. */
  isUnchanged(folder: string, state: object): boolean {
    const found = statSync(folder, { throwIfNoEntry: false });
    return found !== undefined && state instanceof FolderState && state.isOf(found);
  }

  #find(folder: string, info: Stats): Listing | undefined {
    const listing = this.#listings.get(folder);
    return listing?.state.isOf(info) === true ? listing : undefined;
  }

  /** Whether what is read from now on has every name that came with this state. */
  #isTrusted(folder: string, info: Stats): boolean {
    const nowMs = this.#nowMs();
    const sighting = this.#sightings.get(folder);
    if (sighting?.state.isOf(info) !== true) {
      this.#sightings.set(folder, { state: new FolderState(info), firstSeenMs: nowMs });
      return false;
    }
    const tickMs = info.ctimeMs % 1000 === 0 ? COARSE_TICK_MS : TICK_MS;
    return nowMs - sighting.firstSeenMs >= tickMs;
  }

  /** @param info What the listing is to be kept under, if it is. */
  #keep(folder: string, info: Stats | undefined, found: readonly Dirent[]): Listing {
    // Names outside the grammar (lost+found) cannot be asked for, and were stored by nobody who uses a driver.
    const named = found.filter(({ name }) => isPathName(name));
    const entries = named.map((entry) => ({ name: entry.name, isDirectory: isDirectory(folder, entry) }));
    // Names are ASCII, so the order of code units is the bytewise one.
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#listings.delete(folder);
    // Where a link leads can change without a trace in the folder.
    if (info === undefined || !named.every(isPlain)) return { entries, state: undefined };
    const listing = { entries, state: new FolderState(info) };
    this.#sightings.delete(folder);
    this.#listings.set(folder, listing, entries.length + 1);
    return listing;
  }
}

function isPlain(entry: Dirent): boolean {
  return entry.isFile() || entry.isDirectory();
}

/** Whether it is a directory or a link to one. */
function isDirectory(folder: string, entry: Dirent): boolean {
  if (isPlain(entry)) return entry.isDirectory();
  try {
    return statSync(join(folder, entry.name), { throwIfNoEntry: false })?.isDirectory() === true;
  } catch (error) {
    // A link that leads to itself is no reason to hide its neighbours.
    if (isErrno(error, "ELOOP")) return false;
    throw error;
  }
}
