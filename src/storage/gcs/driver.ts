import { mapConcurrently } from "../../lib/concurrently.ts";
import { LruMap } from "../../lib/lru.ts";
import { checkRange } from "../byte-range.ts";
import { type ByteRange, DEFAULT_MAX_CONTENT_BYTES, type DirectoryQuery, type FileInfo, type FileWriter, type ListOptions, type ListPage, type RedirectRequest, type StorageDriver } from "../driver.ts";
import { PathNotFoundError } from "../errors.ts";
import { listChildren } from "../object-store/children.ts";
import { CreatedObject } from "../object-store/created-object.ts";
import { DEFAULT_REDIRECT_EXPIRY_MS } from "../object-store/deps.ts";
import { findDirectories } from "../object-store/directories.ts";
import { HeldPaths } from "../object-store/held-paths.ts";
import { type HasObjectKeys, ObjectKeys } from "../object-store/keys.ts";
import { PartBuffers } from "../object-store/part-buffers.ts";
import { readWhole, resumedStream } from "../object-store/resumed-stream.ts";
import { BLOB_TYPE, Bucket, type Content, type ObjectFacts, type Range, SESSION_TYPE } from "./bucket.ts";
import { type GcsConnection, type GcsDeps, openConnection } from "./connection.ts";
import { EMPTY_CRC32C, formatCrc32c, updateCrc32c } from "./crc32c.ts";
import { GCS, GcsCallError, orNotFound } from "./errors.ts";
import type { GcsOptions } from "./options.ts";
import { signedUrl } from "./signed-url.ts";
import { readUnfinished, sessionUriOf } from "./unfinished.ts";
import { Upload, type UploadParts } from "./upload.ts";
import { AppendingWriter, discardFile } from "./writer.ts";

/** What all uploads take together, beyond one chunk each. */
const SHARED_BUFFERS_BYTES = 256 * 1024 * 1024;
/** How many committed files are remembered until they are moved. */
const MAX_COMMITTED = 10_000;
const WHOLE: Range = { startByte: 0, endByte: Number.POSITIVE_INFINITY };

/**
 * Opens a bucket. Nothing is asked of it yet.
 *
 * The objects are distribution's, and so are unfinished uploads: either goes on with what the other began, but for uploads of ours
 * that have no byte yet, of which distribution finds nothing. There is no lock between processes: when two of them write to one
 * upload, all but one fail, and a committed file has exactly the bytes of one of them. Every trace of an unfinished write is an object,
 * which `list` shows and `delete` deletes, and which is no file yet to everybody else.
 */
export async function openGcsDriver(options: GcsOptions, deps: GcsDeps): Promise<StorageDriver & HasObjectKeys> {
  return new GcsDriver(await openConnection(options, deps), options, deps.redirectExpiryMs ?? DEFAULT_REDIRECT_EXPIRY_MS);
}

class GcsDriver implements StorageDriver, HasObjectKeys {
  readonly name = GCS;
  readonly #options: GcsOptions;
  readonly #connection: GcsConnection;
  readonly #redirectExpiryMs: number;
  readonly #bucket: Bucket;
  readonly #keys: ObjectKeys;
  readonly #uploads: UploadParts;
  readonly #held = new HeldPaths(GCS);
  /** The generations that writers of this process committed: a move takes no other bytes than those. */
  readonly #committed = new LruMap<string, string>(MAX_COMMITTED);

  constructor(connection: GcsConnection, options: GcsOptions, redirectExpiryMs: number) {
    this.#options = options;
    this.#connection = connection;
    this.#redirectExpiryMs = redirectExpiryMs;
    this.#bucket = new Bucket(connection, options.bucket, options.maxconcurrency);
    this.#keys = new ObjectKeys(options.rootdirectory);
    this.#uploads = { bucket: this.#bucket, buffers: new PartBuffers(options.chunksize, SHARED_BUFFERS_BYTES) };
  }

