import { availableParallelism } from "node:os";

/** Bcrypt looks at no more; Go's and Apache's cut what is longer, Bun's would hash it first. */
const MAX_PASSWORD_BYTES = 72;
/** Verifications that wait, in all and of one address; a flood neither fills the memory nor keeps everybody else waiting. */
const MAX_WAITING = 512;
const MAX_WAITING_PER_ADDRESS = 64;

/** Too many passwords wait to be verified, or too many were wrong meanwhile. */
export class VerifierBusyError extends Error {
  constructor() {
    super("too many logins wait for their verification");
    this.name = "VerifierBusyError";
  }
}

/**
 * Verifies passwords on Bun's threads. They are also the threads that files are read by, and bcrypt takes a good part of a second, so
 * that half of them at most are used: with all of them busy, every pull would wait for a login.
 */
export class PasswordVerifier {
  readonly #limit: number;
  readonly #queue: { readonly address: string; readonly begin: () => void }[] = [];
  readonly #waitingOf = new Map<string, number>();
  #running = 0;

  /** @param limit Verifications at once. */
  constructor(limit: number = Math.max(1, Math.floor(availableParallelism() / 2))) {
    this.#limit = limit;
  }

  /**
   * Whether a password belongs to a bcrypt hash.
   * @param attempt Who asks, for the bounds of the queue; and whether it may still be looked at when its turn has come.
   * @throws VerifierBusyError
   */
  async verify(password: Uint8Array, hash: string, attempt: { readonly address: string; readonly isWanted?: () => boolean }): Promise<boolean> {
    await this.#begin(attempt.address);
    try {
      if (attempt.isWanted?.() === false) throw new VerifierBusyError();
      // Bun takes no empty password; no tool makes a hash of one without being told twice.
      return password.length > 0 && (await Bun.password.verify(password.subarray(0, MAX_PASSWORD_BYTES), hash, "bcrypt"));
    } finally {
      this.#end();
    }
  }

  async #begin(address: string): Promise<void> {
    if (this.#running < this.#limit) {
      this.#running++;
      return;
    }
    const waiting = this.#waitingOf.get(address) ?? 0;
    if (this.#queue.length >= MAX_WAITING || waiting >= MAX_WAITING_PER_ADDRESS) throw new VerifierBusyError();
    this.#waitingOf.set(address, waiting + 1);
    await new Promise<void>((begin) => this.#queue.push({ address, begin }));
  }

  // A slot goes straight to the next in line.
  #end(): void {
    const next = this.#queue.shift();
    if (next === undefined) {
      this.#running--;
      return;
    }
    const waiting = (this.#waitingOf.get(next.address) ?? 1) - 1;
    if (waiting === 0) this.#waitingOf.delete(next.address);
    else this.#waitingOf.set(next.address, waiting);
    next.begin();
  }
}
