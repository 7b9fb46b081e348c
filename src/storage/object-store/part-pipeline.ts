import type { PartBuffers } from "./part-buffers.ts";

/** How parts are made and sent. */
export interface PartPipelineOptions {
  readonly buffers: PartBuffers;
  /** Buffers at once, at most: those being sent and the one being filled. */
  readonly maxBuffers: number;
  /**
   * Sends a full part. The bytes stay as they are until it resolves.
   * @param index 0 for the first part of this pipeline.
   */
  readonly send: (bytes: Uint8Array, index: number) => Promise<void>;
  /** The first part is sent before any other: it replaces one that is shorter, and what comes after must not count before. */
  readonly firstAlone?: boolean;
}

/**
 * Gathers bytes into parts of one size and sends full ones side by side. Waiting for `write` is the back-pressure. What does not fill
 * a part stays here, as `rest`, until the owner says what is to become of it.
 */
export class PartPipeline implements Disposable {
  readonly #options: PartPipelineOptions;
  readonly #partBytes: number;
  /** Parts under way; these promises do not reject. */
  readonly #sending = new Set<Promise<void>>();
  /** Buffers that hold nothing. */
  readonly #idle: Uint8Array[] = [];
  #taken = 0;
  #filling: Uint8Array | undefined;
  #filled = 0;
  #sentParts = 0;
  #isFirstSent = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: PartPipelineOptions) {
    this.#options = options;
    this.#partBytes = options.buffers.partBytes;
  }

  /** How many parts were full and given to `send`. */
  get sentParts(): number {
    return this.#sentParts;
  }

  /** The bytes that fill no part yet. Valid until the next call. */
  get rest(): Uint8Array {
    return this.#filling?.subarray(0, this.#filled) ?? new Uint8Array();
  }

  /** Whether a part could not be sent: nothing more is taken. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Takes bytes; they may be reused when it resolves. @throws what `send` threw for an earlier part */
  async write(chunk: Uint8Array): Promise<void> {
    for (let offset = 0; offset < chunk.length; ) {
      this.#throwIfFailed();
      const buffer = (this.#filling ??= await this.#nextBuffer());
      const length = Math.min(chunk.length - offset, this.#partBytes - this.#filled);
      buffer.set(chunk.subarray(offset, offset + length), this.#filled);
      this.#filled += length;
      offset += length;
      if (this.#filled === this.#partBytes) this.#sendFilled(buffer);
    }
  }

  /** Waits until every part that was full is sent. @throws what `send` threw */
  async settle(): Promise<void> {
    await Promise.all(this.#sending);
    this.#throwIfFailed();
  }

  /** Gives the buffers back; to be called when nothing is under way. */
  [Symbol.dispose](): void {
    if (this.#filling !== undefined) this.#idle.push(this.#filling);
    this.#filling = undefined;
    this.#filled = 0;
    this.#options.buffers.release(this.#taken, this.#idle.splice(0));
    this.#taken = 0;
  }

  #sendFilled(buffer: Uint8Array): void {
    this.#filling = undefined;
    this.#filled = 0;
    const index = this.#sentParts++;
    const sending = this.#send(buffer, index).finally(() => this.#sending.delete(sending));
    this.#sending.add(sending);
  }

  async #send(buffer: Uint8Array, index: number): Promise<void> {
    try {
      await this.#options.send(buffer, index);
      if (index === 0) this.#isFirstSent = true;
      this.#idle.push(buffer);
    } catch (error) {
      // The buffer is not used again: a request that was given up may still hold it.
      this.#failure ??= { error };
    }
  }

  async #nextBuffer(): Promise<Uint8Array> {
    for (;;) {
      const buffer = this.#sending.size < this.#maxBuffers() ? (this.#idle.pop() ?? this.#takeBuffer()) : undefined;
      if (buffer !== undefined) return buffer;
      await Promise.race(this.#sending);
      this.#throwIfFailed();
    }
  }

  #maxBuffers(): number {
    const waitsForFirst = this.#options.firstAlone === true && this.#sentParts > 0 && !this.#isFirstSent;
    return waitsForFirst ? 0 : this.#options.maxBuffers;
  }

  #takeBuffer(): Uint8Array | undefined {
    const buffer = this.#taken === 0 ? this.#options.buffers.take() : this.#options.buffers.tryTakeExtra();
    if (buffer !== undefined) this.#taken++;
    return buffer;
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
