import { availableParallelism } from "node:os";
import type { Digest } from "../oci/digest.ts";
import type { RepositoryMarks, RepositoryTask, RepositoryWalker } from "../registry/gc/mark.ts";
import type { MarkAnswer, MarkJob, PackedMarks } from "./mark-messages.ts";

const MAX_THREADS = 4;

interface Waiting {
  readonly resolve: (found: readonly RepositoryMarks[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Threads that walk over repositories of a store on local files. */
export class MarkThreads implements RepositoryWalker {
  readonly #rootdirectory: string;
  readonly #threads: readonly MarkThread[];
  #next = 0;

  constructor(rootdirectory: string) {
    this.#rootdirectory = rootdirectory;
    this.#threads = Array.from({ length: Math.min(MAX_THREADS, availableParallelism()) }, () => new MarkThread());
  }

  async walk(tasks: readonly RepositoryTask[]): Promise<readonly RepositoryMarks[]> {
    // In turn, from the first one in each walk over all: a thread remembers the manifests of the repositories that it had before.
    if (this.#threads.every((thread) => thread.pending === 0)) this.#next = 0;
    const thread = this.#threads[this.#next++ % this.#threads.length];
    if (thread === undefined) throw new Error("there are no threads");
    return await thread.run({ rootdirectory: this.#rootdirectory, tasks });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const thread of this.#threads) thread.stop(new Error("the collection is over"));
  }
}

class MarkThread {
  readonly #worker: Worker;
  /** The worker answers in order. */
  #waiting: Waiting[] = [];
  #failure: Error | undefined;

  constructor() {
    // The one form of URL that is found both in the source tree and in the compiled executable.
    this.#worker = new Worker(new URL("./mark-worker.ts", import.meta.url));
    this.#worker.onmessage = (event: MessageEvent<MarkAnswer>) => this.#settle(event.data);
    this.#worker.onerror = (event) => this.stop(new Error(`a thread of the collector failed: ${event.message}`));
  }

  get pending(): number {
    return this.#waiting.length;
  }

  run(job: MarkJob): Promise<readonly RepositoryMarks[]> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(job);
    });
  }

  stop(failure: Error): void {
    this.#failure ??= failure;
    this.#worker.terminate();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(failure);
  }

  #settle(answer: MarkAnswer): void {
    const waiting = this.#waiting.shift();
    if ("error" in answer) waiting?.reject(new Error(answer.error));
    else waiting?.resolve(answer.found.map(unpack));
  }
}

function unpack(packed: PackedMarks): RepositoryMarks {
  return { ...packed, live: packed.live === "" ? [] : (packed.live.split(" ") as Digest[]) };
}
