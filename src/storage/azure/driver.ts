import { mapConcurrently } from "../../lib/concurrently.ts";
import { LruMap } from "../../lib/lru.ts";
import { checkRange } from "../byte-range.ts";
import { type ByteRange, DEFAULT_MAX_CONTENT_BYTES, type DirectoryQuery, type FileInfo, type FileWriter, type ListOptions, type ListPage, type RedirectRequest, type StorageDriver } from "../driver.ts";
import { PathNotFoundError } from "../errors.ts";
import { listChildren } from "../object-store/children.ts";
import { findDirectories } from "../object-store/directories.ts";
import { HeldPaths } from "../object-store/held-paths.ts";
import type { HasObjectKeys, ObjectKeys } from "../object-store/keys.ts";
import { CreatedObject } from "../object-store/created-object.ts";
import { PartBuffers } from "../object-store/part-buffers.ts";
import { readWhole, resumedStream } from "../object-store/resumed-stream.ts";
import { AppendWriter } from "./append-writer.ts";
import { type AzureDeps, openConnection } from "./connection.ts";
import { type BlobFacts, Container, type Content, type Range } from "./container.ts";
import { type CopyRules, copyBlob } from "./copy.ts";
import { AZURE, AzureCallError, orNotFound } from "./errors.ts";
import { LayoutCheck, objectKeysOf } from "./layout.ts";
import type { AzureOptions } from "./options.ts";
import { RewriteWriter } from "./rewrite-writer.ts";
import { StagedUpload, type UploadParts } from "./upload.ts";

/** Every version of the service takes blocks of this size, appended or staged. */
const BLOCK_BYTES = 4 * 1024 * 1024;
/** What all uploads take together, beyond one block each. */
const SHARED_BUFFERS_BYTES = 256 * 1024 * 1024;
/** How many committed files are remembered until they are moved. */
const MAX_COMMITTED = 10_000;
/** Blobs of a directory that are deleted at once. */
const DELETIONS_AT_ONCE = 32;
const WHOLE: Range = { startByte: 0, endByte: Number.POSITIVE_INFINITY };

/**
 * Opens a container. Nothing is asked of it yet.
 *
 * The blobs are distribution's, and so are unfinished uploads, which are append blobs: either goes on with what the other began, but
 * for uploads of ours that have no byte yet, of which distribution finds nothing. There is no lock between processes: when two of them
 * write to one upload, all but one fail. Every trace of an unfinished write is a blob that `list` shows and `delete` deletes; only blocks
 * of a `create` that was not committed are not shown, and are forgotten by the store after a week.
 */
export async function openAzureDriver(options: AzureOptions, deps: AzureDeps): Promise<StorageDriver & HasObjectKeys> {
  const container = new Container(await openConnection(options, deps));
  return new AzureDriver(container, options, new LayoutCheck(container, options, deps.log));
}

class AzureDriver implements StorageDriver, HasObjectKeys {
  readonly name = AZURE;
  readonly #container: Container;
  readonly #keys: ObjectKeys;
  readonly #layout: LayoutCheck;
  readonly #copying: CopyRules;
  readonly #uploads: UploadParts;
  readonly #held = new HeldPaths(AZURE);
  /** The ETags of what writers of this process committed: a move takes no other bytes than those. */
  readonly #committed = new LruMap<string, string>(MAX_COMMITTED);

  constructor(container: Container, options: AzureOptions, layout: LayoutCheck) {
    this.#container = container;
    this.#layout = layout;
    this.#keys = objectKeysOf(options);
    this.#copying = { maxLooks: options.max_retries, pauseMs: options.retry_delay };
    this.#uploads = { container, buffers: new PartBuffers(BLOCK_BYTES, SHARED_BUFFERS_BYTES) };
  }

