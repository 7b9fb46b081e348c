import { addAll } from "../lib/add-all.ts";
import type { Clock } from "../lib/clock.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { Registry } from "../registry/registry.ts";
import type { Logger } from "../telemetry/log.ts";
import { isUnknown } from "./mirror.ts";
import type { MirrorBlobs } from "./mirror-blobs.ts";
import type { Retention, RetentionEntry } from "./retention.ts";
import type { Routes } from "./routes.ts";
import type { ProxyStore } from "./store.ts";

/** What the housekeeping of a mirror is made of. */
export interface HousekeepingParts {
  readonly retention: Retention;
  readonly routes: Routes;
  readonly store: ProxyStore;
  /** It may delete. */
  readonly local: Registry;
  readonly blobs: MirrorBlobs;
  /** Beyond so much the least recently used goes; 0 for no limit. */
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What was taken out of repositories. The bytes go with the next garbage collection, which knows what else needs them. */
export interface MaintenanceResult {
  readonly blobs: number;
  readonly manifests: number;
}

/** Lets expired and superfluous content go, and keeps the memory of what was used when. */
export class Housekeeping {
  readonly #parts: HousekeepingParts;

  constructor(parts: HousekeepingParts) {
    this.#parts = parts;
  }

  /** Takes over what an earlier run remembered. A state that cannot be read is logged: everything then counts as used when it is next used. */
  async restore(): Promise<void> {
    const { retention, store, routes, log } = this.#parts;
    const state = await store.readState();
    if (state === undefined) return;
    try {
      retention.restore(new TextDecoder().decode(state), (repository) => ttlOf(routes, repository));
    } catch (error) {
      log.error("state of the mirror cannot be read: expiry starts anew", { "err.message": error instanceof Error ? error.message : String(error) });
    }
  }

  /** Takes out of the repositories what has to go. */
  async sweep(signal: AbortSignal): Promise<MaintenanceResult> {
    const { retention, clock, maxBytes } = this.#parts;
    const result = { blobs: 0, manifests: 0 };
    const leaving = retention.expired(clock.now());
    if (maxBytes > 0) addAll(leaving, retention.excess(maxBytes));
    for (const entry of leaving) {
      if (signal.aborted) break;
      if (await this.#remove(entry)) result[entry.kind === "blob" ? "blobs" : "manifests"]++;
    }
    return result;
  }

  /** Writes down what was used when, if that changed. */
  async save(): Promise<void> {
    const { retention, store } = this.#parts;
    if (retention.isChanged) await store.writeState(retention.serialize());
  }

  async #remove(entry: RetentionEntry): Promise<boolean> {
    const { local, blobs, retention, log } = this.#parts;
    if (blobs.isFetching(entry.repository, entry.digest)) return false;
    try {
      if (entry.kind === "blob") await local.blobs.delete(entry.repository, entry.digest);
      else await local.manifests.delete(entry.repository, entry.digest);
      log.info("mirrored content expired", { repository: entry.repository, digest: entry.digest, kind: entry.kind });
    } catch (error) {
      // Somebody else has deleted it: what is wanted.
      if (!isUnknown(error, "BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN")) throw error;
    }
    retention.forget(entry);
    return true;
  }
}

/** How long what a repository has may stay; undefined when it is not mirrored. */
function ttlOf(routes: Routes, repository: RepositoryName): number | undefined {
  try {
    const route = routes.route(repository);
    return route.kind === "mirror" ? route.remote.ttlMs : undefined;
  } catch (error) {
    if (error instanceof RegistryError) return undefined;
    throw error;
  }
}
