import type { FileWriter } from "../driver.ts";

/** An object on its way, in parts of which nobody sees anything yet. */
export interface ObjectUpload extends Disposable {
  /** Takes bytes; they may be reused when it resolves. */
  write(chunk: Uint8Array): Promise<void>;
  /** Makes the object. */
  finish(): Promise<unknown>;
  /** Gives up: what was sent is discarded. */
  abort(): Promise<void>;
  /** Waits for what is under way; does not fail. */
  settled(): Promise<void>;
}

/** A file that is written at its final place and is not there before the commit. */
export class CreatedObject implements FileWriter {
  readonly #driver: string;
  readonly #upload: ObjectUpload;
  readonly #ended: () => void;
  #sizeBytes = 0;
  #isOpen = true;

  /**
   * @param driver Its name, for error texts.
   * @param ended Called once, when the upload is neither needed nor in the way any more.
   */
  constructor(driver: string, upload: ObjectUpload, ended: () => void) {
    this.#driver = driver;
    this.#upload = upload;
    this.#ended = ended;
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
        // The failure is what counts; what cannot be aborted now is aborted by whoever looks for old uploads.
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
      this.#ended();
    }
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error(`${this.#driver}: the writer is closed already`);
  }
}
