import { close, closeSync, fdatasync, fstatSync, fsync, futimesSync, read, type Stats, write, writeSync } from "node:fs";
import { promisify } from "node:util";
import { FILESYSTEM } from "./errno.ts";
import type { Pace } from "./pace.ts";

const fsyncInPool = promisify(fsync);
const fdatasyncInPool = promisify(fdatasync);
const closeInPool = promisify(close);

/**
 * Written at once: the way through the thread pool costs more than the copy. The kernel has blocks of memory up to this size at hand
 * for each processor; for more in one call it looks for larger ones, which virtual machines give back to their hosts when they are
 * free, and get anew page by page: twice this took up to three times as long, a megabyte up to eight times.
 */
const MAX_SYNC_WRITE_BYTES = 32 * 1024;

/**
 * The disk begins to write a large file while it is still coming, this much at a time: otherwise nothing is on the disk at the end, and
 * all of it has to be waited for.
 */
const EARLY_SYNC_BYTES = 64 * 1024 * 1024;

/**
 * A file that is open. Whoever closes it waits for what is still under way: the system gives its number to the next file at once,
 * and a late write would land there.
 */
export class OpenFile {
  readonly #fd: number;
  readonly #pace: Pace;
  #sizeBytes: number;
  #underWay: Promise<unknown> = Promise.resolve();
  #unsyncedBytes = 0;
  #earlySync: Promise<void> | undefined;
  #syncFailure: unknown;

  /** @param pace Tells whether small writes may be synchronous. */
  constructor(fd: number, pace: Pace) {
    this.#fd = fd;
    this.#pace = pace;
    this.#sizeBytes = fstatSync(fd).size;
  }

  /** Bytes that are in the file: at opening, and after each `append`. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /**
   * What a sync failed with; undefined when none did. The system tells of bytes that the disk lost only once: whoever syncs the file
   * again finds nothing wrong.
   */
  get syncFailure(): unknown {
    return this.#syncFailure;
  }

  stat(): Stats {
    return fstatSync(this.#fd);
  }

  /** Sets when the file was last changed. */
  touch(atMs: number): void {
    futimesSync(this.#fd, atMs / 1000, atMs / 1000);
  }

  /** Writes all of a chunk to the end of the file. When it fails, `sizeBytes` counts what got there. */
  append(chunk: Uint8Array): Promise<void> {
    const work = this.#append(chunk);
    this.#underWay = work.catch(() => undefined);
    return work;
  }

  /** Reads from a place; fewer bytes than asked for at the end only. */
  read(position: number, maxBytes: number): Promise<Uint8Array> {
    const work = readInPool(this.#fd, position, new Uint8Array(maxBytes));
    this.#underWay = work.catch(() => undefined);
    return work;
  }

  /** Makes the bytes durable. */
  sync(): Promise<void> {
    const work = this.#sync();
    this.#underWay = work.catch(() => undefined);
    return work;
  }

  /** Waits for what is under way; never rejects. */
  async settle(): Promise<void> {
    await this.#underWay;
    await this.#earlySync;
  }

  async close(): Promise<void> {
    await this.settle();
    // Closing an unlinked file frees its blocks, which takes long for a large one.
    if (this.#sizeBytes > MAX_SYNC_WRITE_BYTES) await closeInPool(this.#fd);
    else closeSync(this.#fd);
  }

  async #sync(): Promise<void> {
    await this.#earlySync;
    this.#requireSynced();
    try {
      await fsyncInPool(this.#fd);
    } catch (error) {
      this.#syncFailure = error;
      throw error;
    }
  }

  #requireSynced(): void {
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
  }

  #syncEarly(): void {
    if (this.#earlySync !== undefined || this.#unsyncedBytes < EARLY_SYNC_BYTES) return;
    this.#unsyncedBytes = 0;
    this.#earlySync = fdatasyncInPool(this.#fd)
      .catch((error: unknown) => {
        this.#syncFailure = error;
      })
      .finally(() => {
        this.#earlySync = undefined;
      });
  }

  async #append(chunk: Uint8Array): Promise<void> {
    this.#requireSynced();
    try {
      for (let offset = 0; offset < chunk.length; ) {
        const writtenBytes = await this.#write(chunk.subarray(offset));
        if (writtenBytes === 0) throw new Error(`${FILESYSTEM}: the system wrote none of ${chunk.length - offset} bytes`);
        offset += writtenBytes;
        this.#sizeBytes += writtenBytes;
        this.#unsyncedBytes += writtenBytes;
      }
      this.#syncEarly();
    } catch (error) {
      this.#sizeBytes = fstatSync(this.#fd).size;
      throw error;
    }
  }

  // The kernel makes writers wait for the disk when too much is unwritten; in the thread pool nobody else waits with them.
  #write(bytes: Uint8Array): number | Promise<number> {
    if (this.#pace.isSlow()) return writeInPool(this.#fd, bytes);
    return this.#pace.run(() => writeSync(this.#fd, bytes, 0, Math.min(bytes.length, MAX_SYNC_WRITE_BYTES), null));
  }
}

function writeInPool(fd: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, null, (error, writtenBytes) => (error ? reject(error) : resolve(writtenBytes)));
  });
}

async function readInPool(fd: number, position: number, buffer: Uint8Array): Promise<Uint8Array> {
  let filled = 0;
  while (filled < buffer.length) {
    const readBytes = await readOnce(fd, position + filled, buffer.subarray(filled));
    if (readBytes === 0) break;
    filled += readBytes;
  }
  return buffer.subarray(0, filled);
}

function readOnce(fd: number, position: number, buffer: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, position, (error, readBytes) => (error ? reject(error) : resolve(readBytes)));
  });
}
