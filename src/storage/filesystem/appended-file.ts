import { closeSync, constants, fstatSync, ftruncateSync, openSync, renameSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import type { FileWriter } from "../driver.ts";
import { PathNotFoundError, WriterBusyError } from "../errors.ts";
import type { WriterTools } from "./created-file.ts";
import { FILESYSTEM, isErrno, writeFailure } from "./errno.ts";
import { OpenFile } from "./open-file.ts";
import type { Pace } from "./pace.ts";
import type { Place } from "./rename-remove.ts";
import { removeIfThere, temporaryName } from "./temporary.ts";
import { APPEND, isNamed, isSameFile, type WriterLocks } from "./writer-locks.ts";

/** A file that did not change for so long is taken from its writer, dead or not: a stuck upload must not block for ever. */
const STALE_MS = 30_000;
/** How often a writer looks whether the file is still its own. */
const CHECK_MS = 5_000;
const COPY_BYTES = 1024 * 1024;

/** What writers that go on with a file share. */
export interface AppendTools extends WriterTools {
  readonly locks: WriterLocks;
  readonly clock: Pick<Clock, "now">;
  /** The writers that committed and still have their file, by its name. */
  readonly committed: Map<string, AppendedFile>;
}

/**
 * A file that is written where it is, in several sittings. A lock keeps other writers out until the writer is left, so that what was
 * committed can be moved away as it is. A writer that was quiet for too long may have been replaced: every end of a sitting proves
 * that the file is still this writer's, and what it wrote since goes nowhere.
 */
export class AppendedFile implements FileWriter {
  readonly #target: Place;
  readonly #open: OpenFile;
  readonly #tools: AppendTools;
  #state: "open" | "committed" | "closed" = "open";
  #checkedAtMs: number;

  private constructor(target: Place, open: OpenFile, tools: AppendTools) {
    this.#target = target;
    this.#open = open;
    this.#tools = tools;
    this.#checkedAtMs = tools.clock.now();
  }

  /** @throws WriterBusyError */
  static async open(target: Place, append: boolean, tools: AppendTools): Promise<AppendedFile> {
    const { file } = target;
    const fd = (await tools.folders.within(dirname(file), () => tools.locks.open(file))) ?? (await takeOver(target, append, tools));
    try {
      if (!append) ftruncateSync(fd, 0);
      return new AppendedFile(target, new OpenFile(fd, tools.pace), tools);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#open.sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    try {
      this.#checkNowAndThen();
      await this.#open.append(chunk);
    } catch (error) {
      throw writeFailure(error, this.#target.path);
    }
  }

  /** The bytes are durable then; the name becomes so when the file is moved to its place. */
  async commit(): Promise<void> {
    this.#requireOpen();
    this.#state = "committed";
    try {
      await this.#open.sync();
      this.#requireAlone();
      // The file is young again: nobody takes it over on its way to its place.
      this.#open.touch(this.#tools.clock.now());
      this.requireOwn();
      this.#tools.committed.set(this.#target.file, this);
    } catch (error) {
      await this.#release();
      throw writeFailure(error, this.#target.path);
    }
  }

  async cancel(): Promise<void> {
    this.#requireOpen();
    try {
      this.requireOwn();
      removeIfThere(this.#target.file);
    } catch (error) {
      // There is nothing left to discard.
      if (!(error instanceof PathNotFoundError)) throw writeFailure(error, this.#target.path);
    } finally {
      await this.#release();
    }
  }

  async close(): Promise<void> {
    this.#requireOpen();
    try {
      await this.#open.settle();
      if (this.#open.syncFailure !== undefined) throw this.#open.syncFailure;
      this.requireOwn();
    } catch (error) {
      throw writeFailure(error, this.#target.path);
    } finally {
      await this.#release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state !== "closed") await this.#release();
  }

  /** @throws WriterBusyError when another writer has replaced this one; PathNotFoundError when the file is gone */
  requireOwn(): void {
    const { path, file } = this.#target;
    const named = statSync(file, { throwIfNoEntry: false });
    if (named === undefined) throw new PathNotFoundError(FILESYSTEM, path);
    if (!isSameFile(this.#open.stat(), named)) throw new WriterBusyError(FILESYSTEM, path);
  }

  /** Where there are no locks, another writer's bytes may be among ours. */
  #requireAlone(): void {
    if (this.#open.stat().size !== this.#open.sizeBytes) throw new WriterBusyError(FILESYSTEM, this.#target.path);
  }

  #checkNowAndThen(): void {
    const nowMs = this.#tools.clock.now();
    // A clock that was set back tells nothing.
    if (nowMs >= this.#checkedAtMs && nowMs - this.#checkedAtMs < CHECK_MS) return;
    this.requireOwn();
    this.#checkedAtMs = nowMs;
  }

  async #release(): Promise<void> {
    this.#state = "closed";
    const { committed } = this.#tools;
    if (committed.get(this.#target.file) === this) committed.delete(this.#target.file);
    await this.#open.settle();
    try {
      // The file looks whole, and may not be: nobody shall go on with it.
      if (this.#open.syncFailure !== undefined) this.#removeOwn();
    } finally {
      await this.#open.close();
    }
  }

  #removeOwn(): void {
    const { file } = this.#target;
    if (isSameFile(this.#open.stat(), statSync(file, { throwIfNoEntry: false }))) removeIfThere(file);
  }

  #requireOpen(): void {
    if (this.#state !== "open") throw new Error(`${FILESYSTEM}: the writer of ${this.#target.path} is closed already`);
  }
}

/**
 * Takes a file from a writer that was quiet for too long: puts a copy in its place, so that what the former one still writes goes to
 * a file without a name, and never into what may become a blob. Of several that take over at once the last keeps the file; the
 * others find out before they commit.
 * @returns The copy, open and locked.
 * @throws WriterBusyError when the writer was not quiet for so long
 */
async function takeOver(target: Place, keep: boolean, tools: AppendTools): Promise<number> {
  const { path, file } = target;
  const copy = temporaryName(file);
  const fd = openSync(copy, APPEND | constants.O_EXCL, 0o666);
  try {
    tools.locks.lock(fd, copy);
    const before = statSync(file, { throwIfNoEntry: false });
    // Both times are the file server's, whose clock may not be ours.
    if (before === undefined || fstatSync(fd).mtimeMs - before.mtimeMs < STALE_MS) throw new WriterBusyError(FILESYSTEM, path);
    if (keep) await copyBytes(file, fd, tools.pace);
    const after = statSync(file, { throwIfNoEntry: false });
    if (!isSameFile(before, after) || after?.mtimeMs !== before.mtimeMs) throw new WriterBusyError(FILESYSTEM, path);
    renameSync(copy, file);
    if (!isNamed(fd, file)) throw new WriterBusyError(FILESYSTEM, path);
    return fd;
  } catch (error) {
    closeSync(fd);
    removeIfThere(copy);
    throw error;
  }
}

async function copyBytes(file: string, to: number, pace: Pace): Promise<void> {
  const source = openIfThere(file, pace);
  if (source === undefined) return;
  const destination = new OpenFile(to, pace);
  try {
    for (;;) {
      const bytes = await source.read(destination.sizeBytes, COPY_BYTES);
      if (bytes.length === 0) return;
      await destination.append(bytes);
    }
  } finally {
    await source.close();
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
