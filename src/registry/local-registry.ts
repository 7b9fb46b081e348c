import { availableParallelism } from "node:os";
import type { DescriptorCache } from "../cache/descriptor-cache.ts";
import type { Clock } from "../lib/clock.ts";
import type { StorageDriver } from "../storage/driver.ts";
import type { Logger } from "../telemetry/log.ts";
import { BlobLinks } from "./blob-links.ts";
import { BlobStore } from "./blob-store.ts";
import { type ContentGate, OPEN_GATE } from "./content-gate.ts";
import { RepositoryCatalog } from "./catalog.ts";
import { LinkFiles } from "./link-files.ts";
import { LocalUploads } from "./local-uploads.ts";
import { ManifestContents } from "./manifest-contents.ts";
import type { ManifestValidation } from "./manifest-rules.ts";
import { ManifestStore } from "./manifest-store.ts";
import { ReferrerIndex } from "./referrer-index.ts";
import type { Blobs, Catalog, Manifests, Referrers, Registry, Tags, Uploads } from "./registry.ts";
import { TagStore } from "./tag-store.ts";
import { purgeUploads, type PurgeRequest, type PurgeResult } from "./upload-purge.ts";

/** What a registry on a store of our own is made of, and how it behaves. */
export interface LocalRegistryOptions {
  /** Stays the caller's: disposing the registry does not close it. */
  readonly driver: StorageDriver;
  readonly log: Logger;
  readonly clock: Clock;
  /** Sizes of blobs, for stores where asking is slow; not asked where files are local. */
  readonly descriptorCache?: DescriptorCache | undefined;
  /** Whether blobs, manifests and tags may be deleted. */
  readonly deleteEnabled: boolean;
  /** Asked before building on what a collector may be about to delete; left out where nobody collects while this registry serves. */
  readonly gate?: ContentGate | undefined;
  /** Whether clients may be sent to URLs of the store. */
  readonly redirectEnabled: boolean;
  readonly validation: ManifestValidation;
  /** Classes of manifests that may be pushed (`image`, `plugin`); empty or undefined for all. */
  readonly policyClasses?: readonly string[] | undefined;
  /** How many tags are looked up at once where all of a repository must be. */
  readonly tagConcurrency: number;
  /** Threads that hash large uploads; by default one, or two where there are cores to spare. */
  readonly hashThreads?: number;
}

/** A registry on a store of our own. Dispose it after the last request, before the driver. */
export interface LocalRegistry extends Registry, AsyncDisposable {
  /** Deletes uploads that were begun long ago and never finished. */
  purgeUploads(request: PurgeRequest): Promise<PurgeResult>;
}

/** Puts a registry together on a storage driver. Reads nothing: it is ready at once. */
export function openLocalRegistry(options: LocalRegistryOptions): LocalRegistry {
  return new StoredRegistry(options);
}

class StoredRegistry implements LocalRegistry {
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly referrers: Referrers;
  readonly catalog: Catalog;
  readonly #driver: StorageDriver;
  readonly #log: Logger;
  readonly #uploads: LocalUploads;

  constructor(options: LocalRegistryOptions) {
    const { driver, log, clock, deleteEnabled, gate = OPEN_GATE } = options;
    const links = new LinkFiles(driver, log);
    const store = new BlobStore({ driver, log, descriptorCache: options.descriptorCache, redirectEnabled: options.redirectEnabled });
    const blobs = new BlobLinks({ driver, links, store, gate }, { deleteEnabled });
    const contents = new ManifestContents(driver, log);
    const tags = new TagStore(driver, links, { deleteEnabled, concurrency: options.tagConcurrency });
    const referrers = new ReferrerIndex({ driver, links, tags, contents, log });
    this.#driver = driver;
    this.#log = log;
    this.#uploads = new LocalUploads({ driver, store, links: blobs, gate, log, clock, hashThreads: options.hashThreads ?? defaultHashThreads() });
    this.blobs = blobs;
    this.uploads = this.#uploads;
    this.manifests = new ManifestStore(
      { driver, links, blobs, store, contents, tags, referrers, gate },
      { deleteEnabled, validation: options.validation, policyClasses: options.policyClasses ?? [] },
    );
    this.tags = tags;
    this.referrers = referrers;
    this.catalog = new RepositoryCatalog(driver);
  }

  async purgeUploads(request: PurgeRequest): Promise<PurgeResult> {
    return await purgeUploads({ driver: this.#driver, log: this.#log, isHeld: (key) => this.#uploads.isHeld(key) }, request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#uploads[Symbol.asyncDispose]();
  }
}

// One thread hashes faster than a network of 10 Gbit/s delivers.
function defaultHashThreads(): number {
  return availableParallelism() > 4 ? 2 : 1;
}
