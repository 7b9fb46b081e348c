import { dirname } from "node:path";
import { syncFolder } from "./sync-folder.ts";

/**
 * Makes changes of names durable on a file system with one journal for all of them, see `isJournalOrdered`: a folder that is synced
 * takes with it every change that was made before its own last one. One sync at a time serves all who wait, by the folder that changed
 * last; under load that is one for a dozen changes.
 */
export class JournalSync {
  #isRunning = false;
  #next: { folder: string; readonly done: PromiseWithResolvers<void> } | undefined;

  /** To be called in the same breath as the change: the order of the calls is taken for the order of the changes. */
  sync(folder: string): Promise<void> {
    if (!this.#isRunning) return this.#run(folder);
    // The one that is running may have missed the change.
    this.#next ??= { folder, done: Promise.withResolvers() };
    this.#next.folder = folder;
    return this.#next.done.promise;
  }

  async #run(folder: string): Promise<void> {
    this.#isRunning = true;
    try {
      await syncNearest(folder);
    } finally {
      this.#isRunning = false;
      const next = this.#next;
      this.#next = undefined;
      if (next !== undefined) this.#run(next.folder).then(next.done.resolve, next.done.reject);
    }
  }
}

/** A folder that was removed since then has changed its parent later still. */
async function syncNearest(folder: string): Promise<void> {
  for (let nearest = folder; !(await syncFolder(nearest)); nearest = dirname(nearest)) if (dirname(nearest) === nearest) return;
}
