import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { waitForAll } from "../../lib/concurrently.ts";
import { isErrno } from "./errno.ts";
import { JournalSync } from "./journal-sync.ts";
import { syncFolder } from "./sync-folder.ts";

/** How often a folder that a clean-up removes between its making and its use is made again. */
const MAKE_TRIES = 10;

interface Sync {
  readonly done: Promise<void>;
  /** A sync that begins when this one has ended, for those who came after it began. */
  next: Promise<void> | undefined;
}

/** Makes folders, and makes it certain that what they list outlives a power loss. */
export class Folders {
  readonly #journal: JournalSync | undefined;
  /** Folders in which new ones were made that a power loss may still undo; the number tells one making from the next. */
  readonly #unsynced = new Map<string, number>();
  readonly #syncs = new Map<string, Sync>();
  #makings = 0;

  /** @param isOrdered Whether syncing one name makes every earlier change of names durable, see `isJournalOrdered`. */
  constructor(isOrdered = false) {
    this.#journal = isOrdered ? new JournalSync() : undefined;
  }

  /** Runs an action that needs a folder; makes the folder with its parents when it is missing. */
  async within<T>(folder: string, action: () => T | Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        return await action();
      } catch (error) {
        if (!isErrno(error, "ENOENT") || tries === MAKE_TRIES) throw error;
        this.#make(folder);
      }
    }
  }

  /** Makes the names in a folder durable, and the folder itself where it was made by this process. To be called in the same breath as the change. */
  async sync(folder: string): Promise<void> {
    if (this.#journal !== undefined) return await this.#journal.sync(folder);
    const folders = [folder];
    if (this.#unsynced.size > 0) folders.push(...ancestorsOf(folder).filter((ancestor) => this.#unsynced.has(ancestor)));
    await waitForAll(...folders.map((each) => this.#syncNames(each)));
  }

  /** Makes a name durable that went from one folder to another, and its absence where it was. To be called in the same breath as the change. */
  async syncMove(from: string, to: string): Promise<void> {
    if (this.#journal !== undefined) await this.#journal.sync(to);
    else await waitForAll(this.sync(to), this.#syncNames(from));
  }

  /** Makes the names in a folder durable, as they are now. Calls for one folder share what they wait for. */
  #syncNames(folder: string): Promise<void> {
    const running = this.#syncs.get(folder);
    if (running === undefined) return this.#start(folder);
    // The one that is running may have missed the caller's change.
    running.next ??= running.done.then(
      () => this.#start(folder),
      () => this.#start(folder),
    );
    return running.next;
  }

  #make(folder: string): void {
    // Where the making fails, it is not known how far it came.
    let firstMade: string | undefined = "";
    try {
      firstMade = mkdirSync(folder, { recursive: true, mode: 0o777 });
    } catch (error) {
      // A clean-up removed a parent meanwhile: the caller tries again.
      if (!isErrno(error, "ENOENT")) throw error;
    } finally {
      if (firstMade !== undefined && this.#journal === undefined) this.#markUnsynced(folder, firstMade);
    }
  }

  #markUnsynced(folder: string, firstMade: string): void {
    const making = ++this.#makings;
    for (const ancestor of ancestorsOf(folder)) {
      if (ancestor.length < dirname(firstMade).length) return;
      this.#unsynced.set(ancestor, making);
    }
  }

  #start(folder: string): Promise<void> {
    const making = this.#unsynced.get(folder);
    const done = syncFolder(folder)
      .then(() => {
        if (this.#unsynced.get(folder) === making) this.#unsynced.delete(folder);
      })
      .finally(() => {
        if (this.#syncs.get(folder) === sync) this.#syncs.delete(folder);
      });
    const sync: Sync = { done, next: undefined };
    this.#syncs.set(folder, sync);
    return done;
  }
}

function ancestorsOf(folder: string): readonly string[] {
  const ancestors: string[] = [];
  for (let child = folder, parent = dirname(folder); parent !== child; child = parent, parent = dirname(parent)) ancestors.push(parent);
  return ancestors;
}
