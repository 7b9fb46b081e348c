import type { Digest } from "../oci/digest.ts";
import type { CacheMetrics } from "../telemetry/metrics.ts";
import type { CachedDescriptor, DescriptorCache } from "./descriptor-cache.ts";

/** Counts what a cache is asked for, and how often it knows. */
export class MeasuredCache implements DescriptorCache {
  readonly #inner: DescriptorCache;
  readonly #metrics: Pick<CacheMetrics, "request">;

  constructor(inner: DescriptorCache, metrics: Pick<CacheMetrics, "request">) {
    this.#inner = inner;
    this.#metrics = metrics;
  }

  async get(digest: Digest): Promise<CachedDescriptor | undefined> {
    try {
      const found = await this.#inner.get(digest);
      this.#metrics.request(found === undefined ? "miss" : "hit");
      return found;
    } catch (error) {
      this.#metrics.request("error");
      throw error;
    }
  }

  async set(digest: Digest, descriptor: CachedDescriptor): Promise<void> {
    await this.#inner.set(digest, descriptor);
  }

  async delete(digest: Digest): Promise<void> {
    await this.#inner.delete(digest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }
}
