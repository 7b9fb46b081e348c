import type { Socket } from "bun";

/** How long the other side gets to close a connection that we have ended. */
const LINGER_SECONDS = 30;

/**
 * One direction of a connection: bytes that have come from one socket and go out by another, as fast as both can. What the second one
 * does not take yet is kept, and the first one not read from meanwhile: at most what a single read gave.
 */
export class RelayDirection {
  #source: Socket<unknown> | undefined;
  #target: Socket<unknown> | undefined;
  #waiting: Uint8Array | undefined;
  #hasEnded = false;
  #isClosed = false;

  /** Whether any byte has come. */
  isUsed = false;

  /** Names the sockets as soon as they are there. */
  connect(ends: { readonly source?: Socket<unknown>; readonly target?: Socket<unknown> }): void {
    this.#source = ends.source ?? this.#source;
    this.#target = ends.target ?? this.#target;
    this.drained();
  }

  /** Passes on what the source gave; the bytes are the caller's again afterwards. */
  received(bytes: Uint8Array): void {
    this.isUsed = true;
    if (this.#isClosed) return;
    const written = this.#waiting === undefined ? this.#write(bytes) : 0;
    if (written === bytes.length) return;
    // A paused socket may still give what it had decrypted already.
    const rest = bytes.subarray(written);
    this.#waiting = this.#waiting === undefined ? Uint8Array.from(rest) : Buffer.concat([this.#waiting, rest]);
    this.#source?.pause();
  }

  /** The target takes bytes again. */
  drained(): void {
    if (this.#isClosed || this.#target === undefined) return;
    if (this.#waiting !== undefined) {
      const written = this.#write(this.#waiting);
      if (written < this.#waiting.length) {
        this.#waiting = this.#waiting.subarray(written);
        return;
      }
      this.#waiting = undefined;
      this.#source?.resume();
    }
    if (this.#hasEnded) this.#close();
  }

  /** The source gives no more: the target is ended when it has everything. */
  end(): void {
    this.#hasEnded = true;
    if (this.#waiting === undefined && this.#target !== undefined) this.#close();
  }

  /** The target is gone: what still comes for it is nobody's. */
  discard(): void {
    this.#isClosed = true;
    this.#waiting = undefined;
    this.#source?.resume();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#target?.end();
    this.#target?.timeout(LINGER_SECONDS);
  }

  #write(bytes: Uint8Array): number {
    // Negative when the socket is closed; its own event tells the rest.
    return Math.max(0, this.#target?.write(bytes) ?? 0);
  }
}
