import { LruMap } from "../../../lib/lru.ts";
import { checkRange } from "../../byte-range.ts";
import { type ByteRange, DEFAULT_MAX_CONTENT_BYTES, type DirectoryQuery, type FileInfo, type FileWriter, type ListOptions, type ListPage, type RedirectRequest, type StorageDriver } from "../../driver.ts";
import { PathNotFoundError } from "../../errors.ts";
import { listChildren } from "../children.ts";
import { CreatedObject } from "../created-object.ts";
import { findDirectories } from "../directories.ts";
import { HeldPaths } from "../held-paths.ts";
import { type HasObjectKeys, ObjectKeys } from "../keys.ts";
import { PartBuffers } from "../part-buffers.ts";
import { readWhole, resumedStream } from "../resumed-stream.ts";
import type { Content, MultipartBucket, ObjectFacts, Range } from "./bucket.ts";
import { deleteTree } from "./deletion.ts";
import { copyParts, PartUpload, type UploadParts } from "./part-upload.ts";
import { readUnfinished, tailKey, uploadsOf } from "./unfinished.ts";
import { AppendingWriter, discardFile } from "./writer.ts";

/** What the parts of one upload take together, if the chunk size allows two. */
const UPLOAD_BUFFERS_BYTES = 24 * 1024 * 1024;
const MAX_BUFFERS = 6;
/** What all uploads take together, beyond one part each. */
const SHARED_BUFFERS_BYTES = 256 * 1024 * 1024;
/** How many committed files are remembered until they are moved. */
const MAX_COMMITTED = 10_000;

/** What a driver is made of. */
export interface MultipartDriverParts {
  readonly bucket: MultipartBucket;
  readonly rootdirectory: string;
  /** Size of the parts of an upload. */
  readonly chunkBytes: number;
  readonly copying: CopyRules;
  /** Makes a URL at which clients fetch an object themselves. Whether it is there is not looked at. */
  readonly urlOf: (key: string, method: RedirectRequest["method"]) => Promise<string>;
}

/** How objects are copied within the store. */
export interface CopyRules {
  /** Larger objects are copied in parts. */
  readonly thresholdBytes: number;
  readonly partBytes: number;
  /** Parts at once. */
  readonly concurrency: number;
}

/**
 * A driver on a bucket with multipart uploads. There is no lock between processes: when two of them write to one upload, the commit of
 * at least one fails, and a committed file has exactly the bytes of one of them.
 */
export class MultipartDriver implements StorageDriver, HasObjectKeys {
  readonly name: string;
  readonly #bucket: MultipartBucket;
  readonly #keys: ObjectKeys;
  readonly #copying: CopyRules;
  readonly #urlOf: MultipartDriverParts["urlOf"];
  readonly #uploads: UploadParts;
  readonly #held: HeldPaths;
  readonly #creating = new Set<PartUpload>();
  /** What writers of this process committed: a move takes no other bytes than those, and need not ask for them. */
  readonly #committed = new LruMap<string, CopySource>(MAX_COMMITTED);

