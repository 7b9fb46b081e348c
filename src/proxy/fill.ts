import type { Clock } from "../lib/clock.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import type { UploadHasher } from "../registry/upload-hash.ts";
import type { SharedBuffers } from "../registry/upload-landing.ts";
import type { Logger } from "../telemetry/log.ts";
import { followFile, type Spool, temporarySpool } from "./spool.ts";
import { type IncomingBlob, SMALL_BLOB_BYTES } from "./store.ts";
import type { UpstreamBlob } from "./upstream.ts";
import { UpstreamError } from "./upstream-error.ts";

/** How far upstream may be ahead of the store and the hash, in bytes held in memory. */
const MAX_AHEAD_BYTES = 4 * 1024 * 1024;
/** Bytes that stay in memory although they are stored, so that clients who keep up cost no reads. */
const KEPT_BYTES = SMALL_BLOB_BYTES;
const READ_BYTES = 256 * 1024;
/** An upstream that sends nothing for so long is asked again. */
const STALL_MS = 30_000;
const STALL_CHECK_MS = 5_000;
/** How often a transfer that broke off is taken up again where it stood. */
const MAX_RESUMES = 4;
const RESUME_DELAY_MS = 250;

/** What a fill is made of. */
export interface FillParts {
  readonly digest: Digest;
  /** Asks upstream. @throws UpstreamError */
  readonly fetch: (options: { readonly offset: number; readonly signal: AbortSignal }) => Promise<UpstreamBlob>;
  /** Begins to store. */
  readonly receive: (sizeBytes: number | undefined) => Promise<IncomingBlob>;
  /** Reads from the store, once it is there. */
  readonly readStored: (range: { readonly offset: number; readonly length: number }) => Promise<ReadableStream<Uint8Array>>;
  /** Where bytes are kept for late clients when the store cannot be read while it is written. */
  readonly spoolFolder: string;
  /** How long it goes on without a client. */
  readonly unattendedMs: number;
  /** Ends it. */
  readonly closing: AbortSignal;
  readonly hasher: UploadHasher;
  readonly buffers: SharedBuffers;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of bytes from upstream. */
  readonly onBytes: (bytes: number) => void;
}

interface Reader {
  position: number;
  readonly end: number;
}

interface Piece {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/**
 * One blob on its way from upstream into the store, and to any number of clients at once. It depends on none of them: who leaves
 * does not stop it, who is slow reads from the store's file what the others have had from memory, who comes late begins at the
 * first byte at once. The last byte is held back until the digest is proven, so no client ever takes a wrong blob for whole.
 * A store that fails does not cut clients off: what goes on to arrive is handed to those who are there, at the pace of the slowest.
 */
export class BlobFill {
  /** Undefined when upstream did not say; then there is nothing to read before it is stored. */
  readonly sizeBytes: number | undefined;
  /** Resolves when the blob is stored and readable in its repository; rejects when it will not be. */
  readonly stored: Promise<void>;
  readonly #parts: FillParts;
  readonly #stop: Pick<AbortController, "abort" | "signal">;
  readonly #resources = new AsyncDisposableStack();
  readonly #readers = new Set<Reader>();
  /** The most recent bytes, in order, without gaps. */
  readonly #tail: Piece[] = [];
  #arrived = 0;
  /** Bytes that were hashed, and stored as long as the store takes them. */
  #taken = 0;
  #isComplete = false;
  #isVerified = false;
  #storeFailure: { readonly error: unknown } | undefined;
  #failure: { readonly error: unknown } | undefined;
  #spool: Spool | undefined;
  #isOver = false;
  #changed = Promise.withResolvers<void>();
  #unattended: AbortController | undefined;

