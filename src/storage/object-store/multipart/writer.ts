import type { FileWriter } from "../../driver.ts";
import { readWhole } from "../resumed-stream.ts";
import { type Content, type ObjectFacts, type Part, type Range, sizeOf, type UploadRef } from "./bucket.ts";
import { beginWithCopy, PartUpload, type UploadParts } from "./part-upload.ts";
import { canStay, contentTag, isTagOf, NOTHING, tailKey, type Unfinished } from "./unfinished.ts";

/** What a writer is made of. */
export interface WriterParts extends UploadParts {
  readonly key: string;
  /** Held while the writer lives. */
  readonly hold: Disposable;
  /** Told of the object that a commit made. */
  readonly committed: (object: Pick<ObjectFacts, "sizeBytes" | "etag">) => void;
}

/** Goes on with a file where the last request left it. What that was is read; it is made ready only when there are bytes to add. */
export class AppendingWriter implements FileWriter {
  readonly #parts: WriterParts;
  readonly #found: Unfinished;
  #upload: PartUpload | undefined;
  #writtenBytes = 0;
  #hasFailed = false;
  #isOpen = true;
  #contentTag: string;

  constructor(parts: WriterParts, found: Unfinished) {
    this.#parts = parts;
    this.#found = found;
    this.#contentTag = contentTag({ uploadId: found.kind === "parts" ? found.upload?.uploadId : undefined, parts: found.kind === "parts" ? found.parts : [], objectTag: found.kind === "object" ? found.object?.etag : undefined });
  }

  get sizeBytes(): number {
    if (!this.#hasFailed) return this.#found.sizeBytes + this.#writtenBytes;
    // What is lost was in parts that could not be sent.
    return this.#upload === undefined ? this.#found.sizeBytes : sizeOf(this.#upload.storedParts);
  }

  /** Stands for the stored bytes, as found when the writer was opened, and as left when it was closed. */
  get contentTag(): string {
    return this.#contentTag;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    if (chunk.length === 0) return;
    if (this.#hasFailed) throw new Error(`${this.#parts.bucket.name}: an earlier write to this file failed`);
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
      const etag = this.#upload === undefined ? await this.#commitFound() : await this.#upload.finish();
      if (etag !== undefined && etag !== "") this.#parts.committed({ etag, sizeBytes: this.sizeBytes });
      await this.#tidyUp();
    });
  }