  objectKey(path: string): string {
    return this.#keys.key(path);
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    const content = await this.#open(path, WHOLE);
    if (content.lengthBytes > maxBytes) {
      content.close();
      throw new Error(`${GCS}: ${path} has ${content.lengthBytes} bytes, more than the ${maxBytes} allowed here`);
    }
    const bytes = await readWhole(this.#resumable(path, content, WHOLE));
    if (content.crc32c !== undefined && content.crc32c !== formatCrc32c(updateCrc32c(EMPTY_CRC32C, bytes))) throw new Error(`${GCS}: ${path} did not come as it is stored: the checksum is another`);
    return bytes;
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    const bytes = typeof content === "string" ? Buffer.from(content) : content;
    await this.#bucket.put(this.#keys.key(path), { bytes, contentType: BLOB_TYPE, crc32c: formatCrc32c(updateCrc32c(EMPTY_CRC32C, bytes)) });
  }

  async reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    const checked = checkRange(GCS, path, range);
    try {
      if (checked.endByte > checked.startByte) return resumedStream(this.#resumable(path, await this.#open(path, checked), checked));
    } catch (error) {
      if (!(error instanceof GcsCallError && error.isPastEnd)) throw error;
    }
    await this.#fileFacts(path);
    return emptyStream();
  }

  async writer(path: string, { append }: { readonly append: boolean }): Promise<FileWriter> {
    const key = this.#keys.key(path);
    const hold = this.#held.take(path);
    try {
      const found = await readUnfinished(this.#bucket, key);
      const parts = { ...this.#uploads, key, hold, committed: (generation: string) => this.#committed.set(key, generation) };
      return new AppendingWriter(parts, append || found.kind === "nothing" ? found : await discardFile(parts, found));
    } catch (error) {
      hold[Symbol.dispose]();
      throw error;
    }
  }

  async create(path: string): Promise<FileWriter> {
    return new CreatedObject(GCS, new Upload(this.#uploads, this.#keys.key(path)), () => undefined);
  }

  async stat(path: string): Promise<FileInfo> {
    if (path === "/") return directoryInfo(path);
    const facts = await this.#bucket.stat(this.#keys.key(path));
    if (facts !== undefined && facts.contentType !== SESSION_TYPE) return fileInfo(path, facts);
    if (await this.#bucket.hasObjects(this.#keys.prefix(path))) return directoryInfo(path);
    throw new PathNotFoundError(GCS, path);
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    const page = await listChildren((request) => this.#bucket.listChildren(request), this.#keys.prefix(path), { ...options, seeks: true });
    if (page !== undefined) return page;
    if (path === "/") return { entries: [], next: undefined };
    throw new PathNotFoundError(GCS, path);
  }

  async move(source: string, destination: string): Promise<void> {
    const [from, to] = [this.#keys.key(source), this.#keys.key(destination)];
    const { generation } = await this.#fileFacts(source);
    const committed = this.#committed.get(from);
    if (committed !== undefined && committed !== generation) throw new Error(`${GCS}: ${source} was written to by somebody else after it was committed`);
    if (from === to) return;
    await this.#bucket.copy({ key: from, generation }, to);
    await this.#bucket.remove(from, generation);
    this.#committed.delete(from);
  }

  async delete(path: string): Promise<void> {
    const file = await this.#bucket.stat(this.#keys.key(path));
    if (file !== undefined) await this.#remove(file);
    let count = file === undefined ? 0 : 1;
    for await (const page of this.#bucket.listObjects(this.#keys.prefix(path))) {
      count += page.length;
      await mapConcurrently(page, this.#options.maxconcurrency, (object) => this.#remove(object));
    }
    if (count === 0) throw new PathNotFoundError(GCS, path);
  }

  async redirectUrl(path: string, { method }: RedirectRequest): Promise<string | undefined> {
    const { signingKey, endpoint } = this.#connection;
    if (signingKey === undefined) return undefined;
    return await signedUrl(signingKey, { endpoint, bucket: this.#options.bucket, key: this.#keys.key(path), method, now: new Date(), expiryMs: this.#redirectExpiryMs });
  }

  async *listFiles(path: string): AsyncGenerator<readonly FileInfo[]> {
    for await (const objects of this.#bucket.listObjects(this.#keys.prefix(path))) {
      yield objects.flatMap((object) => {
        const filePath = object.contentType === SESSION_TYPE ? undefined : this.#keys.path(object.key);
        return filePath === undefined ? [] : [fileInfo(filePath, object)];
      });
    }
  }

  findDirectories(path: string, query: DirectoryQuery): AsyncIterable<readonly string[]> {
    return findDirectories({ name: this.name, keys: this.#keys, list: (request) => this.#bucket.listChildren(request) }, path, query);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#bucket.close();
  }

  /** Opens a file's content. @throws PathNotFoundError, also for a file that is not finished */
  async #open(path: string, range: Range, generation?: string): Promise<Content> {
    const content = await orNotFound(path, () => this.#bucket.open(this.#keys.key(path), range, generation));
    if (content.contentType !== SESSION_TYPE) return content;
    content.close();
    throw new PathNotFoundError(GCS, path);
  }

  async #fileFacts(path: string): Promise<ObjectFacts> {
    return await orNotFound(path, async () => {
      const facts = await this.#bucket.stat(this.#keys.key(path));
      return facts?.contentType === SESSION_TYPE ? undefined : facts;
    });
  }

  #resumable(path: string, first: Content, range: Range): Parameters<typeof resumedStream>[0] {
    return {
      first,
      lengthBytes: first.lengthBytes,
      reopen: (skipBytes) => this.#open(path, { startByte: range.startByte + skipBytes, endByte: range.startByte + first.lengthBytes }, first.generation),
      policy: this.#bucket.policy,
    };
  }

  async #remove(object: ObjectFacts): Promise<void> {
    const uri = sessionUriOf(object);
    // The store forgets sessions by itself after a week; the object is what must go.
    if (uri !== undefined) await this.#bucket.cancelSession(uri).catch(() => undefined);
    await this.#bucket.remove(object.key);
  }
}

function fileInfo(path: string, { sizeBytes, modifiedAt }: ObjectFacts): FileInfo {
  return { path, sizeBytes, modifiedAt, isDirectory: false };
}

function directoryInfo(path: string): FileInfo {
  return { path, sizeBytes: 0, modifiedAt: new Date(0), isDirectory: true };
}

function emptyStream(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