  /** Asks upstream and begins. @throws UpstreamError when it does not have the blob, or does not give it. */
  static async begin(parts: FillParts): Promise<BlobFill> {
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, parts.closing]);
    return new BlobFill(parts, await parts.fetch({ offset: 0, signal }), { abort: (reason) => stop.abort(reason), signal });
  }

  private constructor(parts: FillParts, first: UpstreamBlob, stop: Pick<AbortController, "abort" | "signal">) {
    this.#parts = parts;
    this.#stop = stop;
    this.sizeBytes = first.sizeBytes;
    this.#stop.signal.addEventListener("abort", () => this.#notify(), { once: true });
    this.stored = this.#run(first).finally(() => this.#end());
    // Who waits for it gets the failure; nobody needs to.
    this.stored.catch(() => undefined);
    this.#watchAttendance();
  }

  /** Whether a client that comes now can have all of it: not when bytes are gone that were never stored. */
  get isJoinable(): boolean {
    return this.#failure === undefined && this.#storeFailure === undefined;
  }

  /** The bytes from an offset on, as they arrive. The stream fails when they turn out not to be the blob's. */
  stream(offset: number, length: number): ReadableStream<Uint8Array> {
    const reader: Reader = { position: offset, end: offset + length };
    this.#readers.add(reader);
    this.#unattended?.abort();
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const chunk = await this.#next(reader);
            if (chunk !== undefined) return controller.enqueue(chunk);
          } catch (error) {
            await this.#leave(reader);
            throw error;
          }
          await this.#leave(reader);
          controller.close();
        },
        cancel: () => this.#leave(reader),
      },
      { highWaterMark: 0 },
    );
  }


  async #run(first: UpstreamBlob): Promise<void> {
    const received = this.#receive(first);
    try {
      await using incoming = await this.#beginStoring();
      await this.#take(incoming);
      await received;
      if (this.#storeFailure !== undefined) throw this.#storeFailure.error;
      await incoming?.commit();
    } catch (error) {
      if (!this.#isVerified) {
        this.#failure ??= { error };
        this.#stop.abort(error);
        this.#notify();
      }
      throw error;
    }
  }

  /** Takes in what upstream sends. Never rejects: a failure is kept for all who wait. */
  async #receive(first: UpstreamBlob): Promise<void> {
    try {
      for await (const bytes of this.#arrivals(first)) {
        this.#tail.push({ at: this.#arrived, bytes });
        this.#arrived += bytes.length;
        this.#parts.onBytes(bytes.length);
        this.#notify();
        while (this.#arrived - this.#floor() > MAX_AHEAD_BYTES && this.#failure === undefined) await this.#change();
        if (this.#failure !== undefined) return;
      }
      this.#isComplete = true;
    } catch (error) {
      this.#failure = { error };
    } finally {
      this.#notify();
    }
  }

  /** The bytes from upstream, taken up again where they broke off. */
  async *#arrivals(first: UpstreamBlob): AsyncGenerator<Uint8Array> {
    let part: UpstreamBlob | undefined = first;
    for (let resumes = 0; ; resumes++) {
      try {
        part ??= await this.#parts.fetch({ offset: this.#arrived, signal: this.#stop.signal });
        yield* this.#watched(part);
        if (this.sizeBytes === undefined || this.#arrived === this.sizeBytes) return;
        throw new UpstreamError("unavailable", `the blob broke off after ${this.#arrived} of ${this.sizeBytes} bytes`);
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        const canResume = this.sizeBytes !== undefined && this.#arrived < this.sizeBytes && resumes < MAX_RESUMES;
        if (!canResume || (error instanceof UpstreamError && error.problem !== "unavailable")) throw error;
        this.#parts.log.info("upstream broke off in the middle of a blob", { digest: this.#parts.digest, received: this.#arrived, size: this.sizeBytes });
        part = undefined;
        await this.#parts.clock.sleep(RESUME_DELAY_MS * 2 ** resumes, this.#stop.signal);
      }
    }
  }

  /** Reads what has not arrived yet of a body; one that is silent for too long, or longer than it should be, fails. */
  async *#watched(part: UpstreamBlob): AsyncGenerator<Uint8Array> {
    const reader = part.body.getReader();
    let position = part.offset;
    let waitingSince: number | undefined;
    const stalled = (): boolean => waitingSince !== undefined && this.#parts.clock.now() - waitingSince > STALL_MS;
    const cancel = (): void => void reader.cancel().catch(() => undefined);
    const timer = setInterval(() => stalled() && cancel(), STALL_CHECK_MS);
    this.#stop.signal.addEventListener("abort", cancel, { once: true });
    try {
      for (;;) {
        this.#stop.signal.throwIfAborted();
        waitingSince = this.#parts.clock.now();
        const { done, value } = await reader.read();
        waitingSince = undefined;
        if (done) return;
        const known = this.#arrived - position;
        position += value.length;
        if (position > (this.sizeBytes ?? Number.POSITIVE_INFINITY)) throw new UpstreamError("garbage", "the blob is longer than announced");
        if (known < value.length) yield known === 0 ? value : value.subarray(known);
      }
    } catch (error) {
      throw error instanceof UpstreamError ? error : new UpstreamError("unavailable", "the blob broke off", { cause: error });
    } finally {
      clearInterval(timer);
      this.#stop.signal.removeEventListener("abort", cancel);
      cancel();
    }
  }

  async #beginStoring(): Promise<IncomingBlob | undefined> {
    try {
      const incoming = await this.#parts.receive(this.sizeBytes);
      if (incoming.localFile === undefined && (this.sizeBytes ?? Number.POSITIVE_INFINITY) > KEPT_BYTES) {
        await this.#spooled(async () => {
          this.#spool = this.#resources.use(await temporarySpool(this.#parts.spoolFolder));
        });
      }
      return incoming;
    } catch (error) {
      this.#failStore(error);
      return undefined;
    }
  }

  /** Hashes and stores what arrives, until all has arrived; then proves it. */
  async #take(incoming: IncomingBlob | undefined): Promise<void> {
    const { digest, hasher, buffers } = this.#parts;
    using hash = hasher.begin(algorithmOf(digest));
    const buffer = buffers.take();
    try {
      for (let batch = await this.#nextBatch(buffer); batch !== undefined; batch = await this.#nextBatch(buffer)) {
        await Promise.all([hash.update(batch), this.#store(incoming, batch)]);
        this.#taken += batch.length;
        this.#makeRoom();
      }
    } finally {
      buffers.give(buffer);
    }
    const actual = await hash.digest();
    if (actual === undefined) throw new Error("the hash of a mirrored blob was lost");
    if (actual !== digest) throw new UpstreamError("garbage", `the blob ${digest} has the digest ${actual}`);
    this.#isVerified = true;
    this.#notify();
  }

  /** Waits until a buffer can be filled, or all has arrived; undefined when nothing is left. Copies: what clients read is not shared. */
  async #nextBatch(buffer: Uint8Array): Promise<Uint8Array | undefined> {
    while (this.#arrived - this.#taken < buffer.length && !this.#isComplete) {
      if (this.#failure !== undefined) throw this.#failure.error;
      await this.#change();
    }
    const sizeBytes = Math.min(buffer.length, this.#arrived - this.#taken);
    for (let filled = 0, index = this.#indexAt(this.#taken); filled < sizeBytes; index++) {
      const piece = this.#tail[index];
      if (piece === undefined) throw new Error("bytes of a mirrored blob are gone before they were stored");
      const bytes = piece.bytes.subarray(Math.max(0, this.#taken - piece.at), Math.max(0, this.#taken - piece.at) + sizeBytes - filled);
      buffer.set(bytes, filled);
      filled += bytes.length;
    }
    return sizeBytes === 0 ? undefined : buffer.subarray(0, sizeBytes);
  }

  async #store(incoming: IncomingBlob | undefined, batch: Uint8Array): Promise<void> {
    if (incoming === undefined || this.#storeFailure !== undefined) return;
    try {
      await Promise.all([incoming.write(batch), this.#spooled(() => this.#spool?.append?.(batch))]);
      if (this.#spool === undefined && incoming.localFile !== undefined) this.#spool = this.#resources.use(await followFile(incoming.localFile));
    } catch (error) {
      this.#failStore(error);
    }
  }

  #failStore(error: unknown): void {
    this.#storeFailure = { error };
    this.#abortWithoutReaders();
    this.#makeRoom();
  }

  // Without it late and slow clients wait until the blob is stored.
  async #spooled(work: () => Promise<void> | undefined): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#spool = undefined;
      this.#parts.log.warn("blob cannot be spooled for late clients", { folder: this.#parts.spoolFolder, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }

  /** The next bytes for a client; undefined at the end. */
  async #next(reader: Reader): Promise<Uint8Array | undefined> {
    for (;;) {
      if (reader.position >= reader.end) return undefined;
      const chunk = await this.#available(reader);
      if (chunk !== undefined) {
        reader.position += chunk.length;
        if (this.#storeFailure !== undefined) this.#makeRoom();
        return chunk;
      }
      if (this.#failure !== undefined) throw this.#failure.error;
      this.#stop.signal.throwIfAborted();
      await this.#change();
    }
  }

  async #available(reader: Reader): Promise<Uint8Array | undefined> {
    const readable = this.#isVerified ? this.#arrived : Math.min(this.#arrived, (this.sizeBytes ?? 0) - 1);
    const end = Math.min(readable, reader.end);
    if (reader.position >= end) return undefined;
    const start = this.#tail[0]?.at ?? this.#arrived;
    if (reader.position >= start) return this.#fromTail(reader.position, end);
    if (this.#spool !== undefined) {
      const chunk = await this.#spool.read(reader.position, Math.min(READ_BYTES, Math.min(end, start) - reader.position));
      return chunk.length === 0 ? undefined : chunk;
    }
    return await this.#fromStore(reader.position, end);
  }

  #fromTail(position: number, end: number): Uint8Array | undefined {
    const piece = this.#tail[this.#indexAt(position)];
    return piece?.bytes.subarray(position - piece.at, Math.min(piece.bytes.length, end - piece.at));
  }

  async #fromStore(position: number, end: number): Promise<Uint8Array | undefined> {
    await this.stored;
    for await (const chunk of await this.#parts.readStored({ offset: position, length: Math.min(READ_BYTES, end - position) })) return chunk;
    return undefined;
  }

  /** The piece that holds a position; looked for from the end, where those who keep up are. */
  #indexAt(position: number): number {
    for (let i = this.#tail.length - 1; i >= 0; i--) if ((this.#tail[i]?.at ?? 0) <= position) return position < this.#arrived ? i : this.#tail.length;
    return this.#tail.length;
  }

  /** Up to where bytes need not stay in memory. */
  #floor(): number {
    return this.#storeFailure === undefined ? this.#taken : (this.#tail[0]?.at ?? this.#arrived);
  }

  /** Lets go of what need not stay in memory: what the store has, or, since that failed, what every client has had. */
  #makeRoom(): void {
    const slowest = Math.min(this.#taken, ...[...this.#readers].map(({ position }) => position));
    this.#trim(this.#storeFailure === undefined ? this.#taken - KEPT_BYTES : slowest);
    this.#notify();
  }

  #abortWithoutReaders(): void {
    if (this.#storeFailure !== undefined && this.#readers.size === 0) this.#abort("the store fails, and no client waits");
  }

  #trim(before: number): void {
    for (;;) {
      const [oldest] = this.#tail;
      if (oldest === undefined || oldest.at + oldest.bytes.length > before) return;
      this.#tail.shift();
    }
  }

  async #leave(reader: Reader): Promise<void> {
    if (!this.#readers.delete(reader)) return;
    this.#watchAttendance();
    this.#abortWithoutReaders();
    this.#makeRoom();
    await this.#closeWhenUnused();
  }

  async #end(): Promise<void> {
    this.#isOver = true;
    this.#unattended?.abort();
    this.#notify();
    await this.#closeWhenUnused();
  }

  async #closeWhenUnused(): Promise<void> {
    if (!this.#isOver || this.#readers.size > 0) return;
    this.#spool = undefined;
    await this.#resources.disposeAsync();
  }

  #watchAttendance(): void {
    if (this.#readers.size > 0 || this.#isOver) return;
    const attended = new AbortController();
    this.#unattended = attended;
    void this.#parts.clock.sleep(this.#parts.unattendedMs, attended.signal).then(() => {
      if (!attended.signal.aborted) this.#abort("no client waits for the blob any more");
    });
  }

  #abort(reason: string): void {
    this.#stop.abort(new UpstreamError("unavailable", reason));
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #change(): Promise<void> {
    return this.#changed.promise;
  }
}
