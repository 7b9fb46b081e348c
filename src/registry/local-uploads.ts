import type { Clock } from "../lib/clock.ts";
import { waitForAll } from "../lib/concurrently.ts";
import { LruMap } from "../lib/lru.ts";
import { algorithmOf, type Digest, type DigestAlgorithm, digestOf } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError, WriterBusyError } from "../storage/errors.ts";
import type { Logger } from "../telemetry/log.ts";
import type { BlobLinks } from "./blob-links.ts";
import type { BlobStore } from "./blob-store.ts";
import type { ContentGate } from "./content-gate.ts";
import { KeptHashes } from "./kept-hashes.ts";
import { blobData, uploadData } from "./layout.ts";
import type { AppendOptions, BlobInfo, ByteSource, UploadInfo, Uploads } from "./registry.ts";
import { SharedBuffers } from "./shared-buffers.ts";
import { withStorageErrors } from "./storage-errors.ts";
import { type BodyHead, headBytes, readHead, UploadBody } from "./upload-body.ts";
import { unknownUpload, UploadFolders, type UploadKey } from "./upload-folder.ts";
import { UploadHasher } from "./upload-hash.ts";
import { uploadBusy, UploadHolds } from "./upload-hold.ts";
import { landBody } from "./upload-landing.ts";
import { type SessionParts, UploadSession } from "./upload-session.ts";

const MAX_DAMAGED = 1000;

/** What uploads are made of. */
export interface LocalUploadsParts {
  readonly driver: StorageDriver;
  readonly store: BlobStore;
  readonly links: BlobLinks;
  readonly gate: ContentGate;
  readonly log: Logger;
  readonly clock: Clock;
  /** How many threads hash large uploads. */
  readonly hashThreads: number;
}

/** Blobs on their way into the store. */
export class LocalUploads implements Uploads, AsyncDisposable {
  readonly #log: Logger;
  readonly #store: BlobStore;
  readonly #links: BlobLinks;
  readonly #gate: ContentGate;
  readonly #holds: UploadHolds;
  /** Blobs that were found to be too short or too long; the next push of one writes it anew. */
  readonly #damaged = new LruMap<Digest, true>(MAX_DAMAGED);
  readonly #session: SessionParts;

