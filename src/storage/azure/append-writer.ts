import type { FileWriter } from "../driver.ts";
import { PartPipeline } from "../object-store/part-pipeline.ts";
import { AZURE, AzureCallError } from "./errors.ts";
import type { UploadParts } from "./upload.ts";

/** One block is on its way, another waits for it, and a third is filled. */
const MAX_BUFFERS = 3;

/** What a writer is made of. */
export interface WriterParts extends UploadParts {
  readonly key: string;
  /** Held while the writer lives. */
  readonly hold: Disposable;
  /** Told of the blob that a commit left. */
  readonly committed: (etag: string) => void;
}

/** The blob that a writer goes on with. */
export interface FoundBlob {
  readonly sizeBytes: number;
  readonly etag: string;
}

/**
 * Goes on with an append blob, or begins one, as distribution does. Every block is appended only where it belongs, and only to the blob
 * that was found or left by the block before: of two writers, wherever they are, all but one fail.
 */
export class AppendWriter implements FileWriter {
  readonly #parts: WriterParts;
  readonly #pipeline: PartPipeline;
  #etag: string | undefined;
  /** What the store has. */
  #storedBytes: number;
  #sizeBytes: number;
  #lastAppended: Promise<unknown> = Promise.resolve();
  #hasFailed = false;
  #isOpen = true;

  /** @param found The blob; undefined when there is none. */
  constructor(parts: WriterParts, found: FoundBlob | undefined) {
    this.#parts = parts;
    this.#etag = found?.etag;
    this.#storedBytes = this.#sizeBytes = found?.sizeBytes ?? 0;
    this.#pipeline = new PartPipeline({ buffers: parts.buffers, maxBuffers: MAX_BUFFERS, send: (bytes) => this.#appendInTurn(bytes) });
  }

  get sizeBytes(): number {
    // After a failure, what counts is what the next writer will find.
    return this.#hasFailed ? this.#storedBytes : this.#sizeBytes;
  }

  /** The ETag of what is stored. */
  get contentTag(): string {
    return this.#etag ?? "";
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    if (this.#hasFailed) throw new Error(`${AZURE}: an earlier write to this file failed`);
    try {
      await this.#pipeline.write(chunk);
      this.#sizeBytes += chunk.length;
    } catch (error) {
      this.#hasFailed = true;
      await this.#settled();
      throw error;
    }
  }

  async commit(): Promise<void> {
    await this.#end(async () => this.#parts.committed(await this.#flush()));
  }

  async cancel(): Promise<void> {
    await this.#end(async () => {
      await this.#settled();
      await this.#parts.container.remove(this.#parts.key);
    });
  }

  async close(): Promise<void> {
    await this.#end(async () => {
      if (!this.#hasFailed) await this.#flush();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) await this.close();
  }

  /** Stores everything. @returns The ETag of a blob that is there also when nothing was written: distribution goes on with no other */
  async #flush(): Promise<string> {
    await this.#pipeline.settle();
    const { rest } = this.#pipeline;
    if (rest.length > 0) await this.#append(rest);
    return (this.#etag ??= await this.#begin());
  }

  /** Appends a block after those before it, and not at all if one of them failed. */
  async #appendInTurn(bytes: Uint8Array): Promise<void> {
    const appended = this.#lastAppended.then(() => this.#append(bytes));
    this.#lastAppended = appended;
    await appended;
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const { container, key } = this.#parts;
    try {
      const etag = (this.#etag ??= await this.#begin());
      this.#etag = await container.append(key, { bytes, startByte: this.#storedBytes, etag });
      this.#storedBytes += bytes.length;
    } catch (error) {
      throw this.#orForeign(error);
    }
  }

  async #begin(): Promise<string> {
    try {
      return await this.#parts.container.createAppendBlob(this.#parts.key);
    } catch (error) {
      throw this.#orForeign(error);
    }
  }

  #orForeign(error: unknown): unknown {
    const isForeign = error instanceof AzureCallError && (error.isChanged || error.isMissing || error.isThereAlready);
    return isForeign ? new Error(`${AZURE}: ${this.#parts.key} was written to by somebody else, too`, { cause: error }) : error;
  }

  async #settled(): Promise<void> {
    await this.#pipeline.settle().catch(() => undefined);
  }

  async #end(work: () => Promise<void>): Promise<void> {
    this.#requireOpen();
    this.#isOpen = false;
    try {
      await work();
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    } finally {
      await this.#settled();
      this.#pipeline[Symbol.dispose]();
      this.#parts.hold[Symbol.dispose]();
    }
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error(`${AZURE}: the writer is closed already`);
  }
}
