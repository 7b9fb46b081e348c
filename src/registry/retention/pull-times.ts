import type { Clock } from "../../lib/clock.ts";
import { LruMap } from "../../lib/lru.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { repositoryFolder } from "../layout.ts";
import { childNames } from "../gc/inventory.ts";

/** Pull times are rounded down to this, so that a busy tag is not written again and again. */
const RESOLUTION_MS = 3_600_000;
const MAX_REPOSITORIES = 20_000;
const MAX_REFERENCES = 10_000;

/**
 * Remembers about when tags and manifests were last pulled: in memory, and now and then in a file per repository and instance,
 * `_pulls/<instance>` with JSON of reference to hours since the epoch. What a crash loses is at most the time between two flushes.
 */
export class PullTimes {
  readonly #driver: StorageDriver;
  readonly #instance: string;
  readonly #clock: Clock;
  readonly #byRepository = new LruMap<RepositoryName, Map<string, number>>(MAX_REPOSITORIES);
  readonly #changed = new Set<RepositoryName>();

  constructor(driver: StorageDriver, options: { readonly instance: string; readonly clock: Clock }) {
    this.#driver = driver;
    this.#instance = options.instance;
    this.#clock = options.clock;
  }

  /** Notes a pull. @param references The tag, when it was pulled by one, and the digest. */
  note(name: RepositoryName, references: readonly string[]): void {
    const hour = Math.floor(this.#clock.now() / RESOLUTION_MS);
    let times = this.#byRepository.get(name);
    if (times === undefined) {
      times = new Map();
      this.#byRepository.set(name, times);
    }
    for (const reference of references) {
      if (times.get(reference) === hour) continue;
      if (times.size >= MAX_REFERENCES) times.clear();
      times.set(reference, hour);
      this.#changed.add(name);
    }
  }

  /** Writes what changed since the last time. */
  async flush(): Promise<void> {
    for (const name of [...this.#changed]) {
      this.#changed.delete(name);
      const times = this.#byRepository.get(name);
      if (times === undefined) continue;
      const path = `${repositoryFolder(name)}/_pulls/${this.#instance}`;
      const merged = { ...(await readTimes(this.#driver, path)), ...Object.fromEntries(times) };
      await this.#driver.putContent(path, JSON.stringify(merged));
    }
  }
}

/** When each reference of a repository was last pulled through any instance, in milliseconds since the epoch, rounded down to hours. */
export async function readPullTimes(driver: StorageDriver, name: RepositoryName): Promise<ReadonlyMap<string, number>> {
  const folder = `${repositoryFolder(name)}/_pulls`;
  const latest = new Map<string, number>();
  for (const instance of await childNames(driver, folder)) {
    // What a crash left of a write.
    if (instance.endsWith(".tmp")) continue;
    for (const [reference, hour] of Object.entries(await readTimes(driver, `${folder}/${instance}`))) {
      latest.set(reference, Math.max(latest.get(reference) ?? 0, hour * RESOLUTION_MS));
    }
  }
  return latest;
}

async function readTimes(driver: StorageDriver, path: string): Promise<Record<string, number>> {
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(await driver.getContent(path)));
    if (typeof json !== "object" || json === null) throw new Error(`${path}: expected an object`);
    return Object.fromEntries(Object.entries(json).filter((entry): entry is [string, number] => typeof entry[1] === "number"));
  } catch (error) {
    if (error instanceof PathNotFoundError) return {};
    throw error;
  }
}
