import { closeSync, openSync, readFileSync, renameSync, statSync, unlinkSync, utimesSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { isErrno } from "./errno.ts";

/** A lock without a sign of life for so long belongs to a process that died. */
const STALE_MS = 30_000;
const BEAT_MS = 5_000;

/** Who holds a lock, as the lock file says. */
interface Holder {
  readonly instance: string;
  readonly pid: number;
  readonly host: string;
}

/** One per process: a new process under an old number is not taken for the old one. */
const INSTANCE = crypto.randomUUID();

/**
 * The right to append to one file, held against other processes by a file beside it, and inside this one by the same file.
 * A lock of a dead process is taken over; the taker must then make sure that the dead one's open handles write nowhere that matters.
 */
export class WriterLock {
  readonly #path: string;
  #beatAt = Date.now();
  /** Whether somebody else held it who did not let go. */
  readonly tookOver: boolean;

  private constructor(path: string, tookOver: boolean) {
    this.#path = path;
    this.tookOver = tookOver;
  }

  /** @returns The lock; undefined when a live writer holds it. Throws ENOENT when the folder is missing. */
  static take(dataFile: string): WriterLock | undefined {
    const path = `${dataFile}.lock`;
    if (tryCreate(path)) return new WriterLock(path, false);
    if (!isStale(path) || !removeStale(path)) return undefined;
    return tryCreate(path) ? new WriterLock(path, true) : undefined;
  }

  /** Gives a sign of life; cheap to call often. */
  beat(): void {
    const now = Date.now();
    if (now - this.#beatAt < BEAT_MS) return;
    this.#beatAt = now;
    utimesSync(this.#path, now / 1000, now / 1000);
  }

  release(): void {
    unlinkIfThere(this.#path);
  }
}

function tryCreate(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, "wx");
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  }
  try {
    writeSync(fd, JSON.stringify({ instance: INSTANCE, pid: process.pid, host: hostname() } satisfies Holder));
  } finally {
    closeSync(fd);
  }
  return true;
}

function isStale(path: string): boolean {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined) return true;
  if (Date.now() - info.mtimeMs > STALE_MS) return true;
  const holder = readHolder(path);
  // Half written: its writer is alive, or the age will tell.
  if (holder === undefined || holder.instance === INSTANCE || holder.host !== hostname()) return false;
  return holder.pid === process.pid || !isAlive(holder.pid);
}

// Two may find the same lock stale: what is moved aside must still be it, and not the lock that the other one made meanwhile.
function removeStale(path: string): boolean {
  const aside = `${path}.${crypto.randomUUID()}.stale`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return true;
    throw error;
  }
  if (isStale(aside)) {
    unlinkSync(aside);
    return true;
  }
  renameSync(aside, path);
  return false;
}

function readHolder(path: string): Holder | undefined {
  try {
    const json = JSON.parse(readFileSync(path, "utf8")) as Partial<Holder>;
    if (typeof json.instance !== "string" || typeof json.pid !== "number" || typeof json.host !== "string") return undefined;
    return { instance: json.instance, pid: json.pid, host: json.host };
  } catch {
    // Gone or half written; both are told by a later look.
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !isErrno(error, "ESRCH");
  }
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}
