import { algorithmOf, type Digest, type DigestAlgorithm } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import type { FileWriter, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError, WriterBusyError } from "../storage/errors.ts";
import type { BlobStore } from "./blob-store.ts";
import type { KeptHash, KeptHashes } from "./kept-hashes.ts";
import { uploadData } from "./layout.ts";
import type { AppendOptions, ByteSource } from "./registry.ts";
import type { SharedBuffers } from "./shared-buffers.ts";
import { headBytes, readHead, UploadBody } from "./upload-body.ts";
import type { UploadFolders, UploadKey } from "./upload-folder.ts";
import type { RunningHash, UploadHasher } from "./upload-hash.ts";
import { rangeOf, uploadBusy, type UploadHold } from "./upload-hold.ts";
import { landBody } from "./upload-landing.ts";

/** What sessions share. */
export interface SessionParts {
  readonly driver: StorageDriver;
  readonly folders: UploadFolders;
  readonly store: BlobStore;
  readonly hasher: UploadHasher;
  readonly kept: KeptHashes;
  readonly buffers: SharedBuffers;
}

/** How a session is opened. */
export interface SessionOptions {
  readonly hold: UploadHold;
  /** What to hash with when nothing was hashed so far. */
  readonly algorithm: DigestAlgorithm;
}

/**
 * One request that writes to an upload. Leaving it keeps the bytes and the running hash for the next request, unless the upload was
 * committed or discarded.
 */
export class UploadSession implements AsyncDisposable {
  readonly #parts: SessionParts;
  readonly #key: UploadKey;
  readonly #hold: UploadHold;
  readonly #writer: FileWriter;
  /** Undefined when it was lost: the bytes are then read again at the end. */
  #hash: RunningHash | undefined;
  #isOpen = true;

  private constructor(parts: SessionParts, key: UploadKey, opened: { readonly hold: UploadHold; readonly writer: FileWriter; readonly hash: RunningHash | undefined }) {
    this.#parts = parts;
    this.#key = key;
    this.#hold = opened.hold;
    this.#writer = opened.writer;
    this.#hash = opened.hash;
  }

  /** @throws RegistryError RANGE_INVALID when another process writes to the upload */
  static async open(parts: SessionParts, key: UploadKey, options: SessionOptions): Promise<UploadSession> {
    const { hold } = options;
    const modifiedAtMs = await parts.folders.modifiedAtMs(key);
    const writer = await openWriter(parts, key);
    hold.observe(() => writer.sizeBytes);
    const kept = parts.kept.take(key.id);
    const isOfTheseBytes = kept !== undefined && isHashOf(kept, { sizeBytes: writer.sizeBytes, modifiedAtMs, contentTag: writer.contentTag });
    if (!isOfTheseBytes) kept?.hash[Symbol.dispose]();
    let hash = isOfTheseBytes ? kept.hash : undefined;
    if (writer.sizeBytes === 0) hash ??= parts.hasher.begin(options.algorithm);
    return new UploadSession(parts, key, { hold, writer, hash });
  }

  /** Bytes in the upload. */
  get sizeBytes(): number {
    return this.#writer.sizeBytes;
  }

  /** @throws RegistryError RANGE_INVALID when the client believes the upload to be elsewhere */
  checkOffset(offset: number | undefined): void {
    if (offset === undefined || offset === this.sizeBytes) return;
    throw new RegistryError("RANGE_INVALID", { detail: `the upload is at byte ${this.sizeBytes}, not ${offset}`, headers: { range: rangeOf(this.sizeBytes) } });
  }

  /** Appends a body; what arrived before it failed is kept. */
  async append(source: ByteSource, options: AppendOptions): Promise<void> {
    const body = new UploadBody(source, { hold: this.#hold, lengthBytes: options.lengthBytes });
    try {
      const head = await readHead(body);
      if (head.goesOn) return await landBody(head, body, { sink: (bytes) => this.#write(bytes), buffers: this.#parts.buffers });
      if (head.sizeBytes > 0) await this.#write(headBytes(head));
      if (head.failure !== undefined) throw head.failure;
    } finally {
      await body.close();
    }
  }

  /**
   * Whether the upload's bytes have a digest. Where no running hash of that kind is at hand, the upload is committed and read.
   */
  async proves(digest: Digest): Promise<boolean> {
    const hash = this.#hash;
    this.#hash = undefined;
    using _hash = hash;
    if (hash?.algorithm === algorithmOf(digest) && hash.sizeBytes === this.sizeBytes) {
      const actual = await hash.digest();
      if (actual !== undefined) return actual === digest;
    }
    await this.commit();
    return (await this.#parts.store.hash(uploadData(this.#key.name, this.#key.id), digest)) === digest;
  }

  /** Makes the upload's bytes durable; nothing can be appended any more. */
  async commit(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#writer.commit();
  }

  /** Discards the upload with all its bytes. */
  async discard(): Promise<void> {
    if (this.#isOpen) {
      this.#isOpen = false;
      await this.#writer.cancel();
    }
    await this.#parts.folders.remove(this.#key);
  }

  /** Puts the upload away until the next request; @throws what the store throws when the bytes cannot be kept */
  async suspend(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const { sizeBytes } = this.#writer;
    await this.#writer.close();
    if (this.#hash === undefined || this.#hash.sizeBytes !== sizeBytes) return;
    this.#parts.kept.keep(this.#key.id, { hash: this.#hash, modifiedAtMs: await this.#parts.folders.modifiedAtMs(this.#key), contentTag: this.#writer.contentTag });
    this.#hash = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.suspend();
    } catch (error) {
      // What is not ours any more need not be kept; whoever left early has a reason to tell.
      if (!(error instanceof WriterBusyError || error instanceof PathNotFoundError)) throw error;
    } finally {
      this.#hash?.[Symbol.dispose]();
      await this.#writer[Symbol.asyncDispose]();
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const hashed = this.#hash?.update(bytes);
    try {
      await this.#writer.write(bytes);
    } finally {
      await hashed;
    }
  }
}

/** Whether a hash that was put away is that of what the store holds now: another instance may have written meanwhile. */
function isHashOf({ hash, modifiedAtMs, contentTag }: KeptHash, found: { readonly sizeBytes: number; readonly modifiedAtMs: number | undefined; readonly contentTag: string | undefined }): boolean {
  if (hash.sizeBytes !== found.sizeBytes) return false;
  return hash.sizeBytes === 0 || (modifiedAtMs === found.modifiedAtMs && contentTag === found.contentTag);
}

async function openWriter(parts: SessionParts, key: UploadKey): Promise<FileWriter> {
  try {
    return await parts.driver.writer(uploadData(key.name, key.id), { append: true });
  } catch (error) {
    if (!(error instanceof WriterBusyError)) throw error;
    throw uploadBusy((await parts.folders.stat(key))?.sizeBytes ?? 0, error);
  }
}
