import { LruMap } from "../lib/lru.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { MAX_MANIFEST_BYTES, parseStoredManifest } from "../oci/manifest.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import type { Logger } from "../telemetry/log.ts";
import { blobData } from "./layout.ts";
import type { StoredManifest } from "./registry.ts";

const MAX_ENTRIES = 20_000;
const MAX_BYTES = 32 * 1024 * 1024;
/** What an entry costs beyond its bytes. */
const ENTRY_OVERHEAD_BYTES = 512;

/**
 * The bytes of manifests, by digest. What was read once and had its digest is kept in memory: content never changes. Whether a
 * repository has a manifest is asked elsewhere, of the store.
 */
export class ManifestContents {
  readonly #driver: StorageDriver;
  readonly #log: Logger;
  readonly #known = new LruMap<Digest, StoredManifest>(MAX_ENTRIES, MAX_BYTES);

  constructor(driver: StorageDriver, log: Logger) {
    this.#driver = driver;
    this.#log = log;
  }

  /** A manifest that was loaded or saved not long ago. */
  peek(digest: Digest): StoredManifest | undefined {
    return this.#known.get(digest);
  }

  /**
   * Loads a manifest and keeps it in memory.
   * @returns Undefined when its bytes are not stored.
   * @throws RegistryError UNKNOWN when they do not have their digest, or are no manifest of a kind that we serve
   */
  async load(digest: Digest): Promise<StoredManifest | undefined> {
    const known = this.#known.get(digest);
    if (known !== undefined) return known;
    const manifest = await this.read(digest);
    if (manifest !== undefined) this.#remember(manifest);
    return manifest;
  }

  /** Loads a manifest like `load`, but keeps it out of memory: for those who look at very many. */
  async read(digest: Digest): Promise<StoredManifest | undefined> {
    const bytes = await this.#readBytes(digest);
    if (bytes === undefined) return undefined;
    if (digestOf(bytes, algorithmOf(digest)) !== digest) {
      this.#log.error("stored manifest does not have its digest", { path: blobData(digest), "size.bytes": bytes.length });
      throw new RegistryError("UNKNOWN", { detail: `the stored manifest ${digest} is damaged; pushing it again repairs it` });
    }
    return { digest, mediaType: mediaTypeOf(bytes), bytes };
  }

  /** Stores a manifest durably, unless the very same bytes are stored already. */
  async save(manifest: StoredManifest): Promise<void> {
    if (!(await this.#isStored(manifest))) await this.#driver.putContent(blobData(manifest.digest), manifest.bytes);
    this.#remember(manifest);
  }

  // Asks the store, never the memory: a collector may have been there. What is unknown to the memory is compared, which repairs
  // files that a crash of an earlier registry left empty.
  async #isStored({ digest, bytes }: StoredManifest): Promise<boolean> {
    if (this.#known.get(digest) === undefined) {
      const stored = await this.#readBytes(digest);
      return stored !== undefined && Buffer.compare(stored, bytes) === 0;
    }
    try {
      return (await this.#driver.stat(blobData(digest))).sizeBytes === bytes.length;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
  }

  async #readBytes(digest: Digest): Promise<Uint8Array | undefined> {
    try {
      return await this.#driver.getContent(blobData(digest), MAX_MANIFEST_BYTES);
    } catch (error) {
      if (error instanceof PathNotFoundError) return undefined;
      throw error;
    }
  }

  #remember(manifest: StoredManifest): void {
    this.#known.set(manifest.digest, manifest, manifest.bytes.length + ENTRY_OVERHEAD_BYTES);
  }
}

function mediaTypeOf(bytes: Uint8Array): StoredManifest["mediaType"] {
  try {
    return parseStoredManifest(bytes).mediaType;
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    // The client is not to blame for what lies in the store.
    throw new RegistryError("UNKNOWN", { detail: error.entries[0]?.detail, cause: error });
  }
}
