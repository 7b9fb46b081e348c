import type { DescriptorCache } from "../cache/descriptor-cache.ts";
import { MemoryDescriptorCache } from "../cache/memory.ts";
import { openRedisCache } from "../cache/redis.ts";
import type { Config } from "../config/schema.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import { configuredDriver } from "./open-storage.ts";

/** What a cache is opened with besides its options. */
export interface CacheDeps {
  readonly log: Logger;
}

/**
 * Opens the cache of blob sizes that a configuration wants.
 * @returns undefined when it wants none, and on local files, where asking the store is as cheap.
 */
export async function openDescriptorCache(config: Config, { log }: CacheDeps): Promise<DescriptorCache | undefined> {
  const { blobdescriptor, layerinfo, blobdescriptorsize } = config.storage.cache;
  const kind = blobdescriptor ?? layerinfo ?? "";
  if (kind === "") return undefined;
  if (configuredDriver(config) === "filesystem") {
    log.info("sizes of blobs on local files are looked up, which is as quick as the cache", { "storage.cache.blobdescriptor": kind });
    return undefined;
  }
  if (kind === "inmemory") return new MemoryDescriptorCache(blobdescriptorsize > 0 ? blobdescriptorsize : Number.POSITIVE_INFINITY);
  if (kind === "redis") return await openRedisCache(config.redis, { log, clock: SYSTEM_CLOCK });
  log.warn(`unknown cache type "${kind}", caching disabled`);
  return undefined;
}
