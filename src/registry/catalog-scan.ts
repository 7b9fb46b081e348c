import { addAll } from "../lib/add-all.ts";
import { mapAhead } from "../lib/concurrently.ts";
import { isName, MAX_NAME_LENGTH, type RepositoryName } from "../oci/name.ts";
import type { DirectoryQuery, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { type CatalogEntry, CatalogOrder, type CatalogRange, join, MARKER } from "./catalog-order.ts";
import { REPOSITORIES } from "./layout.ts";
import type { Page } from "./registry.ts";

/** All folders that we and distribution put into a repository's end so: `_layers`, `_manifests`, `_referrers`, `_uploads`. */
const NAME_END = "s";
const FOLDERS_OF_REPOSITORY = 4;
const MAX_PAGE = 1000;
/** Greater than every character of a path. */
const AFTER_ALL = "~";
/** Names that may stand in a path of the store; what a client sends as `last` may be anything. */
const FOLDER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** What a scan asks of a store. */
export interface ScannedStore extends Pick<StorageDriver, "stat"> {
  findDirectories(path: string, query: DirectoryQuery): AsyncIterable<readonly string[]>;
}

/** Whether a store can be scanned. */
export function isScanned(driver: StorageDriver): driver is StorageDriver & ScannedStore {
  return driver.findDirectories !== undefined;
}

/** Which repositories are wanted. */
export interface ScanOptions {
  /** The name after which they begin; empty for the beginning. */
  readonly last: string;
  readonly limit: number | undefined;
  /** How many requests may be under way at once. */
  readonly searches: number;
}

interface Need {
  /** So many names are enough. */
  readonly names: number;
  readonly searches: number;
}

/**
 * Lists repositories where the store finds their folders by the end of their names, hundreds of repositories a request, however much
 * is in them. A folder of another kind with such a name costs a request of its own.
 */
export class CatalogScan {
  readonly #store: ScannedStore;
  readonly #options: ScanOptions;

  constructor(store: ScannedStore, options: ScanOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** @throws UnsupportedError when the store cannot find folders so */
  async page(): Promise<Page<RepositoryName>> {
    const { last, limit, searches } = this.#options;
    // One more than wanted tells whether the list goes on.
    const names = limit === undefined ? Number.POSITIVE_INFINITY : limit + 1;
    const items: RepositoryName[] = [];
    for (const range of rangesAfter(last)) {
      addAll(items, await this.#scan(range, { names: names - items.length, searches }));
      if (items.length >= names) break;
    }
    return { items: items.slice(0, limit), more: items.length >= names };
  }

  /** Lists a range, in order; it may be more than is needed. */
  async #scan(range: CatalogRange, need: Need): Promise<RepositoryName[]> {
    const order = new CatalogOrder(range);
    const names: RepositoryName[] = [];
    let startAfter = range.after === undefined ? undefined : pathOf(join(range.folder, range.after));
    for (;;) {
      let leftOut: string | undefined;
      for await (const page of this.#foldersAfter(startAfter, range, need)) {
        for (const path of page) order.add(path.slice(REPOSITORIES.length + 1));
        if (need.names !== Number.POSITIVE_INFINITY) await this.#takeReady(order, names, need);
        if (names.length >= need.names) return names;
        leftOut = order.leftOut;
        if (leftOut !== undefined) break;
      }
      if (leftOut === undefined) break;
      startAfter = `${pathOf(leftOut)}/${AFTER_ALL}`;
    }
    addAll(names, await this.#namesOf(order.takeAll(), { ...need, names: need.names - names.length }));
    return names;
  }

  #foldersAfter(startAfter: string | undefined, { folder }: CatalogRange, { names }: Need): AsyncIterable<readonly string[]> {
    const pageSize = Math.min(MAX_PAGE, FOLDERS_OF_REPOSITORY * (names + 1));
    return this.#store.findDirectories(pathOf(folder), { nameEnd: NAME_END, pageSize, ...(startAfter === undefined ? {} : { startAfter }) });
  }

  /** Takes what is ready; when what waits would be enough, the store is rather asked what it waits for than read on. */
  async #takeReady(order: CatalogOrder, names: RepositoryName[], need: Need): Promise<void> {
    for (;;) {
      addAll(names, await this.#namesOf(order.takeReady(), { ...need, names: need.names - names.length }));
      const question = names.length < need.names && names.length + order.size >= need.names ? order.question : undefined;
      if (question === undefined) return;
      order.answer(question, question.kind === "folder" || (await this.#isRepository(question.name)));
    }
  }

  async #namesOf(entries: readonly CatalogEntry[], need: Need): Promise<RepositoryName[]> {
    const folders = entries.reduce((count, { kind }) => count + (kind === "folder" ? 1 : 0), 0);
    if (folders === 0) return entries.map(({ name }) => name).filter(isName);
    const each = { ...need, searches: Math.max(1, Math.floor(need.searches / folders)) };
    const names: RepositoryName[] = [];
    for await (const found of mapAhead(entries, need.searches, async (entry) => await this.#namesOfEntry(entry, each))) {
      addAll(names, found);
      if (names.length >= need.names) break;
    }
    return names;
  }

  async #namesOfEntry({ name, kind }: CatalogEntry, need: Need): Promise<RepositoryName[]> {
    if (kind === "repository") return [name].filter(isName);
    // The page begins after it: it is not wanted itself.
    return await this.#scan(name === this.#options.last ? { folder: name, after: "" } : { folder: name }, need);
  }

  async #isRepository(name: string): Promise<boolean> {
    try {
      return (await this.#store.stat(`${pathOf(name)}/${MARKER}`)).isDirectory;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
  }
}

/** What comes after a name, range by range: what is below it and beside it, then what is beside each folder that it lies in. */
function rangesAfter(last: string): CatalogRange[] {
  if (last === "") return [{ folder: "" }];
  const ranges: CatalogRange[] = [];
  let folder = "";
  for (const name of last.split("/")) {
    // What is longer comes after the same names; a store may refuse to hear it.
    ranges.unshift({ folder, after: name.slice(0, MAX_NAME_LENGTH + 1) });
    folder = join(folder, name);
    if (!FOLDER_NAME.test(name) || folder.length > MAX_NAME_LENGTH) break;
  }
  const [first, ...rest] = ranges;
  return first === undefined ? rest : [{ ...first, withBelow: true }, ...rest];
}

function pathOf(folder: string): string {
  return folder === "" ? REPOSITORIES : `${REPOSITORIES}/${folder}`;
}
