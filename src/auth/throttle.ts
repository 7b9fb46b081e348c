import type { Clock } from "../lib/clock.ts";
import { LruMap } from "../lib/lru.ts";

/** How hard repeated failures are slowed down. */
export interface ThrottleOptions {
  readonly enabled: boolean;
  /** So many failures are free. */
  readonly failures: number;
  /** The longest wait, in milliseconds. */
  readonly maxdelay: number;
}

const MAX_KEYS = 20_000;
const FIRST_DELAY_MS = 1_000;

/**
 * Slows down who fails again and again. Failures are counted for each address, and for each pair of address and user: somebody who
 * guesses a user's password from one place does not lock the user out of another.
 */
export class FailureThrottle {
  readonly #options: ThrottleOptions;
  readonly #clock: Clock;
  readonly #failures = new LruMap<string, { readonly count: number; readonly until: number }>(MAX_KEYS);

  constructor(options: ThrottleOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** How long a login from an address must wait, in seconds; 0 when it need not. */
  waitSeconds(address: string, user: string): number {
    if (!this.#options.enabled) return 0;
    const until = Math.max(this.#failures.get(address)?.until ?? 0, this.#failures.get(pair(address, user))?.until ?? 0);
    return Math.max(0, Math.ceil((until - this.#clock.now()) / 1000));
  }

  failed(address: string, user: string): void {
    // An address may be a whole company's: it gets more before it has to wait.
    this.#count(pair(address, user), this.#options.failures);
    this.#count(address, this.#options.failures * 4);
  }

  succeeded(address: string, user: string): void {
    this.#failures.delete(pair(address, user));
  }

  #count(key: string, free: number): void {
    const known = this.#failures.get(key);
    const now = this.#clock.now();
    const isOld = known !== undefined && now - known.until > 10 * this.#options.maxdelay + 600_000;
    const count = (known === undefined || isOld ? 0 : known.count) + 1;
    const delay = count < free ? 0 : Math.min(this.#options.maxdelay, FIRST_DELAY_MS * 2 ** Math.min(30, count - free));
    this.#failures.set(key, { count, until: now + delay });
  }
}

function pair(address: string, user: string): string {
  return `${address} ${user}`;
}
