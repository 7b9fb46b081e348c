import type { Clock } from "../lib/clock.ts";
import { release } from "../lib/release.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import { BUFFER_BYTES, type SharedBuffers } from "../registry/shared-buffers.ts";
import type { RunningHash, UploadHasher } from "../registry/upload-hash.ts";
import type { Logger } from "../telemetry/log.ts";
import { RecentBytes } from "./recent-bytes.ts";
import { followFile, type Spool, temporarySpool } from "./spool.ts";
import { type IncomingBlob, SMALL_BLOB_BYTES } from "./store.ts";
import type { UpstreamBlob } from "./upstream.ts";
import { UpstreamError } from "./upstream-error.ts";

/** How far upstream may be ahead of the store and the hash, in bytes held in memory. */
const MAX_AHEAD_BYTES = 4 * 1024 * 1024;
/** Bytes that stay in memory although they are stored, so that clients who keep up cost no reads. */
const KEPT_BYTES = SMALL_BLOB_BYTES;
/** What is stored, sent to a client, or read again from a spool in one go. */
const PART_BYTES = 256 * 1024;
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
  readonly #recent: RecentBytes;
  #hashed = 0;
  /** Bytes that were stored, or would have been if the store had not failed. */
  #stored = 0;
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
    this.#recent = new RecentBytes(parts.buffers);
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
    // A direct stream copies what it is given before `write` returns: the memory is used again at once.
    return new ReadableStream<Uint8Array>({ type: "direct", pull: (controller) => this.#send(reader, controller), cancel: () => this.#leave(reader) });
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
      if (!this.#isVerified) this.#fail(error);
      throw error;
    }
  }

  /** Ends all that is under way; the first failure is the one that counts. */
  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#stop.abort(error);
    this.#notify();
  }

  /** Takes in what upstream sends. Never rejects: a failure is kept for all who wait. */
  async #receive(first: UpstreamBlob): Promise<void> {
    try {
      for await (const bytes of this.#arrivals(first)) {
        this.#parts.onBytes(bytes.length);
        this.#recent.append(bytes);
        this.#notify();
        while (this.#recent.end - this.#floor() > MAX_AHEAD_BYTES && this.#failure === undefined) await this.#change();
        if (this.#failure !== undefined) return;
      }
      this.#isComplete = true;
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      this.#notify();
    }
  }

  /** The bytes from upstream, taken up again where they broke off. */
  async *#arrivals(first: UpstreamBlob): AsyncGenerator<Uint8Array> {
    let part: UpstreamBlob | undefined = first;
    for (let resumes = 0; ; resumes++) {
      try {
        part ??= await this.#parts.fetch({ offset: this.#recent.end, signal: this.#stop.signal });
        yield* this.#watched(part);
        if (this.sizeBytes === undefined || this.#recent.end === this.sizeBytes) return;
        throw new UpstreamError("unavailable", `the blob broke off after ${this.#recent.end} of ${this.sizeBytes} bytes`);
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        const canResume = this.sizeBytes !== undefined && this.#recent.end < this.sizeBytes && resumes < MAX_RESUMES;
        if (!canResume || (error instanceof UpstreamError && error.problem !== "unavailable")) throw error;
        this.#parts.log.info("upstream broke off in the middle of a blob", { digest: this.#parts.digest, received: this.#recent.end, size: this.sizeBytes });
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
        const known = this.#recent.end - position;
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
    const { digest, hasher } = this.#parts;
    using hash = hasher.begin(algorithmOf(digest));
    // The memory is in use until both have ended, and neither waits for bytes when the other has failed.
    const halves = [this.#hashAll(hash), this.#storeAll(incoming)].map((half) => half.catch((error: unknown) => this.#fail(error)));
    await Promise.all(halves);
    if (this.#failure !== undefined) throw this.#failure.error;
    const actual = await hash.digest();
    if (actual === undefined) throw new Error("the hash of a mirrored blob was lost");
    if (actual !== digest) throw new UpstreamError("garbage", `the blob ${digest} has the digest ${actual}`);
    this.#isVerified = true;
    this.#notify();
  }

  /** Has all batches hashed; the next one is at hand when one is done. */
  async #hashAll(hash: RunningHash): Promise<void> {
    let hashed = Promise.resolve();
    try {
      for await (const batch of this.#batches(BUFFER_BYTES)) {
        hashed = hash.update(batch).then(() => {
          this.#hashed += batch.length;
          this.#makeRoom();
        });
      }
    } finally {
      // The memory stays as it is until it was read.
      await hashed;
    }
  }

  async #storeAll(incoming: IncomingBlob | undefined): Promise<void> {
    for await (const batch of this.#batches(PART_BYTES)) {
      await this.#store(incoming, batch);
      this.#stored += batch.length;
      this.#makeRoom();
    }
  }

  /** All bytes, in parts of a size, as they arrive. */
  async *#batches(sizeBytes: number): AsyncGenerator<Uint8Array> {
    for (let position = 0; ; ) {
      while (this.#recent.end - position < sizeBytes && !this.#isComplete) {
        if (this.#failure !== undefined) throw this.#failure.error;
        await this.#change();
      }
      if (position === this.#recent.end) return;
      const batch = this.#recent.view(position, position + sizeBytes);
      if (batch === undefined) throw new Error("bytes of a mirrored blob are gone before they were stored");
      yield batch;
      position += batch.length;
    }
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

  /** Sends a client what it wants, at its pace. */
  async #send(reader: Reader, controller: ReadableStreamDirectController): Promise<void> {
    try {
      while (reader.position < reader.end && this.#readers.has(reader)) {
        const changed = this.#change();
        // What is in memory is written in the same step: after the next wait the memory may hold other bytes.
        const part = this.#inMemory(reader) ?? (await this.#older(reader));
        if (part !== undefined) await this.#write(part, reader, controller);
        else if (this.#failure !== undefined) throw this.#failure.error;
        else {
          this.#stop.signal.throwIfAborted();
          await changed;
        }
      }
    } finally {
      await this.#leave(reader);
    }
    controller.close();
  }

  async #write(part: Uint8Array, reader: Reader, controller: ReadableStreamDirectController): Promise<void> {
    reader.position += part.length;
    const written = controller.write(part);
    release(part);
    if (this.#storeFailure !== undefined) this.#makeRoom();
    await written;
  }

  #inMemory(reader: Reader): Uint8Array | undefined {
    const end = this.#readableEnd(reader);
    return reader.position < end ? this.#recent.view(reader.position, end) : undefined;
  }

  /** Bytes that are not in memory any more; undefined when a client has had all of them. */
  async #older(reader: Reader): Promise<Uint8Array | undefined> {
    const { position } = reader;
    const end = Math.min(this.#readableEnd(reader), this.#recent.start);
    if (position >= end) return undefined;
    if (this.#spool === undefined) return await this.#fromStore(position, end);
    const part = await this.#spool.read(position, end - position);
    return part.length === 0 ? undefined : part;
  }

  /** Where the next part for a client ends. */
  #readableEnd({ position, end }: Reader): number {
    const proven = this.#isVerified ? this.#recent.end : Math.min(this.#recent.end, (this.sizeBytes ?? 0) - 1);
    return Math.min(proven, end, position + PART_BYTES);
  }

  async #fromStore(position: number, end: number): Promise<Uint8Array | undefined> {
    await this.stored;
    for await (const chunk of await this.#parts.readStored({ offset: position, length: end - position })) return chunk;
    return undefined;
  }

  /** Up to where bytes are hashed and stored. */
  #taken(): number {
    return Math.min(this.#hashed, this.#stored);
  }

  /** Up to where bytes need not stay in memory. */
  #floor(): number {
    return this.#storeFailure === undefined ? this.#taken() : this.#recent.start;
  }

  /** Lets go of what need not stay in memory: what the store has, or, since that failed, what every client has had. */
  #makeRoom(): void {
    const slowest = Math.min(this.#taken(), ...[...this.#readers].map(({ position }) => position));
    this.#recent.dropBefore(this.#storeFailure === undefined ? this.#taken() - KEPT_BYTES : slowest);
    this.#notify();
  }

  #abortWithoutReaders(): void {
    if (this.#storeFailure !== undefined && this.#readers.size === 0) this.#abort("the store fails, and no client waits");
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
    this.#recent.dropBefore(this.#recent.end);
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