  async cancel(): Promise<void> {
    await this.#end(async () => {
      await this.#upload?.abort();
      if (this.#upload !== undefined || this.#found !== NOTHING) await discardFile(this.#parts, uploadsIn(this.#found));
    });
  }

  async close(): Promise<void> {
    await this.#end(() => this.#suspend());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) await this.close();
  }

  async #suspend(): Promise<void> {
    const { bucket, key } = this.#parts;
    if (this.#upload === undefined || this.#hasFailed) return;
    const stored = await this.#upload.suspend(async (rest, number) => {
      if (rest.length > 0 && !this.#canStay({ number, sizeBytes: rest.length })) await bucket.put(tailKey(key), rest);
      else if (this.#mayHaveTail()) await bucket.remove(tailKey(key));
    });
    if (stored !== undefined) this.#contentTag = contentTag({ uploadId: stored.upload.uploadId, parts: stored.parts });
  }

  /** Commits what earlier requests wrote. @returns The new object's ETag; undefined when it is an object already. */
  async #commitFound(): Promise<string | undefined> {
    const { bucket, key } = this.#parts;
    const { kind, upload, parts } = this.#found;
    if (kind === "object") return this.#found.object?.etag;
    if (kind === "parts" && upload !== undefined) return await bucket.complete(upload, parts);
    return await bucket.put(key, new Uint8Array());
  }

  /** After a commit, only the object is left. */
  async #tidyUp(): Promise<void> {
    const { bucket, key } = this.#parts;
    const uploads = this.#found.kind === "parts" ? this.#found.others : uploadsIn(this.#found);
    await Promise.all([...uploads.map((upload) => bucket.abort(upload)), ...(this.#mayHaveTail() ? [bucket.remove(tailKey(key))] : [])]);
  }

  #mayHaveTail(): boolean {
    const last = this.#found.parts.at(-1);
    return last !== undefined && !this.#canStay(last);
  }

  #canStay(last: Pick<Part, "number" | "sizeBytes">): boolean {
    const { buffers, bucket } = this.#parts;
    return canStay(last, buffers.partBytes, bucket.limits);
  }

  /** Makes what is stored ready to be gone on with. */
  async #begin(): Promise<PartUpload> {
    const { key, bucket } = this.#parts;
    const { kind, parts, upload, object, hasStrayParts } = this.#found;
    if (kind === "object" && object !== undefined) return await this.#beginWithObject(object);
    const last = parts.at(-1);
    if (last === undefined || upload === undefined) return new PartUpload(this.#parts, key, { upload: hasStrayParts ? undefined : upload });
    // They would count as soon as the gap before them is filled, by whoever finds them after a crash.
    if (hasStrayParts) return await this.#beginAnew(upload);
    if (this.#canStay(last)) return new PartUpload(this.#parts, key, { upload, parts });
    const tail = await this.#readTail(last);
    if (tail !== undefined) return await filledWith(new PartUpload(this.#parts, key, { upload, parts, replacesLast: true }), tail);
    return last.sizeBytes >= bucket.limits.minPartBytes ? new PartUpload(this.#parts, key, { upload, parts }) : await this.#beginAnew(upload);
  }

  /** The bytes of the last part, from beside the object; undefined when they are not there or are others. */
  async #readTail(last: Part): Promise<Uint8Array | undefined> {
    const { bucket, key } = this.#parts;
    const first = await bucket.open(tailKey(key), { startByte: 0, endByte: Number.POSITIVE_INFINITY });
    if (first !== undefined && first.lengthBytes !== last.sizeBytes) first.close();
    if (first === undefined || first.lengthBytes !== last.sizeBytes) return undefined;
    const tail = await this.#readRest(tailKey(key), first, 0);
    return isTagOf(last.etag, tail) ? tail : undefined;
  }

  /** As the parts cannot be gone on with, makes an object of them, and begins with a copy of that. */
  async #beginAnew(upload: UploadRef): Promise<PartUpload> {
    const etag = await this.#parts.bucket.complete(upload, this.#found.parts);
    return await this.#beginWithObject({ sizeBytes: this.#found.sizeBytes, etag });
  }

  async #beginWithObject(object: Pick<ObjectFacts, "sizeBytes" | "etag">): Promise<PartUpload> {
    const { bucket, key } = this.#parts;
    if (this.#found.kind === "object") for (const upload of uploadsIn(this.#found)) await bucket.abort(upload);
    const { copiedBytes, ...start } = await beginWithCopy(this.#parts, key, { key, sizeBytes: object.sizeBytes, etag: object.etag });
    const upload = new PartUpload(this.#parts, key, start);
    if (copiedBytes === object.sizeBytes) return upload;
    const range: Range = { startByte: copiedBytes, endByte: object.sizeBytes };
    const first = await bucket.open(key, range, { ifMatch: object.etag });
    if (first === undefined) throw new Error(`${bucket.name}: ${key} went away while it was written to`);
    return await filledWith(upload, await this.#readRest(key, first, copiedBytes));
  }

  async #readRest(key: string, first: Content, startByte: number): Promise<Uint8Array> {
    const { bucket } = this.#parts;
    const endByte = startByte + first.lengthBytes;
    const reopen = async (skipBytes: number): Promise<Content> => {
      const content = await bucket.open(key, { startByte: startByte + skipBytes, endByte }, { ifMatch: first.etag });
      if (content === undefined) throw new Error(`${bucket.name}: ${key} went away while it was read`);
      return content;
    };
    return await readWhole({ first, lengthBytes: first.lengthBytes, reopen, policy: bucket.policy });
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
    if (!this.#isOpen) throw new Error(`${this.#parts.bucket.name}: the writer is closed already`);
  }
}

/** Discards everything that is stored of a file, finished or not. @returns The state of a file that was never written to. */
export async function discardFile({ bucket, key }: Pick<WriterParts, "bucket" | "key">, uploads: readonly UploadRef[]): Promise<Unfinished> {
  await Promise.all([...uploads.map((upload) => bucket.abort(upload)), bucket.removeMany([key, tailKey(key)])]);
  return NOTHING;
}

function uploadsIn({ upload, others }: Unfinished): readonly UploadRef[] {
  return upload === undefined ? others : [upload, ...others];
}

async function filledWith(upload: PartUpload, bytes: Uint8Array): Promise<PartUpload> {
  await upload.write(bytes);
  return upload;
}
