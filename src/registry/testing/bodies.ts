import type { ByteSource } from "../registry.ts";

/** A body that comes at once, in chunks of a given size. */
export async function* bodyOf(bytes: Uint8Array | string, chunkBytes = 64 * 1024): ByteSource {
  const all = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
  for (let offset = 0; offset < all.length; offset += chunkBytes) yield all.subarray(offset, offset + chunkBytes);
}

/** A body that breaks off after its bytes, as when a client goes away. */
export async function* brokenBody(bytes: Uint8Array | string, failure: Error = new Error("the client went away")): ByteSource {
  yield* bodyOf(bytes);
  throw failure;
}

/** A body whose chunks come when the test says so. */
export class SlowBody implements AsyncIterable<Uint8Array> {
  readonly #chunks: (Uint8Array | undefined)[] = [];
  #wake: (() => void) | undefined;
  /** Whether the reader said that it reads no more. */
  isClosed = false;

  send(bytes: Uint8Array | string): void {
    this.#push(typeof bytes === "string" ? Buffer.from(bytes) : bytes);
  }

  end(): void {
    this.#push(undefined);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        while (this.#chunks.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
        const chunk = this.#chunks.shift();
        if (chunk === undefined) return;
        yield chunk;
      }
    } finally {
      this.isClosed = true;
    }
  }

  #push(chunk: Uint8Array | undefined): void {
    this.#chunks.push(chunk);
    this.#wake?.();
  }
}

/** Bytes that look random and are the same in every run. */
export function patternBytes(sizeBytes: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let state = seed;
  for (let index = 0; index < sizeBytes; index++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}
