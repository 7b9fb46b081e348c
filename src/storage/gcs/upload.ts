import type { PartBuffers } from "../object-store/part-buffers.ts";
import { PartPipeline } from "../object-store/part-pipeline.ts";
import { pauseAfter } from "../object-store/retry.ts";
import { BLOB_TYPE, type Bucket, type ObjectFacts, type SessionState } from "./bucket.ts";
import { EMPTY_CRC32C, formatCrc32c, updateCrc32c } from "./crc32c.ts";
import { isTransient } from "./errors.ts";
import { SESSION_STEP } from "./unfinished.ts";

/** One buffer is sent while the other is filled; a session takes its bytes one after the other. */
const BUFFERS = 2;

/** What all uploads of a driver share. */
export interface UploadParts {
  readonly bucket: Bucket;
  /** Of a multiple of what sessions take. */
  readonly buffers: PartBuffers;
}

/** Where an upload goes on. */
export interface UploadStart {
  readonly sessionUri?: string | undefined;
  /** How many bytes the session has. */
  readonly sessionBytes?: number;
  /** The checksum of these bytes and those that are given to `refill`; undefined when it is not known. */
  readonly crc: number | undefined;
}

/** An upload that was put away. */
export interface SuspendedUpload {
  readonly sessionUri: string | undefined;
  readonly sessionBytes: number;
  /** What the session does not take yet. Valid until the upload is disposed of. */
  readonly tail: Uint8Array;
  readonly crc: string | undefined;
}

/** Sends what it is given to one key, in a session, or at once when it is little. */
export class Upload implements Disposable {
  readonly #bucket: Bucket;
  readonly #key: string;
  readonly #pipeline: PartPipeline;
  #session: Promise<string> | undefined;
  /** What the session has of the bytes that we gave it. */
  #sessionBytes: number;
  #crc: number | undefined;
  #lastSent: Promise<unknown> = Promise.resolve();

  constructor({ bucket, buffers }: UploadParts, key: string, start: UploadStart = { crc: EMPTY_CRC32C }) {
    this.#bucket = bucket;
    this.#key = key;
    this.#session = start.sessionUri === undefined ? undefined : Promise.resolve(start.sessionUri);
    this.#sessionBytes = start.sessionBytes ?? 0;
    this.#crc = start.crc;
    this.#pipeline = new PartPipeline({ buffers, maxBuffers: BUFFERS, send: (bytes) => this.#sendInTurn(bytes) });
  }

