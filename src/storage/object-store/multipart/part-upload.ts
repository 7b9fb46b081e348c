import { mapConcurrently, waitForAll } from "../../../lib/concurrently.ts";
import type { PartBuffers } from "../part-buffers.ts";
import { PartPipeline } from "../part-pipeline.ts";
import type { MultipartBucket, Part, UploadRef } from "./bucket.ts";

/** What all uploads of a driver share. */
export interface UploadParts {
  readonly bucket: MultipartBucket;
  readonly buffers: PartBuffers;
  /** Parts of one upload in memory at once. */
  readonly maxBuffers: number;
  /** Parts that the store copies at once. */
  readonly copyConcurrency: number;
}

/** Where an upload goes on. */
export interface UploadStart {
  /** Begun when the first part is full, when left out. */
  readonly upload?: UploadRef | undefined;
  /** Parts that are there. */
  readonly parts?: readonly Part[];
  /** The last of these parts is sent again: its bytes are given to `write` first. */
  readonly replacesLast?: boolean;
}

/** Sends what it is given to one key, in parts of the chunk size, or at once when it is little. */
export class PartUpload implements Disposable {
  readonly #shared: UploadParts;
  readonly #key: string;
  readonly #pipeline: PartPipeline;
  readonly #parts: Part[];
  readonly #firstIndex: number;
  #upload: Promise<UploadRef> | undefined;

  constructor(shared: UploadParts, key: string, start: UploadStart = {}) {
    const { upload, parts = [], replacesLast = false } = start;
    this.#shared = shared;
    this.#key = key;
    this.#upload = upload === undefined ? undefined : Promise.resolve(upload);
    this.#parts = [...parts];
    this.#firstIndex = replacesLast ? parts.length - 1 : parts.length;
    this.#pipeline = new PartPipeline({
      buffers: shared.buffers,
      maxBuffers: shared.maxBuffers,
      firstAlone: replacesLast,
      send: (bytes, index) => this.#sendPart(bytes, this.#firstIndex + index),
    });
  }

  /** The parts that the store has, up to the first that it lacks. */
  get storedParts(): readonly Part[] {
    const gap = Array.from(this.#parts).findIndex((part) => part === undefined);
    return gap === -1 ? this.#parts : this.#parts.slice(0, gap);
  }

  /** Takes bytes; they may be reused when it resolves. */
  async write(chunk: Uint8Array): Promise<void> {
    await this.#pipeline.write(chunk);
  }

  /** Makes an object of everything. @returns Its ETag. */
  async finish(): Promise<string> {
    await this.#pipeline.settle();
    const { rest } = this.#pipeline;
    if (this.#upload === undefined && this.#parts.length === 0) return await this.#shared.bucket.put(this.#key, rest);
    await this.#sendRest(rest);
    return await this.#shared.bucket.complete(await this.#begun(), this.#parts);
  }

  /**
   * Sends what fills no part as the last one, so that everything is stored.
   * @param beside Runs while it is sent, with the same bytes and the number of their part.
   * @returns The upload, with its parts; undefined when there is not a byte.
   */
  async suspend(beside: (rest: Uint8Array, partNumber: number) => Promise<unknown>): Promise<{ readonly upload: UploadRef; readonly parts: readonly Part[] } | undefined> {
    await this.#pipeline.settle();
    const { rest } = this.#pipeline;
    if (this.#upload === undefined && rest.length === 0) return undefined;
    await waitForAll(this.#sendRest(rest), beside(rest, this.#firstIndex + this.#pipeline.sentParts + 1));
    return { upload: await this.#begun(), parts: this.#parts };
  }

  /** Gives up: what was sent is discarded by the store. */
  async abort(): Promise<void> {
    await this.settled();
    const upload = await this.#upload?.catch(() => undefined);
    if (upload !== undefined) await this.#shared.bucket.abort(upload);
  }

  /** Gives buffers back, when nothing is under way any more. */
  [Symbol.dispose](): void {
    this.#pipeline[Symbol.dispose]();
  }

  /** Waits for the parts under way; does not fail. */
  async settled(): Promise<void> {
    await this.#pipeline.settle().catch(() => undefined);
  }

  /** The id of the upload, once it was begun, for those who must not take it for somebody else's. */
  async uploadId(): Promise<string | undefined> {
    return (await this.#upload?.catch(() => undefined))?.uploadId;
  }

  async #sendRest(rest: Uint8Array): Promise<void> {
    if (rest.length > 0) await this.#sendPart(rest, this.#firstIndex + this.#pipeline.sentParts);
  }

  async #sendPart(bytes: Uint8Array, index: number): Promise<void> {
    checkPartNumber(index + 1, this.#key, this.#shared);
    this.#parts[index] = await this.#shared.bucket.uploadPart(await this.#begun(), index + 1, bytes);
  }

  #begun(): Promise<UploadRef> {
    this.#upload ??= this.#shared.bucket.createUpload(this.#key);
    return this.#upload;
  }
}

/** Begins an upload with the bytes of an object: full parts are copied by the store. @returns Where it goes on. */
export async function beginWithCopy(shared: UploadParts, key: string, source: { readonly key: string; readonly sizeBytes: number; readonly etag: string }): Promise<UploadStart & { readonly copiedBytes: number }> {
  const { bucket, buffers, copyConcurrency } = shared;
  const count = Math.floor(source.sizeBytes / buffers.partBytes);
  if (count === 0) return { copiedBytes: 0 };
  checkPartNumber(count, key, shared);
  const upload = await bucket.createUpload(key);
  const parts = await copyParts(bucket, upload, { ...source, sizeBytes: count * buffers.partBytes, partBytes: buffers.partBytes, concurrency: copyConcurrency });
  return { upload, parts, copiedBytes: count * buffers.partBytes };
}

/** How an object is copied into parts. */
export interface PartCopy {
  readonly key: string;
  /** The bytes to copy, from the beginning. */
  readonly sizeBytes: number;
  readonly etag: string;
  readonly partBytes: number;
  readonly concurrency: number;
}

/** Copies an object into the parts of an upload. The upload is aborted when that fails. */
export async function copyParts(bucket: MultipartBucket, upload: UploadRef, source: PartCopy): Promise<Part[]> {
  const { sizeBytes, partBytes } = source;
  const starts = Array.from({ length: Math.ceil(sizeBytes / partBytes) }, (_, index) => index * partBytes);
  try {
    return await mapConcurrently(starts, source.concurrency, (startByte) =>
      bucket.copyPart(upload, startByte / partBytes + 1, { key: source.key, range: { startByte, endByte: Math.min(startByte + partBytes, sizeBytes) }, ifMatch: source.etag }),
    );
  } catch (error) {
    await bucket.abort(upload).catch(() => undefined);
    throw error;
  }
}

function checkPartNumber(number: number, key: string, { bucket, buffers }: UploadParts): void {
  const { maxParts } = bucket.limits;
  if (number > maxParts) throw new Error(`${bucket.name}: ${key} would need more than ${maxParts} parts of ${buffers.partBytes} bytes: raise storage.${bucket.name}.chunksize`);
}
