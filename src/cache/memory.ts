import { LruMap } from "../lib/lru.ts";
import type { Digest } from "../oci/digest.ts";
import type { CachedDescriptor, DescriptorCache } from "./descriptor-cache.ts";

/** A descriptor cache of this process alone. */
export class MemoryDescriptorCache implements DescriptorCache {
  readonly #entries: LruMap<Digest, CachedDescriptor>;

  /** @param maxEntries What was used longest ago is dropped beyond so many. */
  constructor(maxEntries: number) {
    this.#entries = new LruMap(maxEntries);
  }

  async get(digest: Digest): Promise<CachedDescriptor | undefined> {
    return this.#entries.get(digest);
  }

  async set(digest: Digest, descriptor: CachedDescriptor): Promise<void> {
    this.#entries.set(digest, descriptor);
  }

  async delete(digest: Digest): Promise<void> {
    this.#entries.delete(digest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#entries.clear();
  }
}
