import { closeSync, copyFileSync, fstatSync, fsync, openSync, renameSync, unlinkSync, write, writeSync } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import type { FileWriter } from "../driver.ts";
import { StorageFullError, WriterBusyError } from "../errors.ts";
import { isErrno, isFull } from "./errno.ts";
import { makeFolders, syncFolder } from "./folders.ts";
import { WriterLock } from "./writer-lock.ts";

const DRIVER = "filesystem";
const fsyncAsync = promisify(fsync);

/** Chunks up to this size are written at once: the way through the thread pool costs more than the copy. */
const SYNC_WRITE_BYTES = 64 * 1024;
/** How often a folder that vanishes between its making and its use is made again. */
const FOLDER_TRIES = 5;

/**
 * Runs an action in a folder that is made when it is missing, also when a clean-up removes it in between.
 * @returns The result, and the folders whose new entries must be synced.
 */
export function inFolder<T>(folder: string, action: () => T): { readonly result: T; readonly changed: readonly string[] } {
  let changed: readonly string[] = [];
  for (let tries = 0; ; tries++) {
    try {
      return { result: action(), changed };
    } catch (error) {
      if (!isErrno(error, "ENOENT") || tries === FOLDER_TRIES) throw error;
      changed = [...changed, ...makeFolders(folder)];
    }
  }
}

/** Opens the visible file of an upload to append to it. @throws WriterBusyError */
export async function openAppendWriter(file: string, path: string, append: boolean): Promise<FileWriter> {
  const { result: lock } = inFolder(dirname(file), () => WriterLock.take(file));
  if (lock === undefined) throw new WriterBusyError(DRIVER, path);
  try {
    if (append && lock.tookOver) fenceOff(file);
    const fd = openSync(file, append ? "a" : "w", 0o666);
    return new LocalWriter({ fd, path, sizeBytes: fstatSync(fd).size, lock, finish: async () => undefined, discard: () => unlinkSync(file) });
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Opens a hidden file that takes its name when it is complete. */
export async function openAtomicWriter(file: string, path: string): Promise<FileWriter> {
  const folder = dirname(file);
  const temporary = `${file}.${crypto.randomUUID()}.tmp`;
  const { result: fd, changed } = inFolder(folder, () => openSync(temporary, "wx", 0o666));
  return new LocalWriter({
    fd,
    path,
    sizeBytes: 0,
    lock: undefined,
    finish: async () => {
      renameSync(temporary, file);
      await Promise.all([folder, ...changed].map(syncFolder));
    },
    discard: () => unlinkSync(temporary),
  });
}

// Handles that a dead-looking process may still hold write to the old inode from here on, and that is nobody's any more.
function fenceOff(file: string): void {
  const copy = `${file}.${crypto.randomUUID()}.tmp`;
  try {
    copyFileSync(file, copy);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return;
    throw error;
  }
  renameSync(copy, file);
}

interface LocalWriterParts {
  readonly fd: number;
  /** As the caller knows the file, for error texts. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Absent for a file that nobody else can see yet. */
  readonly lock: WriterLock | undefined;
  /** Gives the synced file its name. */
  readonly finish: () => Promise<void>;
  readonly discard: () => void;
}

class LocalWriter implements FileWriter {
  readonly #parts: LocalWriterParts;
  #sizeBytes: number;
  #closed = false;

  constructor(parts: LocalWriterParts) {
    this.#parts = parts;
    this.#sizeBytes = parts.sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#checkOpen();
    const { fd, lock } = this.#parts;
    try {
      for (let offset = 0; offset < chunk.length; ) {
        const length = chunk.length - offset;
        // Large writes go through the thread pool: the kernel may make them wait for the disk, and requests must not.
        const written = length <= SYNC_WRITE_BYTES ? writeSync(fd, chunk, offset, length, null) : await writeInPool(fd, chunk, offset);
        offset += written;
        this.#sizeBytes += written;
      }
    } catch (error) {
      this.#sizeBytes = fstatSync(fd).size;
      throw isFull(error) ? new StorageFullError(DRIVER, this.#parts.path, error) : error;
    }
    lock?.beat();
  }

  async commit(): Promise<void> {
    this.#checkOpen();
    try {
      await fsyncAsync(this.#parts.fd);
      await this.#parts.finish();
    } catch (error) {
      if (this.#parts.lock === undefined) this.#discard();
      throw isFull(error) ? new StorageFullError(DRIVER, this.#parts.path, error) : error;
    } finally {
      this.#release();
    }
  }

  async cancel(): Promise<void> {
    this.#checkOpen();
    try {
      this.#discard();
    } finally {
      this.#release();
    }
  }

  async close(): Promise<void> {
    this.#checkOpen();
    try {
      if (this.#parts.lock === undefined) this.#discard();
    } finally {
      this.#release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) await this.close();
  }

  #discard(): void {
    try {
      this.#parts.discard();
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }

  #release(): void {
    this.#closed = true;
    closeSync(this.#parts.fd);
    this.#parts.lock?.release();
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error(`${DRIVER}: the writer of ${this.#parts.path} is closed already`);
  }
}

async function writeInPool(fd: number, chunk: Uint8Array, offset: number): Promise<number> {
  return await new Promise((resolve, reject) => {
    write(fd, chunk, offset, chunk.length - offset, null, (error, written) => (error === null ? resolve(written) : reject(error)));
  });
}
