/** Large enough that system calls and messages to the hash thread cost next to nothing, small enough for many uploads at once. */
export const BUFFER_BYTES = 1024 * 1024;
/** Buffers in use at once: bodies beyond that, of which most can only be slow, are written as they come. */
const MAX_BUFFERS = 128;
/** Buffers kept for the next upload. */
const MAX_FREE_BUFFERS = 8;

/** Large buffers in shared memory, which the hash thread reads without a copy. */
export class SharedBuffers {
  readonly #maxTaken: number;
  readonly #free: Uint8Array[] = [];
  #taken = 0;

  constructor(maxTaken = MAX_BUFFERS) {
    this.#maxTaken = maxTaken;
  }

  /** @returns undefined when too many are taken */
  takeIfFree(): Uint8Array | undefined {
    return this.#taken < this.#maxTaken ? this.take() : undefined;
  }

  /** For those whose number is bounded otherwise. */
  take(): Uint8Array {
    this.#taken++;
    return this.#free.pop() ?? new Uint8Array(new SharedArrayBuffer(BUFFER_BYTES));
  }

  give(buffer: Uint8Array): void {
    this.#taken--;
    if (this.#free.length < MAX_FREE_BUFFERS) this.#free.push(buffer);
  }
}
