import { randomBytes } from "node:crypto";
import type { ObjectUpload } from "../object-store/created-object.ts";
import type { PartBuffers } from "../object-store/part-buffers.ts";
import { PartPipeline } from "../object-store/part-pipeline.ts";
import { type Container, MAX_BLOCKS } from "./container.ts";
import { AZURE, AzureCallError } from "./errors.ts";

/** Blocks of one upload in memory at once. */
const MAX_BUFFERS = 8;

/** What all uploads of a driver share. */
export interface UploadParts {
  readonly container: Container;
  readonly buffers: PartBuffers;
}

/** A block that was sent. */
interface SentBlock {
  readonly id: string;
  readonly sizeBytes: number;
  /** Tells by chance equal blocks from others; nobody can make content under a path that its digest does not fit. */
  readonly hash: bigint;
}

/**
 * Makes a block blob of what it is given: of blocks that are sent side by side, or at once when it is little. The store forgets blocks
 * of which nothing is made after a week.
 */
export class StagedUpload implements ObjectUpload {
  readonly #container: Container;
  readonly #key: string;
  readonly #ifMatch: string | undefined;
  readonly #pipeline: PartPipeline;
  /** Of this upload alone; all ids of a blob must be equally long. */
  readonly #idPrefix = randomBytes(12).toString("hex");
  readonly #blocks: SentBlock[] = [];

  /** @param ifMatch What it makes may only take the place of this one. */
  constructor({ container, buffers }: UploadParts, key: string, ifMatch?: string) {
    this.#container = container;
    this.#key = key;
    this.#ifMatch = ifMatch;
    this.#pipeline = new PartPipeline({ buffers, maxBuffers: MAX_BUFFERS, send: (bytes, index) => this.#send(bytes, index) });
  }

  async write(chunk: Uint8Array): Promise<void> {
    await this.#pipeline.write(chunk);
  }

  /** @returns The blob's ETag. */
  async finish(): Promise<string> {
    await this.#pipeline.settle();
    const { rest, sentParts } = this.#pipeline;
    if (sentParts === 0 && this.#ifMatch === undefined) return await this.#container.put(this.#key, rest);
    if (rest.length > 0) await this.#send(rest, sentParts);
    try {
      return await this.#container.commitBlocks(this.#key, this.#blocks.map(({ id }) => id), this.#ifMatch);
    } catch (error) {
      const etag = error instanceof AzureCallError && error.isWithoutBlocks ? await this.#ifMadeByOthers() : undefined;
      if (etag === undefined) throw error;
      return etag;
    }
  }

  async abort(): Promise<void> {
    await this.settled();
  }

  async settled(): Promise<void> {
    await this.#pipeline.settle().catch(() => undefined);
  }

  /** Gives the buffers back. */
  [Symbol.dispose](): void {
    this.#pipeline[Symbol.dispose]();
  }

  async #send(bytes: Uint8Array, index: number): Promise<void> {
    if (index >= MAX_BLOCKS) throw new Error(`${AZURE}: ${this.#key} would need more than ${MAX_BLOCKS} blocks of ${bytes.length} bytes`);
    const id = Buffer.from(`${this.#idPrefix}${String(index).padStart(6, "0")}`).toString("base64");
    this.#blocks[index] = { id, sizeBytes: bytes.length, hash: Bun.hash.xxHash3(bytes) };
    await this.#container.stageBlock(this.#key, id, bytes);
  }

  /**
   * The store forgets our blocks when somebody else makes the same blob. When several push one layer at once, that is what happens; then
   * theirs is as good as ours.
   * @returns The ETag of a blob that has exactly our bytes.
   */
  async #ifMadeByOthers(): Promise<string | undefined> {
    const found = await this.#container.stat(this.#key);
    if (found === undefined || found.sizeBytes !== this.#blocks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)) return undefined;
    let startByte = 0;
    for (const { sizeBytes, hash } of this.#blocks) {
      const bytes = await this.#container.read(this.#key, { startByte, endByte: startByte + sizeBytes }, found.etag);
      if (bytes === undefined || Bun.hash.xxHash3(bytes) !== hash) return undefined;
      startByte += sizeBytes;
    }
    return found.etag;
  }
}
