import type { FileWriter } from "../driver.ts";
import { resumedStream } from "../object-store/resumed-stream.ts";
import { type ObjectFacts, SESSION_TYPE } from "./bucket.ts";
import { EMPTY_CRC32C, formatCrc32c, updateCrc32c } from "./crc32c.ts";
import { GcsCallError } from "./errors.ts";
import { NOTHING, sessionMetadata, type Unfinished } from "./unfinished.ts";
import { Upload, type UploadParts } from "./upload.ts";

/** What a writer is made of. */
export interface WriterParts extends UploadParts {
  readonly key: string;
  /** Held while the writer lives. */
  readonly hold: Disposable;
  /** Told of the object that a commit made. */
  readonly committed: (generation: string) => void;
}

/** Goes on with a file where the last request left it. What that was is read; it is made ready only when there is something to do. */
export class AppendingWriter implements FileWriter {
  readonly #parts: WriterParts;
  readonly #found: Unfinished;
  #upload: Upload | undefined;
  #writtenBytes = 0;
  #hasFailed = false;
  #isOpen = true;
  #generation: string;

  constructor(parts: WriterParts, found: Unfinished) {
    this.#parts = parts;
    this.#found = found;
    this.#generation = found.generation;
  }

  get sizeBytes(): number {
    // What the next request finds is what the last one left: nothing is recorded of a write that failed.
    return this.#hasFailed ? this.#found.sizeBytes : this.#found.sizeBytes + this.#writtenBytes;
  }

  /** The generation of the object that holds, or stands for, the bytes. */
  get contentTag(): string {
    return this.#generation;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    if (chunk.length === 0) return;
    if (this.#hasFailed) throw new Error("gcs: an earlier write to this file failed");
    try {
      this.#upload ??= await this.#begin();
      await this.#upload.write(chunk);
      this.#writtenBytes += chunk.length;
    } catch (error) {
      this.#hasFailed = true;
      await this.#upload?.settled();
      throw error;
    }
  }

  async commit(): Promise<void> {
    await this.#end(async () => {
      if (this.#upload === undefined && this.#found.kind === "object") return this.#parts.committed(this.#found.generation);
      this.#upload ??= await this.#begin();
      const object = await this.#orForeign(this.#upload.finish(this.#found.generation));
      this.#parts.committed(object.generation);
    });
  }

  async cancel(): Promise<void> {
    await this.#end(async () => {
      await this.#upload?.abort();
      await discardFile(this.#parts, this.#found);
    });
  }

  async close(): Promise<void> {
    await this.#end(() => this.#suspend());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) await this.close();
  }

  async #suspend(): Promise<void> {
    if (this.#upload === undefined || this.#hasFailed) return;
    const { bucket, key } = this.#parts;
    const { sessionUri, sessionBytes, tail, crc } = await this.#upload.suspend();
    // Who else wrote since this writer was opened is found out here: only one of both can replace what was found.
    const object = await this.#orForeign(
      bucket.put(key, {
        bytes: tail,
        contentType: SESSION_TYPE,
        crc32c: formatCrc32c(updateCrc32c(EMPTY_CRC32C, tail)),
        metadata: sessionMetadata({ uri: sessionUri, bytes: sessionBytes, crc }),
        ifGeneration: this.#found.generation,
      }),
    );
    this.#generation = object.generation;
  }

  /** Makes what is stored ready to be gone on with. */
  async #begin(): Promise<Upload> {
    const { key } = this.#parts;
    const { kind, sizeBytes, sessionUri, sessionBytes, crc } = this.#found;
    if (kind === "nothing") return new Upload(this.#parts, key);
    // An object that was committed is sent once more, to a new session.
    const upload = kind === "session" ? new Upload(this.#parts, key, { sessionUri, sessionBytes, crc }) : new Upload(this.#parts, key, { crc });
    try {
      if (sizeBytes > sessionBytes) for await (const chunk of await this.#readObject()) await upload.refill(chunk);
      return upload;
    } catch (error) {
      await upload.settled();
      upload[Symbol.dispose]();
      throw error;
    }
  }

  /** Streams the content of the object that was found. */
  async #readObject(): Promise<ReadableStream<Uint8Array>> {
    const { bucket, key } = this.#parts;
    const { generation } = this.#found;
    const open = async (startByte: number) => {
      const content = await bucket.open(key, { startByte, endByte: Number.POSITIVE_INFINITY }, generation);
      if (content === undefined) throw this.#foreign();
      return content;
    };
    const first = await open(0);
    return resumedStream({ first, lengthBytes: first.lengthBytes, reopen: open, policy: bucket.policy });
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

  async #orForeign(put: Promise<ObjectFacts>): Promise<ObjectFacts> {
    try {
      return await put;
    } catch (error) {
      throw error instanceof GcsCallError && error.isChanged ? this.#foreign(error) : error;
    }
  }

  #foreign(cause?: unknown): Error {
    return new Error(`gcs: ${this.#parts.key} was written to by somebody else, too`, cause === undefined ? undefined : { cause });
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error("gcs: the writer is closed already");
  }
}

/** Discards everything that is stored of a file, finished or not. @returns The state of a file that was never written to. */
export async function discardFile({ bucket, key }: Pick<WriterParts, "bucket" | "key">, found: Unfinished): Promise<Unfinished> {
  if (found.sessionUri !== undefined) await bucket.cancelSession(found.sessionUri);
  await bucket.remove(key);
  return NOTHING;
}
