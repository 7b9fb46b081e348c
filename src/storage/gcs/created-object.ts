import type { FileWriter } from "../driver.ts";
import type { Upload } from "./upload.ts";

/** A file that is written at its final place and is not there before the commit. */
export class CreatedObject implements FileWriter {
  readonly #upload: Upload;
  #sizeBytes = 0;
  #isOpen = true;

  constructor(upload: Upload) {
    this.#upload = upload;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    await this.#upload.write(chunk);
    this.#sizeBytes += chunk.length;
  }

  async commit(): Promise<void> {
    await this.#end(async () => {
      try {
        await this.#upload.finish();
      } catch (error) {
        // The failure is what counts; the store forgets sessions by itself after a week.
        await this.#upload.abort().catch(() => undefined);
        throw error;
      }
    });
  }

  async cancel(): Promise<void> {
    await this.#end(() => this.#upload.abort());
  }

  async close(): Promise<void> {
    await this.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) await this.cancel();
  }

  async #end(work: () => Promise<void>): Promise<void> {
    this.#requireOpen();
    this.#isOpen = false;
    try {
      await work();
    } finally {
      await this.#upload.settled();
      this.#upload[Symbol.dispose]();
    }
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error("gcs: the writer is closed already");
  }
}