  constructor({ bucket, rootdirectory, chunkBytes, copying, urlOf }: MultipartDriverParts) {
    this.name = bucket.name;
    this.#bucket = bucket;
    this.#keys = new ObjectKeys(rootdirectory);
    this.#copying = copying;
    this.#urlOf = urlOf;
    this.#held = new HeldPaths(bucket.name);
    this.#uploads = {
      bucket,
      buffers: new PartBuffers(chunkBytes, SHARED_BUFFERS_BYTES),
      maxBuffers: Math.min(MAX_BUFFERS, Math.max(2, Math.floor(UPLOAD_BUFFERS_BYTES / chunkBytes))),
      copyConcurrency: copying.concurrency,
    };
  }

  objectKey(path: string): string {
    return this.#keys.key(path);
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    const whole = { startByte: 0, endByte: Number.POSITIVE_INFINITY };
    const content = await this.#open(path, whole);
    if (content.lengthBytes > maxBytes) {
      content.close();
      throw new Error(`${this.name}: ${path} has ${content.lengthBytes} bytes, more than the ${maxBytes} allowed here`);
    }
    return await readWhole(this.#resumable(path, content, whole));
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    const key = this.#keys.key(path);
    this.#committed.delete(key);
    await this.#bucket.put(key, typeof content === "string" ? Buffer.from(content) : content);
  }

  async reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    const checked = checkRange(this.name, path, range);
    if (checked.endByte === checked.startByte) {
      await this.#fileFacts(path);
      return emptyStream();
    }
    return resumedStream(this.#resumable(path, await this.#open(path, checked), checked));
  }

  async writer(path: string, { append }: { readonly append: boolean }): Promise<FileWriter> {
    const key = this.#keys.key(path);
    const hold = this.#held.take(path);
    try {
      const found = append ? await readUnfinished(this.#bucket, key) : await discardFile({ bucket: this.#bucket, key }, await uploadsOf(this.#bucket, key));
      return new AppendingWriter({ ...this.#uploads, key, hold, committed: (object) => this.#committed.set(key, object) }, found);
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
    return new CreatedObject(this.name, upload, () => void this.#creating.delete(upload));
  }

  async stat(path: string): Promise<FileInfo> {
    if (path === "/") {
      // It is always there, but the store may not be: this is what health is judged by.
      await this.#bucket.check();
      return directoryInfo(path);
    }
    const facts = await this.#bucket.head(this.#keys.key(path));
    if (facts !== undefined) return { path, sizeBytes: facts.sizeBytes, modifiedAt: facts.modifiedAt, isDirectory: false };
    // Also tells a missing object from a missing bucket.
    if (await this.#bucket.hasObjects(this.#keys.prefix(path))) return directoryInfo(path);
    throw new PathNotFoundError(this.name, path);
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    const page = await listChildren((request) => this.#bucket.listChildren(request), this.#keys.prefix(path), { ...options, seeks: true });
    if (page !== undefined) return page;
    if (path === "/") return { entries: [], next: undefined };
    throw new PathNotFoundError(this.name, path);
  }

  async move(source: string, destination: string): Promise<void> {
    const [from, to] = [this.#keys.key(source), this.#keys.key(destination)];
    if (from === to) return void (await this.#fileFacts(source));
    await this.#copy({ path: source, key: from, ...(this.#committed.get(from) ?? (await this.#fileFacts(source))) }, to);
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
    return await this.#urlOf(this.#keys.key(path), method);
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
    throw new PathNotFoundError(this.name, path);
  }

  async #open(path: string, range: Range, conditions: { readonly ifMatch?: string } = {}): Promise<Content> {
    const content = await this.#bucket.open(this.#keys.key(path), range, conditions);
    if (content === undefined) throw new PathNotFoundError(this.name, path);
    return content;
  }

  #resumable(path: string, first: Content, range: Range): Parameters<typeof resumedStream>[0] {
    return {
      first,
      lengthBytes: first.lengthBytes,
      reopen: (skipBytes) => this.#open(path, { startByte: range.startByte + skipBytes, endByte: range.startByte + first.lengthBytes }, { ifMatch: first.etag }),
      policy: this.#bucket.policy,
    };
  }

  /** @throws PathNotFoundError when the source is gone, Error when it is no longer the one that is meant */
  async #copy(source: NamedSource & { readonly path: string }, to: string): Promise<void> {
    try {
      await this.#copyObject(source, to);
    } catch (error) {
      switch (this.#bucket.whyNotRead(error)) {
        case "missing":
          throw new PathNotFoundError(this.name, source.path, error);
        case "changed":
          throw new Error(`${this.name}: ${source.path} was written to by somebody else after it was committed`, { cause: error });
        case undefined:
          throw error;
      }
    }
  }

  async #copyObject({ key, sizeBytes, etag }: NamedSource, to: string): Promise<void> {
    const { thresholdBytes, partBytes, concurrency } = this.#copying;
    if (sizeBytes <= thresholdBytes) return await this.#bucket.copy(key, to, etag);
    const upload = await this.#bucket.createUpload(to);
    const parts = await copyParts(this.#bucket, upload, { key, sizeBytes, etag, partBytes: Math.max(partBytes, Math.ceil(sizeBytes / this.#bucket.limits.maxParts)), concurrency });
    try {
      await this.#bucket.complete(upload, parts);
    } catch (error) {
      await this.#bucket.abort(upload).catch(() => undefined);
      throw error;
    }
  }
}

/** Which bytes are to be copied. */
type CopySource = Pick<ObjectFacts, "sizeBytes" | "etag">;
type NamedSource = CopySource & { readonly key: string };

function directoryInfo(path: string): FileInfo {
  return { path, sizeBytes: 0, modifiedAt: new Date(0), isDirectory: true };
}

function emptyStream(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
