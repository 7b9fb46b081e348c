import { LruMap } from "../lib/lru.ts";
import type { ListOptions, ListPage, StorageDriver } from "../storage/driver.ts";

/** Longer keys are not remembered: clients write them. */
const MAX_KEY_LENGTH = 1024;

/** How much is remembered. */
export interface ProvenLimits {
  readonly maxResults: number;
  /** In the unit of `weigh`. */
  readonly maxWeight: number;
}

/** The store as somebody reads it whose result is to be proven by what was read. */
export interface Witness extends Pick<StorageDriver, "list"> {
  /**
   * Call it before a file is read: the result will stand only as long as the file does.
   * @returns False when there is no such file, which need not be read then; true when there may be.
   */
  relyOn(path: string): boolean;

  /** The same for many files below one directory, cheaper; the result stands also only as long as those are missing that are missing now. */
  relyOnAll(directory: string, paths: readonly string[]): void;
}

/**
 * Results of reading the store, used again for as long as nothing that was read has changed, whoever changes it: instead of reading
 * and sorting out, one look at each file and folder, without waiting. Where the driver has no quick way to look nothing is remembered,
 * and reads that fail, or come too soon after a change, prove nothing.
 */
export class ProvenReads<T> {
  readonly #driver: StorageDriver;
  readonly #results: LruMap<string, { readonly result: T; readonly proof: readonly object[] }>;

  constructor(driver: StorageDriver, { maxResults, maxWeight }: ProvenLimits) {
    this.#driver = driver;
    this.#results = new LruMap(maxResults, maxWeight);
  }

  /** The result of an earlier reading, if it is still what reading would give. */
  peek(key: string): T | undefined {
    const known = this.#results.get(key);
    if (known === undefined) return undefined;
    for (const state of known.proof) if (this.#driver.isUnchanged?.(state) !== true) return undefined;
    return known.result;
  }

  /**
   * Reads, and remembers the result if it can be proven.
   * @param key Tells this reading from others.
   * @param read Makes the result of nothing but what it lists, and relies on.
   * @param weigh What a result weighs, given how many files and folders prove it.
   */
  async read(key: string, read: (witness: Witness) => Promise<T>, weigh: (result: T, proofs: number) => number): Promise<T> {
    const witness = new StateWitness(this.#driver);
    const result = await read(witness);
    const { proof } = witness;
    if (proof === undefined || key.length > MAX_KEY_LENGTH) this.#results.delete(key);
    else this.#results.set(key, { result, proof }, weigh(result, proof.length));
    return result;
  }
}

class StateWitness implements Witness {
  readonly #driver: StorageDriver;
  readonly #states = new Set<object>();
  /** Readings that did not prove anything: listings that are under way or failed, and whatever the driver knows no state of. */
  #unproven = 0;

  constructor(driver: StorageDriver) {
    this.#driver = driver;
  }

  get proof(): readonly object[] | undefined {
    return this.#unproven === 0 ? [...this.#states] : undefined;
  }

  relyOn(path: string): boolean {
    const state = this.#driver.observe?.(path);
    if (typeof state === "object") this.#states.add(state);
    else this.#unproven++;
    return state !== "missing";
  }

  relyOnAll(directory: string, paths: readonly string[]): void {
    const state = this.#driver.observeAll?.(directory, paths);
    if (state === undefined) this.#unproven++;
    else this.#states.add(state);
  }

  async list(path: string, options?: ListOptions): Promise<ListPage> {
    this.#unproven++;
    const page = await this.#driver.list(path, options);
    if (page.state !== undefined) {
      this.#states.add(page.state);
      this.#unproven--;
    }
    return page;
  }
}
