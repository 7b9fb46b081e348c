import type { FileWriter } from "../driver.ts";
import { resumedStream } from "../object-store/resumed-stream.ts";
import type { FoundBlob, WriterParts } from "./append-writer.ts";
import { AZURE } from "./errors.ts";
import { StagedUpload } from "./upload.ts";

/**
 * Goes on with a block blob, to which nothing can be appended: a new one is made of its bytes and those that are added, and takes its
 * place at the end. Uploads in progress are none, neither ours nor distribution's; but the interface of drivers has it.
 */
export class RewriteWriter implements FileWriter {
  readonly #parts: WriterParts;
  readonly #found: FoundBlob;
  #etag: string;
  #upload: StagedUpload | undefined;
  #writtenBytes = 0;
  #hasFailed = false;
  #isOpen = true;

  constructor(parts: WriterParts, found: FoundBlob) {
    this.#parts = parts;
    this.#found = found;
    this.#etag = found.etag;
  }

  get sizeBytes(): number {
    return this.#hasFailed ? this.#found.sizeBytes : this.#found.sizeBytes + this.#writtenBytes;
  }

  /** The ETag of what is stored. */
  get contentTag(): string {
    return this.#etag;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    if (chunk.length === 0) return;
    if (this.#hasFailed) throw new Error(`${AZURE}: an earlier write to this file failed`);
    try {
      await (await this.#begun()).write(chunk);
      this.#writtenBytes += chunk.length;
    } catch (error) {
      this.#hasFailed = true;
      await this.#upload?.settled();
      throw error;
    }
  }

  async commit(): Promise<void> {
    await this.#end(async () => {
      await this.#replace();
      this.#parts.committed(this.#etag);
    });
  }

  async cancel(): Promise<void> {
    await this.#end(async () => {
      await this.#upload?.abort();
      await this.#parts.container.remove(this.#parts.key);
    });
  }

  async close(): Promise<void> {
    await this.#end(async () => {
      if (!this.#hasFailed) await this.#replace();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) await this.close();
  }

  async #replace(): Promise<void> {
    if (this.#upload !== undefined) this.#etag = await this.#upload.finish();
  }

  async #begun(): Promise<StagedUpload> {
    if (this.#upload !== undefined) return this.#upload;
    const { container, key } = this.#parts;
    const { etag } = this.#found;
    this.#upload = new StagedUpload(this.#parts, key, etag);
    const open = async (startByte: number) => {
      const content = await container.open(key, { startByte, endByte: Number.POSITIVE_INFINITY }, etag);
      if (content === undefined) throw new Error(`${AZURE}: ${key} went away while it was written to`);
      return content;
    };
    if (this.#found.sizeBytes === 0) return this.#upload;
    const first = await open(0);
    for await (const chunk of resumedStream({ first, lengthBytes: first.lengthBytes, reopen: open, policy: container.policy })) await this.#upload.write(chunk);
    return this.#upload;
  }

  async #end(work: () => Promise<void>): Promise<void> {
    this.#requireOpen();
    this.#isOpen = false;
    try {
      await work();
    } finally {
      await this.#upload?.settled();
      this.#upload?.[Symbol.dispose]();
      this.#parts.hold[Symbol.dispose]();
    }
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error(`${AZURE}: the writer is closed already`);
  }
}