  objectKey(path: string): string {
    return this.#keys.key(path);
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    const content = await this.#open(path, WHOLE);
    if (content.lengthBytes > maxBytes) {
      content.close();
      throw new Error(`${AZURE}: ${path} has ${content.lengthBytes} bytes, more than the ${maxBytes} allowed here`);
    }
    return await readWhole(this.#resumable(path, content, WHOLE));
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    await this.#container.put(this.#keys.key(path), typeof content === "string" ? Buffer.from(content) : content);
  }

  async reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    const checked = checkRange(AZURE, path, range);
    try {
      if (checked.endByte > checked.startByte) return resumedStream(this.#resumable(path, await this.#open(path, checked), checked));
    } catch (error) {
      if (!(error instanceof AzureCallError && error.isPastEnd)) throw error;
    }
    await this.#fileFacts(path);
    return emptyStream();
  }

  async writer(path: string, { append }: { readonly append: boolean }): Promise<FileWriter> {
    const key = this.#keys.key(path);
    const hold = this.#held.take(path);
    try {
      const parts = { ...this.#uploads, key, hold, committed: (etag: string) => this.#committed.set(key, etag) };
      if (!append) await this.#container.remove(key);
      const found = append ? await this.#container.stat(key) : undefined;
      return found?.isAppendable === false ? new RewriteWriter(parts, found) : new AppendWriter(parts, found);
    } catch (error) {
      hold[Symbol.dispose]();
      throw error;
    }
  }

  async create(path: string): Promise<FileWriter> {
    return new CreatedObject(AZURE, new StagedUpload(this.#uploads, this.#keys.key(path)), () => undefined);
  }

  async stat(path: string): Promise<FileInfo> {
    if (path === "/") return directoryInfo(path);
    const facts = await this.#container.stat(this.#keys.key(path));
    if (facts !== undefined) return fileInfo(path, facts);
    if (await this.#container.hasBlobs(this.#keys.prefix(path))) return directoryInfo(path);
    await this.#layout.missed();
    throw new PathNotFoundError(AZURE, path);
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    const page = await listChildren((request) => this.#container.listChildren(request), this.#keys.prefix(path), options);
    if (page !== undefined) return page;
    await this.#layout.missed();
    if (path === "/") return { entries: [], next: undefined };
    throw new PathNotFoundError(AZURE, path);
  }

  async move(source: string, destination: string): Promise<void> {
    const [key, to] = [this.#keys.key(source), this.#keys.key(destination)];
    const { etag } = await this.#fileFacts(source);
    const committed = this.#committed.get(key);
    if (committed !== undefined && committed !== etag) throw new Error(`${AZURE}: ${source} was written to by somebody else after it was committed`);
    if (key === to) return;
    await copyBlob(this.#container, { key, etag, destination: to }, this.#copying);
    await this.#container.remove(key, etag);
    this.#committed.delete(key);
  }

  async delete(path: string): Promise<void> {
    let count = (await this.#container.remove(this.#keys.key(path))) ? 1 : 0;
    for await (const blobs of this.#container.listBlobs(this.#keys.prefix(path))) {
      count += blobs.length;
      await mapConcurrently(blobs, DELETIONS_AT_ONCE, ({ key }) => this.#container.remove(key));
    }
    if (count === 0) throw new PathNotFoundError(AZURE, path);
  }

  async redirectUrl(path: string, _request: RedirectRequest): Promise<string | undefined> {
    return await this.#container.readUrl(this.#keys.key(path));
  }

  async *listFiles(path: string): AsyncGenerator<readonly FileInfo[]> {
    for await (const blobs of this.#container.listBlobs(this.#keys.prefix(path))) {
      yield blobs.flatMap((blob) => {
        const filePath = this.#keys.path(blob.key);
        return filePath === undefined ? [] : [fileInfo(filePath, blob)];
      });
    }
  }

  findDirectories(path: string, query: DirectoryQuery): AsyncIterable<readonly string[]> {
    return findDirectories({ name: this.name, keys: this.#keys, list: (request) => this.#container.listChildren(request) }, path, query);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#container.close();
  }

  async #open(path: string, range: Range, ifMatch?: string): Promise<Content> {
    const content = await this.#container.open(this.#keys.key(path), range, ifMatch);
    if (content !== undefined) return content;
    await this.#layout.missed();
    throw new PathNotFoundError(AZURE, path);
  }

  async #fileFacts(path: string): Promise<BlobFacts> {
    return await orNotFound(path, () => this.#container.stat(this.#keys.key(path)));
  }

  #resumable(path: string, first: Content, range: Range): Parameters<typeof resumedStream>[0] {
    return {
      first,
      lengthBytes: first.lengthBytes,
      reopen: (skipBytes) => this.#open(path, { startByte: range.startByte + skipBytes, endByte: range.startByte + first.lengthBytes }, first.etag),
      policy: this.#container.policy,
    };
  }
}

function fileInfo(path: string, { sizeBytes, modifiedAt }: BlobFacts): FileInfo {
  return { path, sizeBytes, modifiedAt, isDirectory: false };
}

function directoryInfo(path: string): FileInfo {
  return { path, sizeBytes: 0, modifiedAt: new Date(0), isDirectory: true };
}

function emptyStream(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
