import { mapAhead, yieldToEventLoop } from "../lib/concurrently.ts";
import { isName, MAX_NAME_LENGTH, type RepositoryName } from "../oci/name.ts";
import type { DirectoryEntry, ListPage, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { REPOSITORIES } from "./layout.ts";
import { childPagesIfAny } from "./list-children.ts";
import { ProvenReads, type Witness } from "./proven-reads.ts";
import type { Catalog, Page, PageRequest } from "./registry.ts";

/** The folder that makes a folder a repository. */
const MARKER = "_manifests";
/** Names that may stand in a path of the store; what a client sends as `last` may be anything. */
const FOLDER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const FOLDERS_PER_TURN = 256;
/** Pages that are remembered, and the folders that they were made of: some 20 MiB. */
const MAX_PAGES = 10_000;
const MAX_PAGE_FOLDERS = 100_000;
/** How many folders are listed at once where each listing is a request over a network. */
const REMOTE_LISTINGS = 16;

/**
 * The list of repositories, found by walking their folders in order. A page costs what lies between its first and its last entry,
 * however many repositories there are.
 */
export class RepositoryCatalog implements Catalog {
  readonly #pages: ProvenReads<Page<RepositoryName>>;
  /** How many folders are listed at once. */
  readonly #listings: number;

  constructor(driver: StorageDriver) {
    this.#pages = new ProvenReads(driver, { maxResults: MAX_PAGES, maxWeight: MAX_PAGE_FOLDERS });
    this.#listings = driver.movesByCopy === true ? REMOTE_LISTINGS : 1;
  }

  async list({ limit, last = "" }: PageRequest): Promise<Page<RepositoryName>> {
    if (limit === 0) return { items: [], more: false };
    const key = `${limit ?? ""} ${last}`;
    return this.#pages.peek(key) ?? (await this.#pages.read(key, (store) => this.#walk(store, limit, last), (_page, folders) => folders));
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

function join(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

function pathOf(folder: string): string {
  return folder === "" ? REPOSITORIES : `${REPOSITORIES}/${folder}`;
}
