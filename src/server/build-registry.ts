import { availableParallelism } from "node:os";
import type { DescriptorCache } from "../cache/descriptor-cache.ts";
import type { Config } from "../config/schema.ts";
import { type Clock, SYSTEM_CLOCK } from "../lib/clock.ts";
import { CollectorGate } from "../registry/gc/gate.ts";
import { type LocalRegistry, openLocalRegistry } from "../registry/local-registry.ts";
import type { ValidationOptions } from "../registry/options.ts";
import type { StorageDriver } from "../storage/driver.ts";
import type { Logger } from "../telemetry/log.ts";
import { configuredDriver } from "./open-storage.ts";

/** How long registries on local files, and on stores over a network, may go without looking whether somebody collects. */
const LOCAL_POLL_MS = 100;
const REMOTE_POLL_MS = 5_000;

/** A registry with what else looks after its store. */
export interface BuiltRegistry {
  readonly registry: LocalRegistry;
  readonly gate: CollectorGate;
}

/** How long the knowledge that nobody collects is good on a configuration's store; collectors wait twice as long. */
export function collectorPollMs(config: Config): number {
  const driver = configuredDriver(config);
  return driver === "filesystem" || driver === "inmemory" ? LOCAL_POLL_MS : REMOTE_POLL_MS;
}

/** What a registry is built on; all of it stays the caller's. */
export interface RegistryDeps {
  readonly driver: StorageDriver;
  readonly log: Logger;
  readonly descriptorCache?: DescriptorCache | undefined;
}

/** Puts the local registry of a configuration together. */
export function buildRegistry(config: Config, deps: RegistryDeps): BuiltRegistry {
  const { driver, log, descriptorCache } = deps;
  const clock: Clock = SYSTEM_CLOCK;
  const gate = new CollectorGate(driver, {
    clock,
    pollMs: collectorPollMs(config),
    // A cache that cannot be reached forgets nothing, and does no harm: nobody believes it where something must exist.
    onCondemned: (digest) => void descriptorCache?.delete(digest).catch((error: unknown) => log.warn("a cached size could not be forgotten", { "err.message": String(error) })),
  });
  const { storage, validation, policy, proxy } = config;
  const registry = openLocalRegistry({
    driver,
    log,
    clock,
    gate,
    descriptorCache,
    // A mirror's expiry deletes whatever clients may do.
    deleteEnabled: storage.delete.enabled || proxy.remoteurl !== "" || proxy.remotes.length > 0,
    redirectEnabled: !storage.redirect.disable,
    validation: manifestValidation(validation),
    policyClasses: policy.repository.classes,
    tagConcurrency: storage.tag.concurrencylimit > 0 ? storage.tag.concurrencylimit : availableParallelism(),
  });
  return { registry, gate };
}

function manifestValidation(options: ValidationOptions): Parameters<typeof openLocalRegistry>[0]["validation"] {
  const { urls, indexes, images } = options.manifests;
  return {
    enabled: options.enabled || !options.disabled,
    urls: { allow: urls.allow.map((source) => new RegExp(source)), deny: urls.deny.map((source) => new RegExp(source)) },
    indexes: { platforms: indexes.platforms, platformList: indexes.platformlist },
    sparseImages: images.sparse,
  };
}
