import { pauseAfter, type RetryPolicy } from "./retry.ts";

/** Bytes on their way from a store. */
export interface ByteSource {
  /** The next bytes; undefined at the end. @throws when the connection breaks or the store falls silent */
  next(): Promise<Uint8Array | undefined>;
  /** Gives up the connection. */
  close(): void;
}

/** What is read. */
export interface ResumedStreamOptions {
  /** What was opened already, at the first byte wanted. */
  readonly first: ByteSource;
  /** Bytes that must come. */
  readonly lengthBytes: number;
  /** Opens the rest of the same object again. @param skipBytes How many of the wanted bytes came already. */
  readonly reopen: (skipBytes: number) => Promise<ByteSource>;
  readonly policy: RetryPolicy;
}

/** Failures in a row without a byte between them are counted; the end is one when bytes are missing. */
class ResumedReader {
  readonly #options: ResumedStreamOptions;
  #source: ByteSource | undefined;
  #received = 0;
  #failures = 0;
  #isCancelled = false;

  constructor(options: ResumedStreamOptions) {
    this.#options = options;
    this.#source = options.first;
  }

  /** @returns undefined when all has come */
  async next(): Promise<Uint8Array | undefined> {
    const { lengthBytes } = this.#options;
    while (this.#received < lengthBytes && !this.#isCancelled) {
      try {
        this.#source ??= await this.#options.reopen(this.#received);
        const chunk = await this.#source.next();
        if (chunk === undefined) throw new TruncatedError(this.#received, lengthBytes);
        if (this.#received + chunk.length > lengthBytes) throw new Error(`the store sent more than the ${lengthBytes} bytes it announced`);
        this.#received += chunk.length;
        if (chunk.length === 0) continue;
        this.#failures = 0;
        return chunk;
      } catch (error) {
        await this.#recover(error);
      }
    }
    this.close();
    return undefined;
  }

  cancel(): void {
    this.#isCancelled = true;
    this.close();
  }

  close(): void {
    this.#source?.close();
    this.#source = undefined;
  }

  async #recover(error: unknown): Promise<void> {
    this.close();
    if (this.#isCancelled) return;
    const { policy } = this.#options;
    const isTransient = error instanceof TruncatedError || policy.isTransient(error);
    if (!isTransient || this.#failures >= policy.maxRetries) throw error;
    this.#failures++;
    await pauseAfter(this.#failures, policy);
  }
}

class TruncatedError extends Error {
  constructor(receivedBytes: number, lengthBytes: number) {
    super(`the store sent ${receivedBytes} of ${lengthBytes} bytes`);
    this.name = "TruncatedError";
  }
}

/**
 * A stream that outlives broken connections: after a failure it opens the rest of the object again. It reads only when it is read,
 * and never gives more or less than the length.
 */
export function resumedStream(options: ResumedStreamOptions): ReadableStream<Uint8Array> {
  const reader = new ResumedReader(options);
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const chunk = await reader.next();
        if (chunk === undefined) controller.close();
        else controller.enqueue(chunk);
      },
      cancel: () => reader.cancel(),
    },
    { highWaterMark: 0 },
  );
}

/** Reads a source to its end into memory. @throws Error when it ends early or does not end in time */
export async function readWhole(options: ResumedStreamOptions): Promise<Uint8Array> {
  const reader = new ResumedReader(options);
  const bytes = new Uint8Array(options.lengthBytes);
  let filled = 0;
  try {
    for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) {
      bytes.set(chunk, filled);
      filled += chunk.length;
    }
  } finally {
    reader.close();
  }
  return bytes;
}
