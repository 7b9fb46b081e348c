import { readFileSync, renameSync, type Stats, statSync, unlinkSync } from "node:fs";
import { open, readFile, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { ByteRange, FileInfo, FileWriter, ListOptions, ListPage, StorageDriver } from "../driver.ts";
import { InvalidOffsetError, PathNotFoundError, StorageFullError } from "../errors.ts";
import { checkDirectoryPath, checkPath } from "../paths.ts";
import { DirectoryCache } from "./directory-cache.ts";
import { isErrno, isFull, isMissing } from "./errno.ts";
import { inFolder, openAppendWriter, openAtomicWriter } from "./file-writers.ts";
import { syncFolder } from "./folders.ts";
import { Slots } from "./slots.ts";

const NAME = "filesystem";
const DEFAULT_MAX_BYTES = 16 * 1024 * 1024;
const READ_CHUNK_BYTES = 256 * 1024;
const MIN_THREADS = 25;
const DEFAULT_THREADS = 100;
/** A synchronous call that took longer than this means a slow disk or a network file system … */
const SLOW_CALL_MS = 5;
/** … and for so long the thread pool is used instead, so that one slow look-up does not hold up every request. */
const SLOW_PERIOD_MS = 5_000;
const SMALL_FILE_BYTES = 128 * 1024;

/** Where and how to store. */
export interface FilesystemOptions {
  readonly rootdirectory: string;
  /** Most calls at once that use the thread pool; at least 25. */
  readonly maxthreads?: number;
}

/** Opens a store in a folder of this host; the folder is made by the first write. */
export function openFilesystemDriver(options: FilesystemOptions): StorageDriver {
  return new FilesystemDriver(options);
}

/**
 * Files in the folder tree of distribution. Small reads, stats and listings are synchronous: from the page cache they take 2 to 4
 * microseconds, and a trip through the thread pool takes 25. On slow storage the driver finds out and goes through the pool.
 */
class FilesystemDriver implements StorageDriver {
  readonly name = NAME;
  readonly #root: string;
  readonly #slots: Slots;
  readonly #directories = new DirectoryCache();
  #slowUntil = 0;

  constructor(options: FilesystemOptions) {
    this.#root = resolve(options.rootdirectory);
    this.#slots = new Slots(Math.max(MIN_THREADS, options.maxthreads ?? DEFAULT_THREADS));
  }

  localFile(path: string): string {
    checkPath(NAME, path);
    return this.#root + path;
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_BYTES): Promise<Uint8Array> {
    const file = this.localFile(path);
    try {
      if (this.#isSlow()) {
        using _slot = await this.#slots.take();
        return refuseLarge(path, await readFile(file, { flag: "r" }), maxBytes);
      }
      const startedAt = performance.now();
      // The usual small file is read in one go; what may be large is looked at first.
      if (maxBytes > SMALL_FILE_BYTES) refuseLargeFile(path, statSync(file), maxBytes);
      const bytes = refuseLarge(path, readFileSync(file), maxBytes);
      this.#timed(startedAt);
      return bytes;
    } catch (error) {
      throw this.#missing(error, path);
    }
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    using _slot = await this.#slots.take();
    const writer = await this.#create(path);
    try {
      await writer.write(typeof content === "string" ? Buffer.from(content) : content);
      await writer.commit();
    } finally {
      await writer[Symbol.asyncDispose]();
    }
  }

  async reader(path: string, range: ByteRange = {}): Promise<ReadableStream<Uint8Array>> {
    const offset = range.offset ?? 0;
    if (offset < 0) throw new InvalidOffsetError(NAME, path, offset);
    const file = this.localFile(path);
    let handle: Awaited<ReturnType<typeof open>>;
    try {
      handle = await open(file, "r");
    } catch (error) {
      throw this.#missing(error, path);
    }
    if ((await handle.stat()).isDirectory()) {
      await handle.close();
      throw new PathNotFoundError(NAME, path);
    }
    return fileStream(handle, offset, range.length ?? Number.POSITIVE_INFINITY);
  }

  async writer(path: string, options: { readonly append: boolean }): Promise<FileWriter> {
    const file = this.localFile(path);
    try {
      return await openAppendWriter(file, path, options.append);
    } catch (error) {
      throw full(error, path);
    }
  }

  async create(path: string): Promise<FileWriter> {
    return await this.#create(path);
  }

  async stat(path: string): Promise<FileInfo> {
    checkDirectoryPath(NAME, path);
    const file = path === "/" ? this.#root : this.#root + path;
    try {
      if (this.#isSlow()) {
        using _slot = await this.#slots.take();
        return infoOf(path, await stat(file));
      }
      const startedAt = performance.now();
      const info = statSync(file, { throwIfNoEntry: false });
      this.#timed(startedAt);
      if (info !== undefined) return infoOf(path, info);
    } catch (error) {
      throw this.#missing(error, path);
    }
    throw new PathNotFoundError(NAME, path);
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    checkDirectoryPath(NAME, path);
    const startedAt = performance.now();
    try {
      return this.#directories.list(path === "/" ? this.#root : this.#root + path, options);
    } catch (error) {
      // The root is made by the first write; until then it is empty.
      if (path === "/" && isMissing(error)) return { entries: [], next: undefined };
      throw this.#missing(error, path);
    } finally {
      this.#timed(startedAt);
    }
  }

  async move(source: string, destination: string): Promise<void> {
    const from = this.localFile(source);
    const to = this.localFile(destination);
    if (statSync(from, { throwIfNoEntry: false })?.isFile() !== true) throw new PathNotFoundError(NAME, source);
    using _slot = await this.#slots.take();
    try {
      const { changed } = inFolder(dirname(to), () => renameSync(from, to));
      await Promise.all([...new Set([dirname(to), dirname(from), ...changed])].map(syncFolder));
    } catch (error) {
      if (isErrno(error, "EXDEV")) throw new Error(`${NAME}: ${source} and ${destination} are on different file systems; the whole root directory must be on one`, { cause: error });
      throw full(error, destination);
    }
  }

  async delete(path: string): Promise<void> {
    const file = this.localFile(path);
    const info = statSync(file, { throwIfNoEntry: false });
    if (info === undefined) throw new PathNotFoundError(NAME, path);
    using _slot = await this.#slots.take();
    // Not synced, as in distribution: what a power loss brings back can be deleted again, and a collection would wait for the disk each time.
    try {
      if (info.isDirectory()) await rm(file, { recursive: true });
      else unlinkSync(file);
    } catch (error) {
      throw this.#missing(error, path);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #create(path: string): Promise<FileWriter> {
    const file = this.localFile(path);
    try {
      return await openAtomicWriter(file, path);
    } catch (error) {
      throw full(error, path);
    }
  }

  #missing(error: unknown, path: string): unknown {
    return isMissing(error) || isErrno(error, "EISDIR") ? new PathNotFoundError(NAME, path, error) : error;
  }

  #isSlow(): boolean {
    return this.#slowUntil !== 0 && performance.now() < this.#slowUntil;
  }

  #timed(startedAt: number): void {
    const now = performance.now();
    if (now - startedAt > SLOW_CALL_MS) this.#slowUntil = now + SLOW_PERIOD_MS;
  }
}

