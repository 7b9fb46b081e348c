import { release } from "../lib/release.ts";
import type { SharedBuffers } from "../registry/shared-buffers.ts";

/** A stretch of the bytes; all but the last are full. */
interface Block {
  readonly at: number;
  readonly buffer: Uint8Array;
}

/**
 * The most recent bytes of something long that comes piece by piece, without gaps, in a few large buffers that are used again and
 * again. What it gives out are views: they hold their bytes until these are dropped.
 */
export class RecentBytes {
  readonly #buffers: SharedBuffers;
  readonly #blocks: Block[] = [];
  #end = 0;

  constructor(buffers: SharedBuffers) {
    this.#buffers = buffers;
  }

  /** Position of the first byte that is here; equal to `end` when none is. */
  get start(): number {
    return this.#blocks[0]?.at ?? this.#end;
  }

  /** How many bytes have come so far. */
  get end(): number {
    return this.#end;
  }

  /** Takes bytes in; the chunk is of no use afterwards. */
  append(chunk: Uint8Array): void {
    for (let taken = 0; taken < chunk.length; ) {
      const { at, buffer } = this.#filling();
      const offset = this.#end - at;
      const part = chunk.subarray(taken, taken + buffer.length - offset);
      buffer.set(part, offset);
      taken += part.length;
      this.#end += part.length;
    }
    release(chunk);
  }

  /** The bytes from a position up to another one, or fewer when their block ends before; undefined when they are not here. */
  view(position: number, end: number): Uint8Array | undefined {
    // Those who keep up are at the end.
    const block = this.#blocks.findLast(({ at }) => at <= position);
    if (block === undefined || position >= this.#end) return undefined;
    return block.buffer.subarray(position - block.at, Math.min(end, this.#end) - block.at);
  }

  /** Lets go of all blocks that end before a position. */
  dropBefore(position: number): void {
    for (let [oldest] = this.#blocks; oldest !== undefined && Math.min(this.#end, endOf(oldest)) <= position; [oldest] = this.#blocks) {
      this.#blocks.shift();
      this.#buffers.give(oldest.buffer);
    }
  }

  #filling(): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined && this.#end < endOf(last)) return last;
    const block = { at: this.#end, buffer: this.#buffers.take() };
    this.#blocks.push(block);
    return block;
  }
}

function endOf({ at, buffer }: Block): number {
  return at + buffer.length;
}
