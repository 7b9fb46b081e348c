import { type Digest, type DigestAlgorithm, makeDigest } from "../oci/digest.ts";
import type { Logger } from "../telemetry/log.ts";

/** What the hash thread is asked to do. */
export type HashRequest =
  | { readonly op: "update"; readonly id: number; readonly algorithm: DigestAlgorithm; readonly bytes: Uint8Array }
  | { readonly op: "digest"; readonly id: number; readonly algorithm: DigestAlgorithm }
  | { readonly op: "close"; readonly id: number };

/** What the hash thread answers. */
export type HashAnswer = null | { readonly hex: string } | { readonly error: string };

/** From this size on, a hop to another thread costs less than hashing here (a quarter of a megabyte takes some 150 µs). */
export const BULK_BYTES = 256 * 1024;

/** Hashes of uploads under way: small ones on this thread, large ones on threads of their own that start when first needed. */
export class UploadHasher implements AsyncDisposable {
  readonly #log: Logger;
  readonly #threads: readonly HashThread[];
  #opened = 0;

  constructor(log: Logger, threadCount: number) {
    this.#log = log;
    this.#threads = Array.from({ length: threadCount }, () => new HashThread(log));
  }

  /** Begins a hash of nothing. */
  begin(algorithm: DigestAlgorithm): RunningHash {
    return new RunningHash(algorithm, this);
  }

  /** An engine for bytes like these, the first of a hash. */
  engineFor(bytes: Uint8Array, algorithm: DigestAlgorithm): HashEngine {
    const thread = bytes.length < BULK_BYTES ? undefined : this.#threads[this.#opened++ % this.#threads.length];
    return thread === undefined ? new LocalHash(algorithm) : thread.open(algorithm);
  }

  /** Says that a hash was lost; the upload goes on without it. */
  reportLoss(error: unknown): void {
    this.#log.warn("running hash of an upload lost, it will be read again when it ends", { "err.message": String(error) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const thread of this.#threads) thread.stop();
  }
}

/** Where a hash is computed. */
interface HashEngine {
  update(bytes: Uint8Array): Promise<void>;
  hex(): Promise<string>;
  close(): void;
}

/** The hash of what an upload holds so far. A failure loses the hash, never the upload. */
export class RunningHash implements Disposable {
  readonly algorithm: DigestAlgorithm;
  readonly #hasher: UploadHasher;
  #engine: HashEngine | undefined;
  #sizeBytes = 0;
  #isOver = false;

  constructor(algorithm: DigestAlgorithm, hasher: UploadHasher) {
    this.algorithm = algorithm;
    this.#hasher = hasher;
  }

  /** How many bytes were hashed; -1 when the hash ended or was lost. */
  get sizeBytes(): number {
    return this.#isOver ? -1 : this.#sizeBytes;
  }

  /** Adds bytes, which must stay as they are until it resolves. Never rejects. */
  async update(bytes: Uint8Array): Promise<void> {
    if (this.#isOver) return;
    try {
      this.#engine ??= this.#hasher.engineFor(bytes, this.algorithm);
      this.#sizeBytes += bytes.length;
      await this.#engine.update(bytes);
    } catch (error) {
      this.#lose(error);
    }
  }

  /** Ends the hash. @returns Undefined when it was lost. */
  async digest(): Promise<Digest | undefined> {
    if (this.#isOver) return undefined;
    try {
      const engine = this.#engine ?? new LocalHash(this.algorithm);
      const hex = await engine.hex();
      this.#isOver = true;
      return makeDigest(this.algorithm, hex);
    } catch (error) {
      this.#lose(error);
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    if (!this.#isOver) this.#engine?.close();
    this.#isOver = true;
  }

  #lose(error: unknown): void {
    if (!this.#isOver) this.#hasher.reportLoss(error);
    this.#isOver = true;
  }
}

class LocalHash implements HashEngine {
  readonly #hasher: Bun.CryptoHasher;

  constructor(algorithm: DigestAlgorithm) {
    this.#hasher = new Bun.CryptoHasher(algorithm);
  }

  async update(bytes: Uint8Array): Promise<void> {
    this.#hasher.update(bytes);
  }

  async hex(): Promise<string> {
    return this.#hasher.digest("hex");
  }

  close(): void {}
}

interface Waiting {
  readonly resolve: (answer: HashAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/** One worker with the hashes that live in it. When it dies they are lost, and the next hash starts another. */
class HashThread {
  readonly #log: Logger;
  #worker: Worker | undefined;
  /** The worker answers in order. */
  #waiting: Waiting[] = [];
  #lastId = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  open(algorithm: DigestAlgorithm): HashEngine {
    const worker = (this.#worker ??= this.#start());
    const id = ++this.#lastId;
    const ask = async (request: HashRequest): Promise<HashAnswer> => {
      if (this.#worker !== worker) throw new Error("the hash thread ended");
      return await new Promise((resolve, reject) => {
        // An idle thread keeps nobody from ending; one at work does.
        if (this.#waiting.push({ resolve, reject }) === 1) worker.ref();
        worker.postMessage(request);
      });
    };
    return {
      update: async (bytes) => void (await ask({ op: "update", id, algorithm, bytes: sendable(bytes) })),
      hex: async () => hexOf(await ask({ op: "digest", id, algorithm })),
      close: () => void ask({ op: "close", id }).catch(() => undefined),
    };
  }

  stop(): void {
    this.#fail(new Error("the hash thread was stopped"));
  }

  #start(): Worker {
    // The one form of URL that is found both in the source tree and in the compiled executable.
    const worker = new Worker(new URL("./upload-hash-worker.ts", import.meta.url));
    worker.unref();
    worker.onmessage = (event: MessageEvent<HashAnswer>) => this.#settle(event.data);
    worker.onerror = (event) => {
      if (this.#worker !== worker) return;
      this.#log.error("hash thread failed", { "err.message": event.message });
      this.#fail(new Error(`the hash thread failed: ${event.message}`));
    };
    return worker;
  }

  #settle(answer: HashAnswer): void {
    const waiting = this.#waiting.shift();
    if (this.#waiting.length === 0) this.#worker?.unref();
    if (answer !== null && "error" in answer) waiting?.reject(new Error(answer.error));
    else waiting?.resolve(answer);
  }

  #fail(error: Error): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(error);
  }
}

// What is not shared is copied by the message; without this the whole buffer around a view would be.
function sendable(bytes: Uint8Array): Uint8Array {
  return bytes.buffer instanceof SharedArrayBuffer ? bytes : bytes.slice();
}

function hexOf(answer: HashAnswer): string {
  if (answer === null || !("hex" in answer)) throw new Error("the hash thread gave no digest");
  return answer.hex;
}
