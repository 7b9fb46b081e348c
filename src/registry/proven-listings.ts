import { LruMap } from "../lib/lru.ts";
import type { ListOptions, ListPage, StorageDriver } from "../storage/driver.ts";

/** Folders that results are remembered of, over all of them: some 20 MiB. */
const MAX_FOLDERS = 100_000;
const MAX_RESULTS = 10_000;

/** The folders that a result was made of, each with the state that it was listed in. */
type Proof = ReadonlyMap<string, object>;

/** Lists the store and notes what it listed. */
export type Lister = Pick<StorageDriver, "list">;

/**
 * Results of walks over folders, used again for as long as none of the folders has changed: instead of listing and sorting out
 * what was listed, a walk then costs one look at each folder. Where the driver has no quick way to look, nothing is remembered.
 */
export class ProvenListings<T> {
  readonly #driver: StorageDriver;
  readonly #results = new LruMap<string, { readonly result: T; readonly proof: Proof }>(MAX_RESULTS, MAX_FOLDERS);

  constructor(driver: StorageDriver) {
    this.#driver = driver;
  }

  /**
   * @param key Tells this walk from others.
   * @param walk Makes the result of nothing but what it lists.
   */
  async get(key: string, walk: (lister: Lister) => Promise<T>): Promise<T> {
    if (this.#driver.isUnchanged === undefined) return await walk(this.#driver);
    const known = this.#results.get(key);
    if (known !== undefined && this.#holds(known.proof)) return known.result;
    const witness = new Witness(this.#driver);
    const result = await walk(witness);
    const proof = witness.proof;
    if (proof === undefined) this.#results.delete(key);
    else this.#results.set(key, { result, proof }, proof.size);
    return result;
  }

  #holds(proof: Proof): boolean {
    for (const [path, state] of proof) if (this.#driver.isUnchanged?.(path, state) !== true) return false;
    return true;
  }
}

class Witness implements Lister {
  readonly #driver: StorageDriver;
  readonly #states = new Map<string, object>();
  /** Listings that did not prove anything: under way, failed, or of a folder whose state is unknown. */
  #unproven = 0;

  constructor(driver: StorageDriver) {
    this.#driver = driver;
  }

  /** Undefined when a folder's state was unknown, or changed between two of its pages. */
  get proof(): Proof | undefined {
    return this.#unproven === 0 ? this.#states : undefined;
  }

  async list(path: string, options?: ListOptions): Promise<ListPage> {
    this.#unproven++;
    const page = await this.#driver.list(path, options);
    const { state } = page;
    const known = this.#states.get(path);
    if (state === undefined || (known !== undefined && known !== state)) return page;
    this.#states.set(path, state);
    this.#unproven--;
    return page;
  }
}
