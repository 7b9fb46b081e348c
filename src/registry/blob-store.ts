import type { DescriptorCache } from "../cache/descriptor-cache.ts";
import { LruMap } from "../lib/lru.ts";
import { release } from "../lib/release.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import type { FileWriter, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import type { Logger } from "../telemetry/log.ts";
import { blobData } from "./layout.ts";
import type { BlobContent, OpenRequest } from "./registry.ts";
import { sentStream } from "./sent-stream.ts";

/** Blobs up to this size (configs, signatures) are sent from memory. */
const SMALL_BLOB_BYTES = 32 * 1024;
const SMALL_BLOBS_MAX_ENTRIES = 10_000;
const SMALL_BLOBS_MAX_BYTES = 16 * 1024 * 1024;
/** What an entry costs beyond its bytes. */
const ENTRY_OVERHEAD_BYTES = 256;

/** What a blob store is made of. */
export interface BlobStoreParts {
  readonly driver: StorageDriver;
  readonly log: Logger;
  readonly descriptorCache: DescriptorCache | undefined;
  /** Whether clients may be sent to URLs of the store. */
  readonly redirectEnabled: boolean;
}

/** A blob that is to be sent. */
export interface OpenedBlob {
  /** Whose bytes they are. */
  readonly stored: Digest;
  /** What the client asked for. */
  readonly asked: Digest;
  readonly sizeBytes: number;
}

/** The bytes of all repositories, by digest. Who may read them is not its business. */
export class BlobStore {
  readonly #driver: StorageDriver;
  readonly #log: Logger;
  /** Undefined where asking the store itself is as cheap. */
  readonly #cache: DescriptorCache | undefined;
  readonly #redirectEnabled: boolean;
  readonly #small = new LruMap<Digest, Uint8Array>(SMALL_BLOBS_MAX_ENTRIES, SMALL_BLOBS_MAX_BYTES);

  constructor(parts: BlobStoreParts) {
    this.#driver = parts.driver;
    this.#log = parts.log;
    this.#cache = parts.driver.localFile === undefined ? parts.descriptorCache : undefined;
    this.#redirectEnabled = parts.redirectEnabled;
  }

  /**
   * A blob's size, for sending it; undefined when its bytes are not there.
   * Behind a slow store it may be remembered from before, so a caller has checked a link, which goes before the bytes do.
   */
  async sizeOf(digest: Digest): Promise<number | undefined> {
    const cached = await this.#cache?.get(digest);
    if (cached !== undefined) return cached.sizeBytes;
    const sizeBytes = await this.#statBytes(digest);
    if (sizeBytes !== undefined) await this.remember(digest, sizeBytes);
    return sizeBytes;
  }

  /** A blob's size as the store itself tells it now; undefined when its bytes are not there. */
  async storedSize(digest: Digest): Promise<number | undefined> {
    const sizeBytes = await this.#statBytes(digest);
    // Another collector, like distribution's, takes bytes away and tells no cache: who was told of them is not to be told so again.
    if (sizeBytes === undefined) await this.#cache?.delete(digest);
    return sizeBytes;
  }

  /** Notes that a blob is stored. */
  async remember(digest: Digest, sizeBytes: number): Promise<void> {
    await this.#cache?.set(digest, { sizeBytes, mediaType: MEDIA_TYPES.octetStream });
  }

  /**
   * Opens a blob for sending, in the cheapest way there is.
   * @throws RegistryError BLOB_UNKNOWN when the bytes turn out to be gone.
   */
  open(blob: OpenedBlob, request: OpenRequest): BlobContent | Promise<BlobContent> {
    if (this.#redirectEnabled && this.#driver.redirectUrl !== undefined) return this.#openElsewhere(blob, request);
    return this.#openHere(blob, request);
  }

  /** Reads a stored blob and hashes it. @throws PathNotFoundError */
  async hash(path: string, digest: Digest): Promise<Digest> {
    const hasher = new Bun.CryptoHasher(algorithmOf(digest));
    for await (const chunk of await this.#driver.reader(path)) {
      hasher.update(chunk);
      release(chunk);
    }
    return `${algorithmOf(digest)}:${hasher.digest("hex")}` as Digest;
  }

  /** Begins a blob whose digest is known; it appears at `commit()`. */
  async create(digest: Digest): Promise<FileWriter> {
    return await this.#driver.create(blobData(digest));
  }

  /** Stores bytes that were proven to have this digest. */
  async write(digest: Digest, bytes: Uint8Array): Promise<void> {
    await this.#driver.putContent(blobData(digest), bytes);
    await this.remember(digest, bytes.length);
  }

  /** Takes over a committed file that was proven to have this digest. */
  async adopt(path: string, digest: Digest): Promise<void> {
    await this.#driver.move(path, blobData(digest));
  }

  async #openElsewhere(blob: OpenedBlob, request: OpenRequest): Promise<BlobContent> {
    const url = await this.#driver.redirectUrl?.(blobData(blob.stored), request);
    if (url !== undefined) return { digest: blob.asked, sizeBytes: blob.sizeBytes, kind: "redirect", url };
    return await this.#openHere(blob, request);
  }

  #openHere(blob: OpenedBlob, request: OpenRequest): BlobContent | Promise<BlobContent> {
    if (blob.sizeBytes > SMALL_BLOB_BYTES || request.method !== "GET") return this.#openStored(blob);
    const bytes = this.#small.get(blob.stored);
    return bytes === undefined ? this.#openSmall(blob) : { digest: blob.asked, sizeBytes: blob.sizeBytes, kind: "bytes", bytes };
  }

  async #openSmall(blob: OpenedBlob): Promise<BlobContent> {
    const bytes = await this.#loadSmall(blob);
    return bytes === undefined ? this.#openStored(blob) : { digest: blob.asked, sizeBytes: blob.sizeBytes, kind: "bytes", bytes };
  }

  #openStored(blob: OpenedBlob): BlobContent {
    const info = { digest: blob.asked, sizeBytes: blob.sizeBytes };
    if (this.#driver.localFile !== undefined) return { ...info, kind: "file", file: this.#driver.localFile(blobData(blob.stored)) };
    return { ...info, kind: "stream", open: (offset, length) => this.#stream(blob, { offset, length }) };
  }

  async #statBytes(digest: Digest): Promise<number | undefined> {
    try {
      const info = await this.#driver.stat(blobData(digest));
      return info.isDirectory ? undefined : info.sizeBytes;
    } catch (error) {
      if (error instanceof PathNotFoundError) return undefined;
      throw error;
    }
  }

  async #loadSmall(blob: OpenedBlob): Promise<Uint8Array | undefined> {
    const path = blobData(blob.stored);
    const bytes = await this.#orUnknown(blob, () => this.#driver.getContent(path));
    if (digestOf(bytes, algorithmOf(blob.stored)) === blob.stored) {
      this.#small.set(blob.stored, bytes, bytes.length + ENTRY_OVERHEAD_BYTES);
      return bytes;
    }
    // Sent as it lies there, like every larger blob: the client finds out by the digest.
    this.#log.error("stored blob does not have its digest", { path, "size.bytes": bytes.length });
    return undefined;
  }

  async #stream(blob: OpenedBlob, range: { readonly offset: number; readonly length: number }): Promise<ReadableStream<Uint8Array>> {
    return sentStream(await this.#orUnknown(blob, () => this.#driver.reader(blobData(blob.stored), range)));
  }

  async #orUnknown<T>(blob: OpenedBlob, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
      await this.#cache?.delete(blob.stored);
      throw new RegistryError("BLOB_UNKNOWN", { detail: blob.asked, cause: error });
    }
  }
}
