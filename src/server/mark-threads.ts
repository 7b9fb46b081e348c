import { availableParallelism } from "node:os";
import type { Digest } from "../oci/digest.ts";
import type { BlobShard, RepositoryFolder } from "../registry/gc/inventory.ts";
import type { RepositoryMarks, RepositoryTask, StoredBlob, StoreWalker } from "../registry/gc/walker.ts";
import { type MarkAnswer, type MarkJob, type MarkSettings, packDigests, type PackedMarks, unpackBlobs, unpackDigests } from "./mark-messages.ts";

const MAX_THREADS = 4;

interface Waiting {
  readonly resolve: (answer: MarkAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/** Threads that look over a store on local files. */
export class MarkThreads implements StoreWalker, AsyncDisposable {
  readonly #settings: MarkSettings;
  readonly #threads: readonly MarkThread[];
  /** Who had the repositories from this one on: a thread remembers the manifests that it read. */
  readonly #walked = new Map<string, MarkThread>();

  constructor(settings: MarkSettings) {
    this.#settings = settings;
    // Beside a registry one processor stays free: a thread gives way between its calls to the system, and some of them take long.
    const processors = availableParallelism() - (settings.inBackground ? 1 : 0);
    this.#threads = Array.from({ length: Math.min(MAX_THREADS, Math.max(1, processors)) }, () => new MarkThread());
  }

  async folders(): Promise<readonly RepositoryFolder[]> {
    const answer = await this.#leastBusy().run({ settings: this.#settings, call: "folders" });
    return "folders" in answer ? answer.folders : fail(answer);
  }

  async walk(tasks: readonly RepositoryTask[]): Promise<readonly (RepositoryMarks | undefined)[]> {
    const first = tasks[0]?.folder.path ?? "";
    const thread = this.#walked.get(first) ?? this.#leastBusy();
    this.#walked.set(first, thread);
    const answer = await thread.run({ settings: this.#settings, call: "walk", tasks });
    return "marks" in answer ? answer.marks.map((marks) => (marks === undefined ? undefined : unpack(marks))) : fail(answer);
  }

  async shards(): Promise<readonly BlobShard[]> {
    const answer = await this.#leastBusy().run({ settings: this.#settings, call: "shards" });
    return "shards" in answer ? answer.shards : fail(answer);
  }

  async blobsIn(shards: readonly BlobShard[]): Promise<readonly Digest[]> {
    const answer = await this.#leastBusy().run({ settings: this.#settings, call: "blobsIn", shards });
    return "digests" in answer ? unpackDigests(answer.digests) : fail(answer);
  }

  async look(digests: readonly Digest[]): Promise<readonly StoredBlob[]> {
    const answer = await this.#leastBusy().run({ settings: this.#settings, call: "look", digests: packDigests(digests) });
    return "blobs" in answer ? unpackBlobs(digests, answer.blobs) : fail(answer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const thread of this.#threads) thread.stop(new Error("the collection is over"));
  }

  #leastBusy(): MarkThread {
    return this.#threads.reduce((best, thread) => (thread.pending < best.pending ? thread : best));
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
    this.#worker.onmessage = (event: MessageEvent<MarkAnswer>) => this.#waiting.shift()?.resolve(event.data);
    this.#worker.onerror = (event) => this.stop(new Error(`a thread of the collector failed: ${event.message}`));
  }

  get pending(): number {
    return this.#waiting.length;
  }

  run(job: MarkJob): Promise<MarkAnswer> {
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
}

function fail(answer: MarkAnswer): never {
  throw new Error("error" in answer ? answer.error : "a thread of the collector answered something else");
}

function unpack(packed: PackedMarks): RepositoryMarks {
  return { ...packed, live: unpackDigests(packed.live), strayLayers: unpackDigests(packed.strayLayers) };
}
