import { release } from "../lib/release.ts";
import type { SharedBuffers } from "./shared-buffers.ts";
import { type BodyHead, headBytes, type UploadBody } from "./upload-body.ts";

/** Takes bytes; they may be reused when it resolves. */
export type ByteSink = (bytes: Uint8Array) => Promise<void>;

/**
 * Lands a large body: gathers it in two buffers by turns, one being filled while the other is written and hashed.
 * Everything that was received before a failure of the body is landed; then the failure is thrown.
 */
export async function landBody(head: BodyHead, body: UploadBody, landing: { readonly sink: ByteSink; readonly buffers: SharedBuffers }): Promise<void> {
  const buffer = landing.buffers.takeIfFree();
  if (buffer === undefined) return await landAsItComes(head, body, landing.sink);
  await using gathered = new GatheredBytes(buffer, landing);
  for (const chunk of head.chunks) await gathered.add(chunk);
  for (;;) {
    let chunk: Uint8Array | undefined;
    try {
      chunk = await body.next();
    } catch (failure) {
      await gathered.flush();
      throw failure;
    }
    if (chunk === undefined) return await gathered.flush();
    await gathered.add(chunk);
  }
}

async function landAsItComes(head: BodyHead, body: UploadBody, sink: ByteSink): Promise<void> {
  await landHead(head, sink);
  for (let chunk = await body.next(); chunk !== undefined; chunk = await body.next()) await sink(chunk);
}

async function landHead(head: BodyHead, sink: ByteSink): Promise<void> {
  await sink(headBytes(head));
  for (const chunk of head.chunks) release(chunk);
}

class GatheredBytes implements AsyncDisposable {
  readonly #sink: ByteSink;
  readonly #buffers: SharedBuffers;
  #filling: Uint8Array;
  #filled = 0;
  /** Taken when the first buffer is full, if there is one left. */
  #other: Uint8Array | undefined;
  /** Resolves when the other buffer may be filled again; never rejects. */
  #landing: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(buffer: Uint8Array, landing: { readonly sink: ByteSink; readonly buffers: SharedBuffers }) {
    this.#sink = landing.sink;
    this.#buffers = landing.buffers;
    this.#filling = buffer;
  }

  async add(chunk: Uint8Array): Promise<void> {
    let offset = 0;
    while (offset < chunk.length) {
      const length = Math.min(chunk.length - offset, this.#filling.length - this.#filled);
      this.#filling.set(chunk.subarray(offset, offset + length), this.#filled);
      this.#filled += length;
      offset += length;
      if (this.#filled === this.#filling.length) await this.#turn();
    }
    release(chunk);
  }

  /** Lands what is left, and waits until all has landed. */
  async flush(): Promise<void> {
    if (this.#filled > 0) await this.#turn();
    await this.#settle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#landing;
    this.#buffers.give(this.#filling);
    if (this.#other !== undefined) this.#buffers.give(this.#other);
  }

  async #turn(): Promise<void> {
    await this.#settle();
    const full = this.#filling;
    this.#landing = this.#sink(full.subarray(0, this.#filled)).catch((error: unknown) => {
      this.#failure = { error };
    });
    this.#filled = 0;
    const next = this.#other ?? this.#buffers.takeIfFree();
    if (next === undefined) return await this.#settle();
    this.#filling = next;
    this.#other = full;
  }

  async #settle(): Promise<void> {
    await this.#landing;
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
