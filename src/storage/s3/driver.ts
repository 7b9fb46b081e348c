import { LruMap } from "../../lib/lru.ts";
import { checkRange } from "../byte-range.ts";
import { type ByteRange, DEFAULT_MAX_CONTENT_BYTES, type DirectoryQuery, type FileInfo, type FileWriter, type ListOptions, type ListPage, type RedirectRequest, type StorageDriver } from "../driver.ts";
import { PathNotFoundError } from "../errors.ts";
import { listChildren } from "../object-store/children.ts";
import { DEFAULT_REDIRECT_EXPIRY_MS, type ObjectStoreDeps } from "../object-store/deps.ts";
import { findDirectories } from "../object-store/directories.ts";
import { HeldPaths } from "../object-store/held-paths.ts";
import { type HasObjectKeys, ObjectKeys } from "../object-store/keys.ts";
import { PartBuffers } from "../object-store/part-buffers.ts";
import { readWhole, resumedStream } from "../object-store/resumed-stream.ts";
import type { RetryPolicy } from "../object-store/retry.ts";
import { Bucket, type Content, type ObjectFacts, type Range } from "./bucket.ts";
import { openConnection, type S3Connection } from "./client.ts";
import { completeUpload } from "./complete.ts";
import { CreatedObject } from "./created-object.ts";
import { deleteTree } from "./deletion.ts";
import { orNotFound, S3, S3CallError } from "./errors.ts";
import type { S3Options } from "./options.ts";
import { copyParts, PartUpload, type UploadParts } from "./part-upload.ts";
import { Presigner } from "./presigner.ts";
import { StoreConnectionError } from "./transport.ts";
import { MAX_PARTS, readUnfinished, tailKey, uploadsOf } from "./unfinished.ts";
import { AppendingWriter, discardFile } from "./writer.ts";

/** What the parts of one upload take together, if the chunk size allows two. */
const UPLOAD_BUFFERS_BYTES = 32 * 1024 * 1024;
const MAX_BUFFERS = 6;
/** What all uploads take together, beyond one part each. */
const SHARED_BUFFERS_BYTES = 256 * 1024 * 1024;
/** How many committed files are remembered until they are moved. */
const MAX_COMMITTED = 10_000;

/**
 * Opens a bucket. Nothing is asked of it yet.
 *
 * The objects are distribution's, and so are unfinished uploads: either goes on with what the other began, but for uploads of ours
 * that have no byte yet, of which distribution finds nothing. There is no lock between processes: when two of them write to one
 * upload, the commit of at least one fails, and a committed file has exactly the bytes of one of them.
 */
export async function openS3Driver(options: S3Options, deps: ObjectStoreDeps): Promise<StorageDriver & HasObjectKeys> {
  const connection = await openConnection(options, deps);
  return new S3Driver(connection, options, await Presigner.open(connection, { ...options, expiryMs: deps.redirectExpiryMs ?? DEFAULT_REDIRECT_EXPIRY_MS }));
}

class S3Driver implements StorageDriver, HasObjectKeys {
  readonly name = S3;
  readonly movesByCopy = true;
  readonly #options: S3Options;
  readonly #bucket: Bucket;
  readonly #presigner: Presigner;
  readonly #keys: ObjectKeys;
  readonly #policy: RetryPolicy;
  readonly #uploads: UploadParts;
  readonly #held = new HeldPaths(S3);
  readonly #creating = new Set<PartUpload>();
  /** What writers of this process committed: a move takes no other bytes than those, and need not ask for them. */
  readonly #committed = new LruMap<string, CopySource>(MAX_COMMITTED);

