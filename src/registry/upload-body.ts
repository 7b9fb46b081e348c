import { RegistryError } from "../oci/errors.ts";
import { BULK_BYTES } from "./upload-hash.ts";
import type { ByteSource } from "./registry.ts";
import type { UploadHold } from "./upload-hold.ts";

/** More and smaller chunks than this are gathered in a large buffer, that a trickling client cannot make us hold thousands of them. */
const MAX_HEAD_CHUNKS = 32;

/** A request body, read chunk by chunk, that is as long as was announced or fails. */
export class UploadBody {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #hold: UploadHold | undefined;
  readonly #announced: number | undefined;
  #receivedBytes = 0;
  #isWaiting = false;
  #ended = false;
  #excess = false;

  constructor(source: ByteSource, options: { readonly hold?: UploadHold; readonly lengthBytes?: number | undefined } = {}) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#hold = options.hold;
    this.#announced = options.lengthBytes;
  }

  /**
   * The next bytes; undefined at the end.
   * @throws RegistryError SIZE_INVALID after the last byte that was announced, or when fewer came; RANGE_INVALID when another
   *   request took over the upload; whatever the body itself fails with.
   */
  async next(): Promise<Uint8Array | undefined> {
    if (this.#excess) throw new RegistryError("SIZE_INVALID", { detail: `the body is longer than the announced ${this.#announced} bytes` });
    const chunk = await this.#read();
    if (chunk === undefined) {
      if (this.#announced !== undefined && this.#receivedBytes < this.#announced) {
        throw new RegistryError("SIZE_INVALID", { detail: `the body ended after ${this.#receivedBytes} of the announced ${this.#announced} bytes` });
      }
      return undefined;
    }
    const left = this.#announced === undefined ? chunk.length : this.#announced - this.#receivedBytes;
    this.#excess = chunk.length > left;
    const accepted = this.#excess ? chunk.subarray(0, left) : chunk;
    this.#receivedBytes += accepted.length;
    return accepted;
  }

  /** Lets the client know that no more is read. */
  async close(): Promise<void> {
    if (this.#ended || this.#iterator.return === undefined) return;
    const closed = this.#iterator.return().catch(() => undefined);
    // While a read is under way a generator cannot end; it does when the read does.
    if (!this.#isWaiting) await closed;
  }

  async #read(): Promise<Uint8Array | undefined> {
    this.#isWaiting = true;
    const pending = this.#iterator.next().finally(() => {
      this.#isWaiting = false;
    });
    const { done, value } = await (this.#hold === undefined ? pending : this.#hold.wait(pending));
    this.#ended = done === true;
    return done === true ? undefined : value;
  }
}

/** The beginning of a body. */
export interface BodyHead {
  readonly chunks: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** Whether there is more to read: the body is a large one. */
  readonly goesOn: boolean;
  /** What the body failed with after these chunks; undefined when it did not. */
  readonly failure: unknown;
}

/** Reads a body until it ends, fails, or turns out to be a large one. */
export async function readHead(body: UploadBody): Promise<BodyHead> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    while (sizeBytes < BULK_BYTES && chunks.length < MAX_HEAD_CHUNKS) {
      const chunk = await body.next();
      if (chunk === undefined) return { chunks, sizeBytes, goesOn: false, failure: undefined };
      chunks.push(chunk);
      sizeBytes += chunk.length;
    }
    return { chunks, sizeBytes, goesOn: true, failure: undefined };
  } catch (failure) {
    return { chunks, sizeBytes, goesOn: false, failure };
  }
}

/** The bytes of a head in one piece. */
export function headBytes(head: BodyHead): Uint8Array {
  const [first] = head.chunks;
  return head.chunks.length === 1 && first !== undefined ? first : Buffer.concat(head.chunks);
}