  /** Takes bytes; they may be reused when it resolves. */
  async write(chunk: Uint8Array): Promise<void> {
    if (this.#crc !== undefined) this.#crc = updateCrc32c(this.#crc, chunk);
    await this.#pipeline.write(chunk);
  }

  /** Takes bytes that an earlier request wrote and the session does not have. */
  async refill(chunk: Uint8Array): Promise<void> {
    await this.#pipeline.write(chunk);
  }

  /**
   * Makes an object of everything. The checksum is proven by the store: bytes that somebody else sent to the session cannot get in.
   * @param ifGeneration Only in place of this generation, if it goes without a session.
   */
  async finish(ifGeneration?: string): Promise<ObjectFacts> {
    await this.#pipeline.settle();
    const { rest } = this.#pipeline;
    if (this.#session === undefined) {
      const crc32c = formatCrc32c(this.#crc ?? updateCrc32c(EMPTY_CRC32C, rest));
      return await this.#bucket.put(this.#key, { bytes: rest, contentType: BLOB_TYPE, crc32c, ...(ifGeneration === undefined ? {} : { ifGeneration }) });
    }
    const object = await this.#send(rest, { isLast: true });
    if (object === undefined) throw new Error(`gcs: ${this.#key}: the upload did not come to an end`);
    await this.#verify(object);
    return object;
  }

  /** Sends all that the session takes. @returns What is to be kept for a later request */
  async suspend(): Promise<SuspendedUpload> {
    await this.#pipeline.settle();
    const { rest } = this.#pipeline;
    const wholeBytes = rest.length - (rest.length % SESSION_STEP);
    if (wholeBytes > 0) await this.#send(rest.subarray(0, wholeBytes), { isLast: false });
    return {
      sessionUri: await this.#session,
      sessionBytes: this.#sessionBytes,
      tail: rest.subarray(wholeBytes),
      crc: this.#crc === undefined ? undefined : formatCrc32c(this.#crc),
    };
  }

  /** Gives up: what was sent is discarded by the store. */
  async abort(): Promise<void> {
    await this.settled();
    const uri = await this.#session?.catch(() => undefined);
    if (uri !== undefined) await this.#bucket.cancelSession(uri);
  }

  /** Waits for what is under way; does not fail. */
  async settled(): Promise<void> {
    await this.#pipeline.settle().catch(() => undefined);
  }

  /** Gives buffers back, when nothing is under way any more. */
  [Symbol.dispose](): void {
    this.#pipeline[Symbol.dispose]();
  }

  /** Sends a full buffer after those before it, and not at all if one of them failed. */
  async #sendInTurn(bytes: Uint8Array): Promise<void> {
    const sent = this.#lastSent.then(() => this.#send(bytes, { isLast: false }));
    this.#lastSent = sent;
    await sent;
  }

  /**
   * Sends bytes to the session until it has them, whatever happens on the way.
   * @returns The object, after the last bytes.
   */
  async #send(bytes: Uint8Array, { isLast }: { readonly isLast: boolean }): Promise<ObjectFacts | undefined> {
    const { policy } = this.#bucket;
    const startByte = this.#sessionBytes;
    const endByte = startByte + bytes.length;
    let stored = startByte;
    for (let failures = 0; ; ) {
      const { state, error } = await this.#trySend({ bytes: bytes.subarray(stored - startByte), startByte: stored, endByte, isLast });
      if (state.isComplete) {
        if (!isLast) throw this.#foreign();
        return state.object;
      }
      if (state.storedBytes < startByte) throw new Error(`gcs: ${this.#key}: the store has lost bytes of the upload: it has ${state.storedBytes} of ${startByte}`);
      if (isLast && state.storedBytes > endByte) throw this.#foreign();
      // More than was sent: an earlier request got further than it could tell. The store skips what it has.
      if (!isLast && state.storedBytes >= endByte) {
        this.#sessionBytes = endByte;
        return undefined;
      }
      failures = state.storedBytes > stored ? 0 : failures + 1;
      stored = state.storedBytes;
      if (failures > policy.maxRetries) throw error ?? new Error(`gcs: ${this.#key}: the store takes no more bytes of the upload`);
      if (failures > 0) await pauseAfter(failures, policy);
    }
  }

  /** Sends once. After a failure that may pass, the store is asked how far it came. */
  async #trySend(part: { readonly bytes: Uint8Array; readonly startByte: number; readonly endByte: number; readonly isLast: boolean }): Promise<{ readonly state: SessionState; readonly error?: unknown }> {
    const { bytes, startByte, endByte, isLast } = part;
    const uri = await this.#begun();
    const end = isLast ? { totalBytes: endByte, crc32c: this.#crc === undefined ? undefined : formatCrc32c(this.#crc) } : {};
    try {
      return { state: await this.#bucket.sendToSession(uri, { bytes, startByte, ...end }) };
    } catch (error) {
      if (!isTransient(error)) throw error;
      return { state: await this.#bucket.sessionState(uri), error };
    }
  }

  async #verify(object: ObjectFacts): Promise<void> {
    const expected = this.#crc === undefined ? undefined : formatCrc32c(this.#crc);
    if (expected === undefined || object.crc32c === undefined || object.crc32c === expected) return;
    await this.#bucket.remove(this.#key, object.generation);
    throw this.#foreign();
  }

  #foreign(): Error {
    return new Error(`gcs: ${this.#key} was written to by somebody else, too; its bytes are given up`);
  }

  #begun(): Promise<string> {
    this.#session ??= this.#bucket.startSession(this.#key);
    return this.#session;
  }
}