  constructor(connection: S3Connection, options: S3Options, presigner: Presigner) {
    this.#options = options;
    this.#bucket = new Bucket(connection, options);
    this.#presigner = presigner;
    this.#keys = new ObjectKeys(options.rootdirectory);
    // Calls have been tried again when they fail: what is left to be mended are connections that break while content comes.
    this.#policy = { maxRetries: options.maxretries, isTransient: (error) => error instanceof StoreConnectionError };
    this.#uploads = {
      bucket: this.#bucket,
      buffers: new PartBuffers(options.chunksize, SHARED_BUFFERS_BYTES),
      maxBuffers: Math.min(MAX_BUFFERS, Math.max(2, Math.floor(UPLOAD_BUFFERS_BYTES / options.chunksize))),
      copyConcurrency: options.multipartcopymaxconcurrency,
    };
  }

  objectKey(path: string): string {
    return this.#keys.key(path);
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    const whole = { startByte: 0, endByte: Number.POSITIVE_INFINITY };
    const content = await orNotFound(path, () => this.#bucket.open(this.#keys.key(path), whole));
    if (content.lengthBytes > maxBytes) {
      content.close();
      throw new Error(`${S3}: ${path} has ${content.lengthBytes} bytes, more than the ${maxBytes} allowed here`);
    }
    return await readWhole(this.#resumable(path, content, whole));
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    const key = this.#keys.key(path);
    this.#committed.delete(key);
    await this.#bucket.put(key, typeof content === "string" ? Buffer.from(content) : content);
  }

  async reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    const checked = checkRange(S3, path, range);
    if (checked.endByte === checked.startByte) {
      await this.#fileFacts(path);
      return emptyStream();
    }
    try {
      const content = await orNotFound(path, () => this.#bucket.open(this.#keys.key(path), checked));
      return resumedStream(this.#resumable(path, content, checked));
    } catch (error) {
      if (error instanceof S3CallError && error.isPastEnd) return emptyStream();
      throw error;
    }
  }

  async writer(path: string, { append }: { readonly append: boolean }): Promise<FileWriter> {
    const key = this.#keys.key(path);
    const hold = this.#held.take(path);
    try {
      const found = append ? await readUnfinished(this.#bucket, key) : await discardFile({ bucket: this.#bucket, key }, await uploadsOf(this.#bucket, key));
      return new AppendingWriter({ ...this.#uploads, key, hold, policy: this.#policy, committed: (object) => this.#committed.set(key, object) }, found);
    } catch (error) {
      hold[Symbol.dispose]();
      throw error;
    }
  }

  async create(path: string): Promise<FileWriter> {
    const key = this.#keys.key(path);
    const upload = new PartUpload(this.#uploads, key);
    this.#creating.add(upload);
    this.#committed.delete(key);
    return new CreatedObject(upload, () => void this.#creating.delete(upload));
  }

  async stat(path: string): Promise<FileInfo> {
    if (path === "/") return directoryInfo(path);
    const facts = await this.#bucket.head(this.#keys.key(path));
    if (facts !== undefined) return { path, sizeBytes: facts.sizeBytes, modifiedAt: facts.modifiedAt, isDirectory: false };
    // Also tells a missing object from a missing bucket.
    if (await this.#bucket.hasObjects(this.#keys.prefix(path))) return directoryInfo(path);
    throw new PathNotFoundError(S3, path);
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    const page = await listChildren((request) => this.#bucket.listChildren(request), this.#keys.prefix(path), options);
    if (page !== undefined) return page;
    if (path === "/") return { entries: [], next: undefined };
    throw new PathNotFoundError(S3, path);
  }

  async move(source: string, destination: string): Promise<void> {
    const [from, to] = [this.#keys.key(source), this.#keys.key(destination)];
    const committed = this.#committed.get(from);
    if (from === to) return void (await this.#fileFacts(source));
    await this.#copy({ path: source, key: from, ...(committed ?? (await this.#fileFacts(source))) }, to);
    this.#committed.delete(from);
    await this.#bucket.remove(from);
  }

  async delete(path: string): Promise<void> {
    const key = this.#keys.key(path);
    this.#committed.delete(key);
    const inUse = new Set(await Promise.all([...this.#creating].map((upload) => upload.uploadId())));
    await deleteTree(this.#bucket, { path, key, prefix: this.#keys.prefix(path), isInUse: (uploadId) => inUse.has(uploadId) });
  }

  async redirectUrl(path: string, { method }: RedirectRequest): Promise<string> {
    return await this.#presigner.url(this.#keys.key(path), method);
  }

  async *listFiles(path: string): AsyncGenerator<readonly FileInfo[]> {
    for await (const objects of this.#bucket.listObjects(this.#keys.prefix(path))) {
      yield objects.flatMap(({ key, sizeBytes, modifiedAt }) => {
        const filePath = this.#keys.path(key);
        return filePath === undefined ? [] : [{ path: filePath, sizeBytes, modifiedAt, isDirectory: false }];
      });
    }
  }

  findDirectories(path: string, query: DirectoryQuery): AsyncIterable<readonly string[]> {
    return findDirectories({ name: this.name, keys: this.#keys, list: (request) => this.#bucket.listChildren(request) }, path, query);
  }

  async *listUnfinished(path: string): AsyncGenerator<{ readonly path: string; readonly startedAt: Date; abort(): Promise<void> }> {
    for await (const upload of this.#bucket.listUploads(this.#keys.prefix(path))) {
      const filePath = this.#keys.path(upload.key);
      if (filePath === undefined) continue;
      yield {
        path: filePath,
        startedAt: upload.startedAt,
        abort: async () => {
          await this.#bucket.abort(upload);
          await this.#bucket.remove(tailKey(upload.key));
        },
      };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#bucket.close();
  }

  async #fileFacts(path: string): Promise<ObjectFacts> {
    const facts = await this.#bucket.head(this.#keys.key(path));
    if (facts !== undefined) return facts;
    // The answer to HEAD would be the same if the whole bucket were gone.
    await this.#bucket.check();
    throw new PathNotFoundError(S3, path);
  }

  #resumable(path: string, first: Content, range: Range): Parameters<typeof resumedStream>[0] {
    return {
      first,
      lengthBytes: first.lengthBytes,
      reopen: (skipBytes) => orNotFound(path, () => this.#bucket.open(this.#keys.key(path), { startByte: range.startByte + skipBytes, endByte: range.startByte + first.lengthBytes }, { ifMatch: first.etag })),
      policy: this.#policy,
    };
  }

  /** @throws PathNotFoundError when the source is gone, Error when it is no longer the one that is meant */
  async #copy(source: CopySource & { readonly path: string; readonly key: string }, to: string): Promise<void> {
    try {
      await orNotFound(source.path, () => this.#copyObject(source, to));
    } catch (error) {
      if (error instanceof S3CallError && error.isChanged) throw new Error(`${S3}: ${source.path} was written to by somebody else after it was committed`, { cause: error });
      throw error;
    }
  }

  async #copyObject({ key, sizeBytes, etag }: CopySource & { readonly key: string }, to: string): Promise<void> {
    const { multipartcopythresholdsize, multipartcopychunksize, multipartcopymaxconcurrency } = this.#options;
    if (sizeBytes <= multipartcopythresholdsize) return await this.#bucket.copy(key, to, etag);
    const upload = await this.#bucket.createUpload(to);
    const partBytes = Math.max(multipartcopychunksize, Math.ceil(sizeBytes / MAX_PARTS));
    const parts = await copyParts(this.#bucket, upload, { key, sizeBytes, etag, partBytes, concurrency: multipartcopymaxconcurrency });
    try {
      await completeUpload(this.#bucket, upload, parts);
    } catch (error) {
      await this.#bucket.abort(upload).catch(() => undefined);
      throw error;
    }
  }
}

/** Which bytes are to be copied. */
type CopySource = Pick<ObjectFacts, "sizeBytes" | "etag">;

function directoryInfo(path: string): FileInfo {
  return { path, sizeBytes: 0, modifiedAt: new Date(0), isDirectory: true };
}

function emptyStream(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
