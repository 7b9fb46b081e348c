import { type Dirent, readdirSync, type Stats, statSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { LruMap } from "../../lib/lru.ts";
import type { DirectoryEntry } from "../driver.ts";
import { isPathName } from "../paths.ts";
import { isErrno } from "./errno.ts";
import type { FileState, FileStates } from "./file-state.ts";

/** Names kept over all folders, so that a page of a large one costs a search and not a reading: some 30 MiB. */
const MAX_NAMES = 200_000;
/** A folder whose list of names takes more than this is read in the thread pool. */
const MAX_SYNC_FOLDER_BYTES = 256 * 1024;

/** The children of a folder in bytewise order of names. */
export interface Listing {
  readonly entries: readonly DirectoryEntry[];
  /** Proves that the names are still these; undefined where the listing could not be kept. */
  readonly state: FileState | undefined;
}

interface KeptListing extends Listing {
  readonly state: FileState;
}

/**
 * Sorted listings of folders. Each is proven by the folder's identity and times before it is used, so a change by any process is
 * seen at once. Failures are the file system's own, ENOENT and ENOTDIR among them.
 */
export class DirectoryCache {
  readonly #listings = new LruMap<string, KeptListing>(MAX_NAMES, MAX_NAMES);
  readonly #states: FileStates;

  constructor(states: FileStates) {
    this.#states = states;
  }

  /** @returns undefined for a folder so large that it is better read in the thread pool */
  list(folder: string): Listing | undefined {
    const info = statSync(folder);
    const known = this.#find(folder, info);
    if (known !== undefined) return known;
    if (info.size > MAX_SYNC_FOLDER_BYTES) return undefined;
    const state = this.#states.trusted(folder, info);
    return this.#keep(folder, state, readdirSync(folder, { withFileTypes: true }));
  }

  /** As `list`, for any folder, by the thread pool. */
  async listInPool(folder: string): Promise<Listing> {
    const info = await stat(folder);
    const known = this.#find(folder, info);
    if (known !== undefined) return known;
    const state = this.#states.trusted(folder, info);
    return this.#keep(folder, state, await readdir(folder, { withFileTypes: true }));
  }

  #find(folder: string, info: Stats): Listing | undefined {
    const listing = this.#listings.get(folder);
    return listing?.state.isOf(info) === true ? listing : undefined;
  }

  /** @param state What the listing is to be kept under, if it is. */
  #keep(folder: string, state: FileState | undefined, found: readonly Dirent[]): Listing {
    // Names outside the grammar (lost+found) cannot be asked for, and were stored by nobody who uses a driver.
    const named = found.filter(({ name }) => isPathName(name));
    const entries = named.map((entry) => ({ name: entry.name, isDirectory: isDirectory(folder, entry) }));
    // Names are ASCII, so the order of code units is the bytewise one.
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#listings.delete(folder);
    // Where a link leads can change without a trace in the folder.
    if (state === undefined || !named.every(isPlain)) return { entries, state: undefined };
    const listing = { entries, state };
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
