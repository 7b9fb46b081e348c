import { StoreConnectionError } from "./connection-error.ts";
import { connectWire, type Wire } from "./wire.ts";

/** How much may wait here for its reader until no more is taken from the system; what it gave at once comes on top. */
const MAX_WAITING_BYTES = 512 * 1024;
const MAX_LINE_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
const NEWLINE = 10;
/** How a connection ends that the store has closed properly, or that is not needed any more. */
export const CLOSED = new StoreConnectionError("the store closed the connection", "ECONNRESET");

/** How to reach a store, and how long it may be silent. */
export interface DownloadConnectionOptions {
  readonly silenceMs: number;
  /** Certificates are not verified. */
  readonly skipVerify?: boolean;
}

/** A connection that is written to once in a while, and read as it is asked for. */
export class DownloadConnection {
  readonly #wire: Wire;
  readonly #closed: () => void;
  readonly #silenceMs: number;
  /** What has come and was not asked for yet. */
  readonly #pieces: Uint8Array[] = [];
  #waitingBytes = 0;
  #isPaused = false;
  #isConnected = false;
  /** Why nothing more will come. */
  #end: { readonly error: Error } | undefined;
  #changed: (() => void) | undefined;

  /**
   * @param url Of the store; its path does not matter.
   * @param closed Called when it has ended.
   */
  constructor(url: URL, { silenceMs, skipVerify = false }: DownloadConnectionOptions, closed: () => void) {
    this.#silenceMs = silenceMs;
    this.#closed = closed;
    this.#wire = connectWire(url, { connected: () => this.#connected(), received: (bytes) => this.#received(bytes), failed: (error) => this.#ended(error), closed: () => this.#ended(CLOSED) }, { skipVerify });
  }

  /** Whether it can be used for another request: open, and nothing has come unasked. */
  get isIdle(): boolean {
    return this.#end === undefined && this.#waitingBytes === 0;
  }

  /** Writes a request without a body. */
  send(head: string): void {
    this.#wire.write(Buffer.from(head, "latin1"));
  }

  /** The next bytes, `maxBytes` at most. @throws what the connection ended with; StoreConnectionError when the store is silent for too long */
  async take(maxBytes: number): Promise<Uint8Array> {
    if (this.#pieces.length === 0) await this.#arrival();
    const piece = this.#pieces.shift() ?? new Uint8Array();
    if (piece.length > maxBytes) {
      this.#pieces.unshift(piece.subarray(maxBytes));
      this.#waitingBytes -= maxBytes;
      return piece.subarray(0, maxBytes);
    }
    this.#waitingBytes -= piece.length;
    this.#resumeIfHungry();
    return piece;
  }

  /** The next line, without its end. @throws as `take` */
  async line(): Promise<string> {
    let line = "";
    for (let isWhole = false; !isWhole; ) {
      if (this.#pieces.length === 0) await this.#arrival();
      const end = this.#pieces[0]?.indexOf(NEWLINE) ?? -1;
      isWhole = end !== -1;
      line += Buffer.from(await this.take(isWhole ? end + 1 : MAX_LINE_BYTES)).toString("latin1");
      if (line.length > MAX_LINE_BYTES) throw new Error(`the store's answer has a line longer than ${MAX_LINE_BYTES} bytes`);
    }
    return line.replace(/\r?\n$/, "");
  }

  /** Ends it, whatever is under way. */
  destroy(reason: Error = CLOSED): void {
    this.#ended(reason);
    this.#wire.destroy();
  }

  async #arrival(): Promise<void> {
    while (this.#pieces.length === 0) {
      if (this.#end !== undefined) throw this.#end.error;
      this.#resumeIfHungry();
      await (this.#isConnected ? this.#change(this.#silenceMs, "send anything") : this.#change(Math.min(CONNECT_TIMEOUT_MS, this.#silenceMs), "connect"));
    }
  }

  async #change(limitMs: number, what: string): Promise<void> {
    const timer = setTimeout(() => this.destroy(new StoreConnectionError(`the store did not ${what} within ${limitMs} ms`, "ETIMEDOUT")), limitMs);
    await new Promise<void>((resolve) => void (this.#changed = resolve));
    clearTimeout(timer);
  }

  #connected(): void {
    this.#isConnected = true;
    this.#changed?.();
  }

  #received(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#waitingBytes += piece.length;
    if (this.#waitingBytes >= MAX_WAITING_BYTES && !this.#isPaused) {
      this.#isPaused = true;
      this.#wire.pause();
    }
    this.#changed?.();
  }

  #resumeIfHungry(): void {
    if (!this.#isPaused || this.#waitingBytes > MAX_WAITING_BYTES / 2) return;
    this.#isPaused = false;
    this.#wire.resume();
  }

  #ended(error: Error): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#changed?.();
    this.#closed();
  }
}
