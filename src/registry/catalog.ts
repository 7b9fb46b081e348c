import { mapAhead, yieldToEventLoop } from "../lib/concurrently.ts";
import { isName, MAX_NAME_LENGTH, type RepositoryName } from "../oci/name.ts";
import type { DirectoryEntry, ListPage, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError, UnsupportedError } from "../storage/errors.ts";
import { join, MARKER } from "./catalog-order.ts";
import { CatalogScan, isScanned, type ScannedStore } from "./catalog-scan.ts";
import { REPOSITORIES } from "./layout.ts";
import { childPagesIfAny } from "./list-children.ts";
import { ProvenReads, type Witness } from "./proven-reads.ts";
import type { Catalog, Page, PageRequest } from "./registry.ts";

/** Names that may stand in a path of the store; what a client sends as `last` may be anything. */
const FOLDER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const FOLDERS_PER_TURN = 256;
/** Pages that are remembered, and the folders that they were made of: some 20 MiB. */
const MAX_PAGES = 10_000;
const MAX_PAGE_FOLDERS = 100_000;
/** How many listings are under way at once where each is a request over a network. */
const REMOTE_LISTINGS = 16;

/**
 * The list of repositories, found in the order of their folders. A page costs what lies between its first and its last entry, however
 * many repositories there are.
 */
export class RepositoryCatalog implements Catalog {
  readonly #pages: ProvenReads<Page<RepositoryName>>;
  /** How many listings are under way at once. */
  readonly #listings: number;
  /** Until it turns out that it cannot find folders without walking. */
  #scanned: ScannedStore | undefined;

  constructor(driver: StorageDriver) {
    this.#pages = new ProvenReads(driver, { maxResults: MAX_PAGES, maxWeight: MAX_PAGE_FOLDERS });
    this.#listings = driver.movesByCopy === true || driver.listFiles !== undefined ? REMOTE_LISTINGS : 1;
    this.#scanned = isScanned(driver) ? driver : undefined;
  }

  async list({ limit, last = "" }: PageRequest): Promise<Page<RepositoryName>> {
    if (limit === 0) return { items: [], more: false };
    const page = this.#scanned === undefined ? undefined : await this.#scan(this.#scanned, limit, last);
    if (page !== undefined) return page;
    const key = `${limit ?? ""} ${last}`;
    const known = this.#pages.peek(key);
    if (known !== undefined) return known;
    const walked = await this.#pages.read(key, (store) => this.#walk(store, limit, last), (_page, folders) => folders);
    // What it refused and what can be listed otherwise, it will not do the next time either.
    this.#scanned = undefined;
    return walked;
  }

  async #scan(store: ScannedStore, limit: number | undefined, last: string): Promise<Page<RepositoryName> | undefined> {
    try {
      return await new CatalogScan(store, { last, limit, searches: this.#listings }).page();
    } catch (error) {
      if (!(error instanceof UnsupportedError)) throw error;
      return undefined;
    }
  }

  async #walk(store: Witness, limit: number | undefined, last: string): Promise<Page<RepositoryName>> {
    const walk = new CatalogWalk(store, { limit, listings: Math.min(this.#listings, limit ?? this.#listings) });
    await walk.visitBelow("", last === "" ? [] : last.split("/"));
    return { items: walk.items, more: walk.more };
  }
}

/** One walk, until its page is full. Its methods say whether to go on. */
class CatalogWalk {
  readonly items: RepositoryName[] = [];
  /** Whether there is a repository after the last item. */
  more = false;
  readonly #store: Witness;
  readonly #limit: number | undefined;
  readonly #listings: number;
  #visited = 0;

  constructor(store: Witness, { limit, listings }: { readonly limit: number | undefined; readonly listings: number }) {
    this.#store = store;
    this.#limit = limit;
    this.#listings = listings;
  }

  /**
   * Visits what lies below a folder and comes after a position in it. What lies below the position itself comes after it too.
   * @param after The components of the position; none for all.
   */
  async visitBelow(folder: string, after: readonly string[]): Promise<boolean> {
    const [first, ...rest] = after;
    if (first !== undefined && FOLDER_NAME.test(first)) {
      const position = join(folder, first);
      if (position.length <= MAX_NAME_LENGTH && !(await this.visitBelow(position, rest))) return false;
    }
    return await this.#visitChildren(folder, first);
  }

  async #visitChildren(folder: string, startAfter: string | undefined): Promise<boolean> {
    for await (const entries of childPagesIfAny(this.#store, pathOf(folder), { startAfter })) {
      if (!(await this.#visitEach(folder, entries))) return false;
    }
    return true;
  }

  async #visitEach(folder: string, entries: readonly DirectoryEntry[]): Promise<boolean> {
    const folders = entries.filter((entry) => entry.isDirectory && !entry.name.startsWith("_")).map((entry) => join(folder, entry.name));
    const listed = mapAhead(folders, this.#listings, async (each) => ({ folder: each, page: await this.#firstPage(each) }));
    for await (const { folder: each, page } of listed) if (!(await this.#visit(each, page))) return false;
    return true;
  }

  async #visit(folder: string, page: ListPage | undefined): Promise<boolean> {
    if (++this.#visited % FOLDERS_PER_TURN === 0) await yieldToEventLoop();
    if (page === undefined) return true;
    if ((await this.#isRepository(folder, page)) && !this.#add(folder)) return false;
    if (!(await this.#visitEach(folder, page.entries))) return false;
    return page.next === undefined || (await this.#visitChildren(folder, page.next));
  }

  /** Most repositories have no others below: one listing tells all of them. */
  async #firstPage(folder: string): Promise<ListPage | undefined> {
    if (folder.length > MAX_NAME_LENGTH) return undefined;
    try {
      return await this.#store.list(pathOf(folder), { limit: 100 });
    } catch (error) {
      if (error instanceof PathNotFoundError) return undefined;
      throw error;
    }
  }

  async #isRepository(folder: string, page: ListPage): Promise<boolean> {
    if (page.entries.some((entry) => entry.name === MARKER && entry.isDirectory)) return true;
    const last = page.entries.at(-1);
    if (page.next === undefined || (last !== undefined && last.name > MARKER)) return false;
    const { entries } = await this.#store.list(pathOf(folder), { startAfter: MARKER.slice(0, -1), limit: 1 });
    return entries[0]?.name === MARKER && entries[0].isDirectory;
  }

  #add(name: string): boolean {
    if (!isName(name)) return true;
    if (this.items.length === this.#limit) {
      this.more = true;
      return false;
    }
    this.items.push(name);
    return true;
  }
}

function pathOf(folder: string): string {
  return folder === "" ? REPOSITORIES : `${REPOSITORIES}/${folder}`;
}