  constructor(parts: LocalUploadsParts) {
    this.#log = parts.log;
    this.#store = parts.store;
    this.#links = parts.links;
    this.#gate = parts.gate;
    this.#holds = new UploadHolds(parts.clock);
    this.#session = {
      driver: parts.driver,
      folders: new UploadFolders(parts.driver, parts.clock),
      store: parts.store,
      hasher: new UploadHasher(parts.log, parts.hashThreads),
      kept: new KeptHashes(parts.clock),
      buffers: new SharedBuffers(),
    };
  }

  async start(name: RepositoryName, options: { readonly algorithm?: DigestAlgorithm } = {}): Promise<UploadInfo> {
    const { folders, hasher, kept } = this.#session;
    const id = Bun.randomUUIDv7();
    const startedAt = await withStorageErrors(() => folders.create({ name, id }));
    if (options.algorithm !== undefined) kept.keep(id, { hash: hasher.begin(options.algorithm), modifiedAtMs: undefined, contentTag: undefined });
    return { id, sizeBytes: 0, startedAt };
  }

  async status(name: RepositoryName, id: string): Promise<UploadInfo> {
    const { folders } = this.#session;
    const startedAt = await folders.startedAt({ name, id });
    const heldSize = this.#holds.find(holdKey({ name, id }))?.sizeBytes;
    if (heldSize !== undefined) return { id, sizeBytes: heldSize, startedAt };
    using hold = await this.#holds.take(holdKey({ name, id }));
    try {
      const sizeBytes = await folders.storedSize({ name, id });
      hold.observe(() => sizeBytes);
      return { id, sizeBytes, startedAt };
    } catch (error) {
      if (!(error instanceof WriterBusyError)) throw error;
      throw new RegistryError("UNAVAILABLE", { detail: "another instance writes to this upload", headers: { "retry-after": "1" }, cause: error });
    }
  }

  async append(name: RepositoryName, id: string, body: ByteSource, options: AppendOptions): Promise<UploadInfo> {
    const key = { name, id };
    using hold = await this.#holds.take(holdKey(key), { signal: options.signal });
    return await this.#whileOurs(key, async () => {
      const startedAt = await this.#session.folders.startedAt(key);
      await using session = await UploadSession.open(this.#session, key, { hold, algorithm: "sha256" });
      session.checkOffset(options.offset);
      await session.append(body, options);
      const { sizeBytes } = session;
      await session.suspend();
      return { id, sizeBytes, startedAt };
    });
  }

  async finish(name: RepositoryName, id: string, body: ByteSource | undefined, options: AppendOptions & { readonly digest: Digest }): Promise<BlobInfo> {
    const key = { name, id };
    using hold = await this.#holds.take(holdKey(key), { signal: options.signal });
    return await this.#whileOurs(key, async () => {
      await this.#session.folders.startedAt(key);
      await using session = await UploadSession.open(this.#session, key, { hold, algorithm: algorithmOf(options.digest) });
      session.checkOffset(options.offset);
      if (body !== undefined && session.sizeBytes === 0 && this.#session.driver.movesByCopy === true) {
        return await this.#finishAtOnce(session, key, { digest: options.digest, body: new UploadBody(body, { hold, lengthBytes: options.lengthBytes }) });
      }
      if (body !== undefined) await session.append(body, options);
      const { sizeBytes } = session;
      if (!(await session.proves(options.digest))) {
        await session.discard();
        throw digestMismatch(options.digest);
      }
      await this.#settle(session, key, { digest: options.digest, sizeBytes });
      return { digest: options.digest, sizeBytes };
    });
  }

  async cancel(name: RepositoryName, id: string): Promise<void> {
    const key = { name, id };
    await this.#session.folders.startedAt(key);
    using _hold = await this.#holds.take(holdKey(key), { evict: true });
    try {
      await this.#session.folders.discard(key);
    } catch (error) {
      throw error instanceof WriterBusyError ? uploadBusy(undefined, error) : error;
    }
    this.#session.kept.drop(id);
  }

  async put(name: RepositoryName, source: ByteSource, digest: Digest): Promise<BlobInfo> {
    return await withStorageErrors(() => this.#putBody(name, new UploadBody(source), digest));
  }

  /** Whether a request of this process is writing to an upload. */
  isHeld(key: UploadKey): boolean {
    return this.#holds.find(holdKey(key)) !== undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session.kept[Symbol.dispose]();
    await this.#session.hasher[Symbol.asyncDispose]();
  }

  /** Runs what writes to an upload. That another process took it over or deleted it, is told in the client's terms. */
  async #whileOurs<T>(key: UploadKey, work: () => Promise<T>): Promise<T> {
    try {
      return await withStorageErrors(work);
    } catch (error) {
      if (error instanceof WriterBusyError) throw uploadBusy((await this.#session.folders.stat(key))?.sizeBytes, error);
      if (error instanceof PathNotFoundError && error.path === uploadData(key.name, key.id)) throw unknownUpload(error);
      throw error;
    }
  }

  /**
   * Ends an upload whose bytes come all with its end: they are stored as the blob at once, as the store would have to copy them. When
   * the client goes away meanwhile, the upload is where it was: at its beginning.
   */
  async #finishAtOnce(session: UploadSession, key: UploadKey, blob: { readonly digest: Digest; readonly body: UploadBody }): Promise<BlobInfo> {
    try {
      const stored = await this.#putBody(key.name, blob.body, blob.digest);
      await this.#removeFinished(session, key);
      return stored;
    } catch (error) {
      if (error instanceof RegistryError && error.code === "DIGEST_INVALID") await session.discard();
      throw error;
    }
  }

  async #putBody(name: RepositoryName, body: UploadBody, digest: Digest): Promise<BlobInfo> {
    try {
      const head = await readHead(body);
      if (head.failure !== undefined) throw head.failure;
      const sizeBytes = head.goesOn ? await this.#putLarge(name, digest, { head, body }) : await this.#putSmall(name, digest, headBytes(head));
      return { digest, sizeBytes };
    } finally {
      await body.close();
    }
  }

  /** Makes a proven upload a blob of the repository. Bytes and link become durable side by side: a link alone is a 404. */
  async #settle(session: UploadSession, key: UploadKey, blob: BlobInfo): Promise<void> {
    const { digest, sizeBytes } = blob;
    const adopt = async (): Promise<void> => {
      // Of nothing, a store need not have kept a file that could be moved.
      if (sizeBytes === 0) return await this.#store.write(digest, new Uint8Array());
      await session.commit();
      await this.#store.adopt(uploadData(key.name, key.id), digest);
    };
    await this.#gate.keepOrWait(digest);
    if ((await this.#store.storedSize(digest)) === sizeBytes) {
      await this.#links.link(key.name, digest);
      // Whoever deletes without asking may have taken the bytes that we counted on before the link was there.
      if ((await this.#store.storedSize(digest)) !== sizeBytes) await adopt();
    } else {
      await waitForAll(adopt(), this.#links.link(key.name, digest));
    }
    await this.#store.remember(digest, sizeBytes);
    await this.#removeFinished(session, key);
  }

  async #removeFinished(session: UploadSession, key: UploadKey): Promise<void> {
    try {
      await session.discard();
    } catch (error) {
      this.#log.warn("finished upload could not be removed", { "vars.name": key.name, "vars.uuid": key.id, "err.message": String(error) });
    }
  }

  async #putSmall(name: RepositoryName, digest: Digest, bytes: Uint8Array): Promise<number> {
    if (digestOf(bytes, algorithmOf(digest)) !== digest) throw digestMismatch(digest);
    await this.#gate.keepOrWait(digest);
    if ((await this.#store.storedSize(digest)) === bytes.length) {
      await this.#links.link(name, digest);
      if ((await this.#store.storedSize(digest)) === bytes.length) return bytes.length;
    }
    await waitForAll(this.#store.write(digest, bytes), this.#links.link(name, digest));
    return bytes.length;
  }

  async #putLarge(name: RepositoryName, digest: Digest, incoming: { readonly head: BodyHead; readonly body: UploadBody }): Promise<number> {
    const { hasher, buffers } = this.#session;
    using hash = hasher.begin(algorithmOf(digest));
    const isStored = this.#damaged.get(digest) === undefined && (await this.#store.storedSize(digest)) !== undefined;
    // What is stored already is only compared: a client must have the bytes to make them readable in its repository.
    await using writer = isStored ? undefined : await this.#store.create(digest);
    const sink = async (bytes: Uint8Array): Promise<void> => {
      const hashed = hash.update(bytes);
      try {
        await writer?.write(bytes);
      } finally {
        await hashed;
      }
    };
    await landBody(incoming.head, incoming.body, { sink, buffers });
    const { sizeBytes } = hash;
    const actual = await hash.digest();
    if (actual === undefined) throw new Error("the running hash of a blob was lost");
    if (actual !== digest) throw digestMismatch(digest);
    await this.#gate.keepOrWait(digest);
    await waitForAll(writer?.commit() ?? Promise.resolve(), this.#links.link(name, digest));
    if (writer === undefined) await this.#checkStored(digest, sizeBytes);
    else this.#damaged.delete(digest);
    await this.#store.remember(digest, sizeBytes);
    return sizeBytes;
  }

  async #checkStored(digest: Digest, sizeBytes: number): Promise<void> {
    const stored = await this.#store.storedSize(digest);
    if (stored === sizeBytes) return;
    if (stored !== undefined) {
      this.#log.error("stored blob has a wrong size", { path: blobData(digest), "size.bytes": stored, "expected.bytes": sizeBytes });
      this.#damaged.set(digest, true);
    }
    throw new RegistryError("UNAVAILABLE", { detail: "the stored copy of this blob went away: push it again", headers: { "retry-after": "1" } });
  }
}

function holdKey(key: UploadKey): string {
  return `${key.name}@${key.id}`;
}

function digestMismatch(digest: Digest): RegistryError {
  return new RegistryError("DIGEST_INVALID", { detail: `invalid digest for referenced layer: ${digest}, content does not match digest` });
}
