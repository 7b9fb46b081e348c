import { closeSync, fstatSync, futimesSync, linkSync, openSync, readFileSync, renameSync, type Stats, statSync, unlinkSync, writeSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import { isErrno } from "./errno.ts";
import { hasEnded, ownIdentity, parseIdentity, type ProcessIdentity } from "./process-identity.ts";
import { removeIfThere, temporaryName } from "./temporary.ts";

/** A lock without a sign of life for so long is taken from its holder, dead or not: a stuck upload must not block for ever. */
const STALE_MS = 30_000;
/** How long a holder that writes goes without a sign of life. */
const BEAT_MS = 5_000;
/** How often it is tried again when a lock is given back just then. */
const TAKE_TRIES = 5;

/** Takes the right to write a file, for one process. */
export class WriterLocks {
  readonly #clock: Pick<Clock, "now">;
  #identity: ProcessIdentity | undefined;

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
  }

  /**
   * Takes the lock of a file.
   * @returns undefined when a live writer holds it. Throws ENOENT when the folder is missing.
   */
  take(dataFile: string): WriterLock | undefined {
    const path = `${dataFile}.lock`;
    for (let tries = 1; ; tries++) {
      const fd = this.#create(path);
      if (fd !== undefined) return new WriterLock({ path, fd, tookOver: false, clock: this.#clock });
      const state = this.#stateOf(path);
      if (state === "stale") return this.#takeOver(path);
      if (state === "held" || tries === TAKE_TRIES) return undefined;
    }
  }

  // Of several that take over at once, the last to rename holds the lock; the others find that out before they commit.
  #takeOver(path: string): WriterLock {
    const fresh = temporaryName(path);
    const fd = this.#write(fresh);
    try {
      renameSync(fresh, path);
      return new WriterLock({ path, fd, tookOver: true, clock: this.#clock });
    } catch (error) {
      closeSync(fd);
      removeIfThere(fresh);
      throw error;
    }
  }

  /**
   * Makes the lock file with its content at once: nobody ever finds one that does not say whose it is.
   * @returns The open lock file; undefined when there is one already.
   */
  #create(path: string): number | undefined {
    const fresh = temporaryName(path);
    const fd = this.#write(fresh);
    try {
      linkSync(fresh, path);
      return fd;
    } catch (error) {
      closeSync(fd);
      if (isErrno(error, "EEXIST")) return undefined;
      // Not every file system (FAT, some network shares) can give a file two names.
      if (isErrno(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) return this.#createInPlace(path);
      throw error;
    } finally {
      removeIfThere(fresh);
    }
  }

  #createInPlace(path: string): number | undefined {
    try {
      return this.#write(path);
    } catch (error) {
      if (isErrno(error, "EEXIST")) return undefined;
      throw error;
    }
  }

  #write(path: string): number {
    this.#identity ??= ownIdentity();
    const fd = openSync(path, "wx", 0o666);
    try {
      writeSync(fd, JSON.stringify(this.#identity));
      touch(fd, this.#clock.now());
      return fd;
    } catch (error) {
      closeSync(fd);
      removeIfThere(path);
      throw error;
    }
  }

  #stateOf(path: string): "held" | "stale" | "gone" {
    try {
      if (this.#clock.now() - statSync(path).mtimeMs > STALE_MS) return "stale";
      const holder = parseIdentity(readFileSync(path, "utf8"));
      // Half written, where a file cannot have two names: its age will tell.
      if (holder === undefined) return "held";
      this.#identity ??= ownIdentity();
      return hasEnded(holder, this.#identity) ? "stale" : "held";
    } catch (error) {
      if (isErrno(error, "ENOENT")) return "gone";
      throw error;
    }
  }
}

/**
 * The right to write one file, held by a file beside it against other writers of this process and of others. Who lost it to another
 * writer (having given no sign of life for too long) finds out by `isHeld`.
 */
export class WriterLock {
  /** Whether it was taken from somebody who may still have the file open. */
  readonly tookOver: boolean;
  readonly #path: string;
  /** Kept open: while it is, no other file can have its number. */
  readonly #fd: number;
  readonly #clock: Pick<Clock, "now">;
  #beatAtMs: number;

  constructor(parts: { readonly path: string; readonly fd: number; readonly tookOver: boolean; readonly clock: Pick<Clock, "now"> }) {
    this.#path = parts.path;
    this.#fd = parts.fd;
    this.#clock = parts.clock;
    this.tookOver = parts.tookOver;
    this.#beatAtMs = parts.clock.now();
  }

  isHeld(): boolean {
    return isSameFile(fstatSync(this.#fd), statSync(this.#path, { throwIfNoEntry: false }));
  }

  /**
   * Gives a sign of life; cheap to call often.
   * @returns Whether the lock is still held, as far as it was time to look.
   */
  beat(): boolean {
    const nowMs = this.#clock.now();
    if (nowMs - this.#beatAtMs < BEAT_MS) return true;
    if (!this.isHeld()) return false;
    this.#beatAtMs = nowMs;
    touch(this.#fd, nowMs);
    return true;
  }

  /** Gives the lock back, if it is still held. */
  release(): void {
    try {
      if (this.isHeld()) unlinkSync(this.#path);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    } finally {
      closeSync(this.#fd);
    }
  }
}

/** Whether a file that is open is the one under a name. */
export function isSameFile(open: Stats, named: Stats | undefined): boolean {
  return named !== undefined && open.ino === named.ino && open.dev === named.dev;
}

// By our own clock, as its age is judged by clocks of our kind: a file server's may differ.
function touch(fd: number, nowMs: number): void {
  futimesSync(fd, nowMs / 1000, nowMs / 1000);
}
