import { closeSync, constants, fstatSync, openSync, type Stats, statSync } from "node:fs";
import { openCLibrary } from "../../lib/c-library.ts";
import { removeIfThere, temporaryName } from "./temporary.ts";

export const APPEND = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;
/** Of flock(2): alone, and without waiting. */
const EXCLUSIVE_AT_ONCE = 2 | 4;
/** How often a file is opened again that was replaced or removed between its opening and its locking. */
const OPEN_TRIES = 5;

/** Locks an open file and says whether it did. */
type Flock = (fd: number) => boolean;

/**
 * Opens files for one writer each, among those of this process, of others on this host, and, where the file server passes locks on,
 * of other hosts. The system's own locks (flock(2)) belong to the open file: they cost one call, leave nothing behind, and end with
 * their process, however it ends.
 *
 * Where there are none (Windows, some network shares) writers are not kept apart by the store.
 */
export class WriterLocks {
  readonly #flock: Flock | undefined;
  /** Undefined until it is known. */
  #isSupported: boolean | undefined;

  /** @param flock What tests put in place of the system's. */
  constructor(flock: Flock | undefined = openFlock()) {
    this.#flock = flock;
  }

  /**
   * Opens a file to append to it; makes it when it is missing.
   * @returns undefined when another writer has it. Throws ENOENT when the folder is missing.
   */
  open(file: string): number | undefined {
    for (let tries = 1; tries <= OPEN_TRIES; tries++) {
      const fd = openSync(file, APPEND, 0o666);
      let isOurs = false;
      try {
        if (!this.lock(fd, file)) return undefined;
        isOurs = isNamed(fd, file);
        if (isOurs) return fd;
      } finally {
        if (!isOurs) closeSync(fd);
      }
    }
    return undefined;
  }

  /** Locks an open file until it is closed. @returns Whether nobody else has it */
  lock(fd: number, file: string): boolean {
    if (this.#flock === undefined) return true;
    if (this.#flock(fd)) {
      this.#isSupported = true;
      return true;
    }
    // A file server that has locks may fail to give them for a while: then nobody gets one, and not everybody.
    this.#isSupported ??= this.#canLock(file);
    return !this.#isSupported;
  }

  /** Tells a file that is locked from one that cannot be: a new one is nobody else's. */
  #canLock(file: string): boolean {
    const probe = temporaryName(file);
    const fd = openSync(probe, APPEND | constants.O_EXCL, 0o666);
    try {
      return this.#flock?.(fd) === true;
    } finally {
      closeSync(fd);
      removeIfThere(probe);
    }
  }
}

/** Whether an open file is the one under a name. */
export function isNamed(fd: number, file: string): boolean {
  return isSameFile(fstatSync(fd), statSync(file, { throwIfNoEntry: false }));
}

/** Whether a file that is open is the one under a name. */
export function isSameFile(open: Stats, named: Stats | undefined): boolean {
  return named !== undefined && open.ino === named.ino && open.dev === named.dev;
}

function openFlock(): Flock | undefined {
  if (process.platform === "win32") return undefined;
  const { flock } = openCLibrary({ flock: { args: ["i32", "i32"], returns: "i32" } }).symbols;
  return (fd) => flock(fd, EXCLUSIVE_AT_ONCE) === 0;
}