function infoOf(path: string, info: Stats): FileInfo {
  const isDirectory = info.isDirectory();
  return { path, sizeBytes: isDirectory ? 0 : info.size, modifiedAt: info.mtime, isDirectory };
}

function refuseLarge(path: string, bytes: Uint8Array, maxBytes: number): Uint8Array {
  if (bytes.length > maxBytes) throw new Error(`${NAME}: ${path} has ${bytes.length} bytes, more than ${maxBytes}`);
  return bytes;
}

function refuseLargeFile(path: string, info: Stats, maxBytes: number): void {
  if (info.size > maxBytes) throw new Error(`${NAME}: ${path} has ${info.size} bytes, more than ${maxBytes}`);
}

function full(error: unknown, path: string): unknown {
  return isFull(error) ? new StorageFullError(NAME, path, error) : error;
}

function fileStream(handle: Awaited<ReturnType<typeof open>>, offset: number, length: number): ReadableStream<Uint8Array> {
  let position = offset;
  let left = length;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const chunk = new Uint8Array(Math.min(READ_CHUNK_BYTES, left));
      const { bytesRead } = chunk.length === 0 ? { bytesRead: 0 } : await handle.read(chunk, 0, chunk.length, position);
      if (bytesRead === 0) {
        await handle.close();
        controller.close();
        return;
      }
      position += bytesRead;
      left -= bytesRead;
      controller.enqueue(chunk.subarray(0, bytesRead));
    },
    async cancel() {
      await handle.close();
    },
  }, { highWaterMark: 0 });
}
