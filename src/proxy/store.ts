import { type Digest, isDigest } from "../oci/digest.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";
import type { ContentGate } from "../registry/content-gate.ts";
import { blobData, layerLink, referrerLink, revisionLink, tagCurrentLink, tagIndexLink, uploadData, uploadFolder, uploadStartedAt } from "../registry/layout.ts";
import type { FileWriter, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";

/** Up to so many bytes are written in one go: whoever waits for them has them from memory. */
export const SMALL_BLOB_BYTES = 1024 * 1024;
const MAX_LINK_BYTES = 4096;
const MAX_STATE_BYTES = 256 * 1024 * 1024;
/** Where distribution keeps what it knows of a mirror's contents. */
const STATE_FILE = "/scheduler-state.json";

/** A blob on its way into the store. Leaving it without `commit` discards it. */
export interface IncomingBlob extends AsyncDisposable {
  /** Await it before the next call. */
  write(chunk: Uint8Array): Promise<void>;
  /** A file on this host in which written bytes can be read at once; undefined where there is none. */
  readonly localFile: string | undefined;
  /** Makes the bytes, which were proven to have the digest, durable and readable in the repository. */
  commit(): Promise<void>;
}

/**
 * What a mirror writes that a registry would not: content without its references, under digests that were proven on the way.
 * Everything else it does through the local registry's own interface.
 */
export class ProxyStore {
  readonly #driver: StorageDriver;
  readonly #gate: ContentGate;

  constructor(driver: StorageDriver, gate: ContentGate) {
    this.#driver = driver;
    this.#gate = gate;
  }

  /** Size of a blob whose bytes are stored for whichever repository; undefined when they are not. */
  async storedSize(digest: Digest): Promise<number | undefined> {
    if (!this.#gate.isIdle && !(await this.#gate.keep("blob", digest))) return undefined;
    return await orUndefined(async () => {
      const info = await this.#driver.stat(blobData(digest));
      return info.isDirectory ? undefined : info.sizeBytes;
    });
  }

  /** Makes a stored blob readable in a repository. */
  async linkBlob(repository: RepositoryName, digest: Digest): Promise<void> {
    await this.#driver.putContent(layerLink(repository, digest), digest);
  }

  /** Streams a stored blob. */
  async read(digest: Digest, range: { readonly offset: number; readonly length: number }): Promise<ReadableStream<Uint8Array>> {
    return await this.#driver.reader(blobData(digest), range);
  }

  /** Begins to take in a blob. @param sizeBytes Undefined when it is not known. */
  async receive(repository: RepositoryName, digest: Digest, sizeBytes: number | undefined): Promise<IncomingBlob> {
    await this.#gate.keepOrWait(digest);
    const isSmall = sizeBytes !== undefined && sizeBytes <= SMALL_BLOB_BYTES;
    return this.#driver.localFile === undefined || isSmall ? await this.#receiveWhole(repository, digest) : await this.#receiveVisibly(repository, digest);
  }

  /** Stores a manifest; what it refers to may be missing. */
  async putManifest(repository: RepositoryName, digest: Digest, manifest: { readonly bytes: Uint8Array; readonly subject: Digest | undefined }): Promise<void> {
    await this.#gate.keepOrWait(digest);
    if (!this.#gate.isIdle) await this.#gate.keep("revision", digest);
    await this.#driver.putContent(blobData(digest), manifest.bytes);
    await this.#driver.putContent(revisionLink(repository, digest), digest);
    if (manifest.subject !== undefined) await this.#driver.putContent(referrerLink(repository, manifest.subject, digest), digest);
  }

  /** What a tag pointed to when upstream was last asked; undefined when it never was. */
  async readTag(repository: RepositoryName, tag: Tag): Promise<Digest | undefined> {
    return await orUndefined(async () => {
      const text = new TextDecoder().decode(await this.#driver.getContent(tagCurrentLink(repository, tag), MAX_LINK_BYTES));
      return isDigest(text) ? text : undefined;
    });
  }

  /** Points a tag to a manifest that is stored. */
  async setTag(repository: RepositoryName, tag: Tag, digest: Digest): Promise<void> {
    await this.#driver.putContent(tagIndexLink(repository, tag, digest), digest);
    await this.#driver.putContent(tagCurrentLink(repository, tag), digest);
  }

  /** What was last written as state; undefined when nothing was. */
  async readState(): Promise<Uint8Array | undefined> {
    return await orUndefined(() => this.#driver.getContent(STATE_FILE, MAX_STATE_BYTES));
  }

  /** Replaces the state. */
  async writeState(content: string): Promise<void> {
    await this.#driver.putContent(STATE_FILE, content);
  }

  // The bytes go where those of a push would, so that a crash leaves an upload, which is purged like any other.
  async #receiveVisibly(repository: RepositoryName, digest: Digest): Promise<IncomingBlob> {
    const id = crypto.randomUUID();
    const path = uploadData(repository, id);
    await this.#driver.putContent(uploadStartedAt(repository, id), new Date().toISOString().replace(/\.\d+Z$/, "Z"));
    const writer = await this.#driver.writer(path, { append: false });
    const commit = async (): Promise<void> => {
      await writer.commit();
      await this.#driver.move(path, blobData(digest));
      await this.linkBlob(repository, digest);
    };
    const leave = async (): Promise<void> => {
      await writer[Symbol.asyncDispose]();
      await orUndefined(() => this.#driver.delete(uploadFolder(repository, id), { durable: false }));
    };
    return { write: (chunk) => writer.write(chunk), localFile: this.#driver.localFile?.(path), commit, [Symbol.asyncDispose]: leave };
  }

  async #receiveWhole(repository: RepositoryName, digest: Digest): Promise<IncomingBlob> {
    const writer: FileWriter = await this.#driver.create(blobData(digest));
    const commit = async (): Promise<void> => {
      await writer.commit();
      await this.linkBlob(repository, digest);
    };
    return { write: (chunk) => writer.write(chunk), localFile: undefined, commit, [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose]() };
  }
}

async function orUndefined<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}
