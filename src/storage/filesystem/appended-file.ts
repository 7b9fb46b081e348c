import { constants, openSync, renameSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { FileWriter } from "../driver.ts";
import { PathNotFoundError, WriterBusyError } from "../errors.ts";
import type { WriterTools } from "./created-file.ts";
import { FILESYSTEM, isErrno, writeFailure } from "./errno.ts";
import { OpenFile } from "./open-file.ts";
import type { Pace } from "./pace.ts";
import type { Place } from "./rename-remove.ts";
import { removeIfThere, temporaryName } from "./temporary.ts";
import { isSameFile, type WriterLock, type WriterLocks } from "./writer-lock.ts";

const APPEND = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;
const COPY_BYTES = 1024 * 1024;

/**
 * A file that is written where it is, in several sittings. A lock keeps other writers out, and every end of a sitting proves that
 * lock and file are still this writer's: a writer that was quiet for too long has been replaced, and its bytes go nowhere.
 */
export class AppendedFile implements FileWriter {
  readonly #path: string;
  readonly #file: string;
  readonly #open: OpenFile;
  readonly #lock: WriterLock;
  #isOpen = true;

  private constructor(target: Place, open: OpenFile, lock: WriterLock) {
    this.#path = target.path;
    this.#file = target.file;
    this.#open = open;
    this.#lock = lock;
  }

  /** @throws WriterBusyError */
  static async open(target: Place, append: boolean, tools: WriterTools & { readonly locks: WriterLocks }): Promise<AppendedFile> {
    const { path, file } = target;
    const lock = await tools.folders.within(dirname(file), () => tools.locks.take(file));
    if (lock === undefined) throw new WriterBusyError(FILESYSTEM, path);
    try {
      if (lock.tookOver) await fenceOff(target, append, { lock, pace: tools.pace });
      const fd = openSync(file, append ? APPEND : APPEND | constants.O_TRUNC, 0o666);
      return new AppendedFile(target, new OpenFile(fd, tools.pace), lock);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#open.sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    try {
      if (!this.#lock.beat()) throw new WriterBusyError(FILESYSTEM, this.#path);
      await this.#open.append(chunk);
    } catch (error) {
      throw writeFailure(error, this.#path);
    }
  }

  /** The bytes are durable then; the name becomes so when the file is moved to its place. */
  async commit(): Promise<void> {
    this.#requireOpen();
    this.#isOpen = false;
    try {
      await this.#open.sync();
      this.#requireHeld();
    } catch (error) {
      throw writeFailure(error, this.#path);
    } finally {
      await this.#release();
    }
  }

  async cancel(): Promise<void> {
    this.#requireOpen();
    this.#isOpen = false;
    try {
      this.#requireHeld();
      removeIfThere(this.#file);
    } catch (error) {
      // There is nothing left to discard.
      if (!(error instanceof PathNotFoundError)) throw writeFailure(error, this.#path);
    } finally {
      await this.#release();
    }
  }

  async close(): Promise<void> {
    this.#requireOpen();
    this.#isOpen = false;
    await this.#release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) await this.close();
  }

  async #release(): Promise<void> {
    // The file first: whoever gets the lock next must not have a writer beside it.
    try {
      await this.#open.close();
    } finally {
      this.#lock.release();
    }
  }

  #requireHeld(): void {
    const named = statSync(this.#file, { throwIfNoEntry: false });
    if (named === undefined) throw new PathNotFoundError(FILESYSTEM, this.#path);
    if (!isSameFile(this.#open.stat(), named) || !this.#lock.isHeld()) throw new WriterBusyError(FILESYSTEM, this.#path);
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error(`${FILESYSTEM}: the writer of ${this.#path} is closed already`);
  }
}

/**
 * Puts a copy in the file's place, so that what the former holder still writes goes to a file without a name, and never into what
 * may become a blob.
 */
async function fenceOff(target: Place, keep: boolean, tools: { readonly lock: WriterLock; readonly pace: Pace }): Promise<void> {
  const copy = temporaryName(target.file);
  try {
    await copyBytes(keep ? openIfThere(target.file, tools.pace) : undefined, new OpenFile(openSync(copy, APPEND | constants.O_EXCL, 0o666), tools.pace), tools.lock);
    if (!tools.lock.isHeld()) throw new WriterBusyError(FILESYSTEM, target.path);
    renameSync(copy, target.file);
  } catch (error) {
    removeIfThere(copy);
    throw error;
  }
}

/** Copies and closes; keeps the lock alive on the way, as the file may be large. */
async function copyBytes(source: OpenFile | undefined, destination: OpenFile, lock: WriterLock): Promise<void> {
  try {
    for (;;) {
      const bytes = await source?.read(destination.sizeBytes, COPY_BYTES);
      if (bytes === undefined || bytes.length === 0) return;
      await destination.append(bytes);
      lock.beat();
    }
  } finally {
    await source?.close();
    await destination.close();
  }
}

function openIfThere(file: string, pace: Pace): OpenFile | undefined {
  try {
    return new OpenFile(openSync(file, constants.O_RDONLY), pace);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
