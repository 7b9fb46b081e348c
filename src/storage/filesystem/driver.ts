import { closeSync, constants, open as openFile, openSync, readSync, type Stats, statSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { promisify } from "node:util";
import { type Clock, SYSTEM_CLOCK } from "../../lib/clock.ts";
import { Slots } from "../../lib/slots.ts";
import { checkRange } from "../byte-range.ts";
import { type ByteRange, DEFAULT_MAX_CONTENT_BYTES, type DeleteOptions, type FileInfo, type FileWriter, type ListOptions, type ListPage, type PutOptions, type StorageDriver, type StoreSurvey } from "../driver.ts";
import { PathNotFoundError } from "../errors.ts";
import { pageOf } from "../list-page.ts";
import { checkDirectoryPath, checkPath } from "../paths.ts";
import { AppendedFile } from "./appended-file.ts";
import { CreatedFile, replaceFile } from "./created-file.ts";
import { DirectoryCache } from "./directory-cache.ts";
import { FILESYSTEM, isErrno, readFailure, writeFailure } from "./errno.ts";
import { FileGroups, FileGroupState } from "./file-group.ts";
import { FileState, FileStates } from "./file-state.ts";
import { streamFile } from "./file-stream.ts";
import { Folders } from "./folders.ts";
import { isJournalOrdered, isStatCurrent } from "./file-system-kind.ts";
import { OpenFile } from "./open-file.ts";
import { Pace } from "./pace.ts";
import { removeEmptyFolder, removeTree, renameFile } from "./rename-remove.ts";
import { FilesystemSurvey } from "./survey/survey.ts";
import { WriterLocks } from "./writer-locks.ts";

const openInPool = promisify(openFile);

const MIN_THREADS = 25;
const DEFAULT_THREADS = 100;
/** Files up to this size are read in one synchronous call. */
const SMALL_FILE_BYTES = 64 * 1024;

/** Where to store, and how many calls may wait for the disk at once: `maxthreads`, 100 unless said, at least 25. */
export interface FilesystemSettings {
  readonly rootdirectory: string;
  readonly maxthreads?: number;
}

/** What tests put in place of the real thing. */
export interface FilesystemTools {
  readonly clock?: Pick<Clock, "now">;
  readonly pace?: Pace;
}

/**
 * Opens a store in a folder of this host, which is made by the first write. Several processes, also on several hosts, may use one
 * folder at the same time.
 */
export function openFilesystemDriver(settings: FilesystemSettings, tools: FilesystemTools = {}): StorageDriver {
  return new FilesystemDriver(settings, tools);
}

/**
 * Small reads, stats and listings are synchronous inside: from the page cache they take 1 to 4 microseconds, a tenth of what the way
 * through the thread pool takes. `Pace` notices a disk that makes them wait. What waits for the disk by its nature (syncs, large
 * reads and writes, deletions) goes through the pool.
 */
class FilesystemDriver implements StorageDriver {
  readonly name = FILESYSTEM;
  /** Without a slash at the end: paths begin with one. */
  readonly #root: string;
  readonly #slots: Slots;
  readonly #folders: Folders;
  /** Otherwise nothing is proven by it. */
  readonly #isStatCurrent: boolean;
  readonly #states = new FileStates();
  readonly #groups = new FileGroups();
  readonly #directories = new DirectoryCache(this.#states);
  readonly #readPace: Pace;
  readonly #writePace = new Pace();
  readonly #locks = new WriterLocks();
  readonly #committed = new Map<string, AppendedFile>();
  readonly #clock: Pick<Clock, "now">;
  readonly #scratch = new Uint8Array(SMALL_FILE_BYTES + 1);

  constructor(settings: FilesystemSettings, tools: FilesystemTools) {
    const root = resolve(settings.rootdirectory);
    this.#root = root.endsWith("/") ? root.slice(0, -1) : root;
    this.#folders = new Folders(isJournalOrdered(root));
    this.#isStatCurrent = isStatCurrent(root);
    this.#slots = new Slots(Math.max(MIN_THREADS, settings.maxthreads ?? DEFAULT_THREADS));
    this.#readPace = tools.pace ?? new Pace();
    this.#clock = tools.clock ?? SYSTEM_CLOCK;
  }

  localFile(path: string): string {
    // Also where the caller has checked it: this is where a path becomes a name on the host.
    checkPath(FILESYSTEM, path);
    return this.#root + path;
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    const file = this.localFile(path);
    try {
      const small = this.#readPace.isSlow() ? undefined : this.#readPace.run(() => this.#readSmall(file));
      const bytes = small ?? (await this.#slots.run(() => readWhole(file, maxBytes)));
      if (bytes.length > maxBytes) throw tooLarge(file, bytes.length, maxBytes);
      return bytes;
    } catch (error) {
      throw readFailure(error, path);
    }
  }

  async putContent(path: string, content: Uint8Array | string, { durable = true }: PutOptions = {}): Promise<void> {
    const file = this.localFile(path);
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await this.#write(path, () => replaceFile({ path, file }, { bytes, durable }, this.#writerTools()));
  }

  async reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    const checked = checkRange(FILESYSTEM, path, range);
    const file = this.localFile(path);
    try {
      const fd = this.#readPace.isSlow() ? await this.#slots.run(() => openInPool(file, constants.O_RDONLY)) : this.#readPace.run(() => openSync(file, constants.O_RDONLY));
      const opened = new OpenFile(fd, this.#writePace);
      if (opened.stat().isFile()) return streamFile(opened, checked, (error) => readFailure(error, path));
      await opened.close();
    } catch (error) {
      throw readFailure(error, path);
    }
    throw new Error(`${FILESYSTEM}: ${path} is not a file`);
  }

  async writer(path: string, options: { readonly append: boolean }): Promise<FileWriter> {
    const file = this.localFile(path);
    return await this.#write(path, () => AppendedFile.open({ path, file }, options.append, { ...this.#writerTools(), locks: this.#locks, clock: this.#clock, committed: this.#committed }));
  }

  async create(path: string): Promise<FileWriter> {
    const file = this.localFile(path);
    return await this.#write(path, () => CreatedFile.open({ path, file }, this.#writerTools()));
  }

  async stat(path: string): Promise<FileInfo> {
    const file = this.#directory(path);
    try {
      const found = this.#readPace.isSlow() ? await this.#slots.run(() => stat(file)) : this.#readPace.run(() => statSync(file, { throwIfNoEntry: false }));
      if (found !== undefined) return infoOf(path, found);
    } catch (error) {
      throw readFailure(error, path);
    }
    throw new PathNotFoundError(FILESYSTEM, path);
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    const folder = this.#directory(path);
    try {
      const known = this.#readPace.isSlow() ? undefined : this.#readPace.run(() => this.#directories.list(folder));
      const { entries, state } = known ?? (await this.#slots.run(() => this.#directories.listInPool(folder)));
      return { ...pageOf(entries, options), state: this.#isStatCurrent ? state : undefined };
    } catch (error) {
      // The root is made by the first write; until then it is empty.
      if (path === "/" && isErrno(error, "ENOENT")) return { entries: [], next: undefined };
      throw readFailure(error, path);
    }
  }

  observe(path: string): object | "missing" | undefined {
    const file = this.localFile(path);
    if (!this.#isStatCurrent || this.#readPace.isSlow()) return undefined;
    try {
      const found = this.#readPace.run(() => statSync(file, { throwIfNoEntry: false }));
      return found === undefined ? "missing" : this.#states.trusted(file, found);
    } catch {
      // Whoever reads the file will say what is wrong with it.
      return undefined;
    }
  }

  observeAll(directory: string, paths: readonly string[]): object | undefined {
    const folder = directory === "/" ? this.#root : this.localFile(directory);
    const names = paths.map((path) => this.localFile(path).slice(folder.length + 1));
    return this.#isStatCurrent && !this.#readPace.isSlow() ? this.#groups.trusted(folder, names) : undefined;
  }

  isUnchanged(state: object): boolean {
    if (this.#readPace.isSlow()) return false;
    // Groups are no single calls, and see for themselves that they do not take long.
    if (state instanceof FileGroupState) return state.isCurrent();
    return state instanceof FileState && this.#readPace.run(() => state.isCurrent());
  }

  async move(source: string, destination: string): Promise<void> {
    const from = this.localFile(source);
    const to = this.localFile(destination);
    await this.#write(destination, async () => {
      let synced: Promise<void> | undefined;
      await this.#folders.within(dirname(to), () => {
        this.#committed.get(from)?.requireOwn();
        renameFile({ path: source, file: from }, { path: destination, file: to });
        synced = this.#folders.syncMove(dirname(from), dirname(to));
      });
      await synced;
    });
  }

  async delete(path: string, { durable = true }: DeleteOptions = {}): Promise<void> {
    const file = this.localFile(path);
    try {
      await this.#slots.run(async () => {
        await removeTree(file);
        if (durable) await this.#folders.sync(dirname(file));
      });
    } catch (error) {
      throw readFailure(error, path);
    }
  }

  survey(): StoreSurvey {
    return new FilesystemSurvey({ fileOf: (path) => this.localFile(path), folderOf: (path) => this.#directory(path) });
  }

  async removeIfEmpty(path: string): Promise<boolean> {
    const folder = this.localFile(path);
    try {
      return await this.#slots.run(() => removeEmptyFolder(folder));
    } catch (error) {
      throw readFailure(error, path);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #directory(path: string): string {
    checkDirectoryPath(FILESYSTEM, path);
    return path === "/" ? `${this.#root}/` : this.#root + path;
  }

  async #write<T>(path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.#slots.run(work);
    } catch (error) {
      throw writeFailure(error, path);
    }
  }

  #writerTools(): { readonly folders: Folders; readonly pace: Pace } {
    return { folders: this.#folders, pace: this.#writePace };
  }

  /** @returns undefined for a file that is not small. */
  #readSmall(file: string): Uint8Array | undefined {
    const fd = openSync(file, constants.O_RDONLY);
    try {
      const readBytes = readSync(fd, this.#scratch, 0, this.#scratch.length, 0);
      return readBytes > SMALL_FILE_BYTES ? undefined : this.#scratch.slice(0, readBytes);
    } finally {
      closeSync(fd);
    }
  }
}

async function readWhole(file: string, maxBytes: number): Promise<Uint8Array> {
  await using handle = await open(file, constants.O_RDONLY);
  const { size } = await handle.stat();
  if (size > maxBytes) throw tooLarge(file, size, maxBytes);
  return await handle.readFile();
}

function tooLarge(file: string, sizeBytes: number, maxBytes: number): Error {
  return new Error(`${FILESYSTEM}: ${file} has ${sizeBytes} bytes, more than the ${maxBytes} allowed here`);
}

function infoOf(path: string, found: Stats): FileInfo {
  const isDirectory = found.isDirectory();
  return { path, sizeBytes: isDirectory ? 0 : found.size, modifiedAt: found.mtime, isDirectory };
}
