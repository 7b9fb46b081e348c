import type { Clock } from "../../lib/clock.ts";
import type { Digest } from "../../oci/digest.ts";
import { RegistryError } from "../../oci/errors.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { type CollectorState, type Condemned, condemnedKey, readCondemned, readState, RUN_TIMEOUT_MS, writeRescue } from "./state.ts";

/** How a gate looks at the store. */
export interface GateOptions {
  readonly clock: Clock;
  /** How old the knowledge that nobody collects may be, in milliseconds; collectors wait twice as long. */
  readonly pollMs: number;
  /** Called with digests that are about to go, so that caches forget them. */
  readonly onCondemned?: (digest: Digest) => void;
}

/** Longer than a collector that died in the middle is heeded. */
const SWEEP_WAIT_MS = RUN_TIMEOUT_MS + 10_000;
const SWEEP_POLL_MS = 50;

/**
 * The registry's side of collecting while serving: whoever is about to say "this exists", or to build on it, asks here first.
 * Costs a comparison of two numbers while nobody collects.
 * @see README.md in this folder for why nothing live is lost.
 */
export class CollectorGate {
  readonly #driver: StorageDriver;
  readonly #options: GateOptions;
  #state: CollectorState | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #positions: { readonly run: string; readonly of: ReadonlyMap<string, number> } | undefined;

  constructor(driver: StorageDriver, options: GateOptions) {
    this.#driver = driver;
    this.#options = options;
  }

  /** Whether `keep` can be left out: nobody collects, known freshly enough. */
  get isIdle(): boolean {
    const ageMs = this.#options.clock.now() - this.#readAt;
    // A clock that was set back says nothing of how fresh it is.
    return this.#state === undefined && ageMs >= 0 && ageMs < this.#options.pollMs;
  }

  /**
   * Protects a blob or a manifest from the collector that is running.
   * @returns False when it is too late: it is being deleted right now, and must be treated as not there. True says nothing about
   *   whether it exists: look after asking.
   */
  async keep(kind: Condemned["kind"], digest: Digest): Promise<boolean> {
    if (this.isIdle) return true;
    const state = await this.#read();
    if (state === undefined || state.condemned === 0) return true;
    const positions = await this.#load(state);
    // Over between our two looks: what it deleted is gone, and what it left stays.
    if (positions === undefined) return await this.keep(kind, digest);
    const key = condemnedKey(kind, digest);
    const position = positions.get(key);
    if (position === undefined || position < state.swept) return true;
    await writeRescue(this.#driver, state.run, key);
    // The collector writes its claim and then looks for rescues; we write the rescue and then look for its claim: one sees the other.
    const after = await this.#read();
    return after === undefined || after.run !== state.run || position >= after.claimed || position < after.swept;
  }

  /**
   * Protects a blob, or a manifest's place, that is about to be stored, waiting for a deletion under way to end.
   * @throws RegistryError UNAVAILABLE when that takes too long.
   */
  async keepOrWait(digest: Digest, kind: Condemned["kind"] = "blob"): Promise<void> {
    const deadline = this.#options.clock.now() + SWEEP_WAIT_MS;
    while (!(await this.keep(kind, digest))) {
      if (this.#options.clock.now() > deadline) {
        throw new RegistryError("UNAVAILABLE", { detail: "what is pushed is just being collected; try again", headers: { "retry-after": "5" } });
      }
      await this.#options.clock.sleep(SWEEP_POLL_MS);
    }
  }

  async #read(): Promise<CollectorState | undefined> {
    const now = this.#options.clock.now();
    this.#state = await readState(this.#driver, now);
    this.#readAt = now;
    return this.#state;
  }

  /** Where in the list everything stands; undefined when the run is over. */
  async #load(state: CollectorState): Promise<ReadonlyMap<string, number> | undefined> {
    if (this.#positions?.run === state.run) return this.#positions.of;
    let of: ReadonlyMap<string, number>;
    try {
      of = await readCondemned(this.#driver, state);
    } catch (error) {
      if (error instanceof PathNotFoundError && (await this.#read())?.run !== state.run) return undefined;
      throw error;
    }
    this.#positions = { run: state.run, of };
    const { onCondemned } = this.#options;
    if (onCondemned !== undefined) for (const key of of.keys()) onCondemned(key.replace(/^[a-z]+-([a-z0-9]+)-/, "$1:") as Digest);
    return of;
  }
}
