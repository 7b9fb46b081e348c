import { isIPv6 } from "node:net";
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

/** Somebody who wants to log in. */
export interface LoginAttempt {
  readonly address: string;
  readonly user: string;
  readonly signal?: AbortSignal | undefined;
}

interface Failures {
  readonly count: number;
  /** No attempt before, in milliseconds since the epoch. */
  readonly until: number;
  readonly lastAt: number;
  /** Attempts that came although they had to wait. */
  readonly refusals: number;
}

const NO_FAILURES: Failures = { count: 0, until: 0, lastAt: 0, refusals: 0 };
const MAX_KEYS = 16_384;
const MAX_KEY_CHARACTERS = 256;
const FIRST_DELAY_MS = 1_000;
/** Failures are forgotten so long after the last one. */
const FORGET_MS = 15 * 60_000;
/** How long a login is held back at most because others fail with its user's name. */
const MAX_HOLD_MS = 2_000;
const MAX_HELD = 256;
/** So many attempts may come too early before nobody is let in without a look at the password where a user's name is guessed with. */
const MAX_REFUSALS = 100;

/**
 * Slows down who fails again and again.
 *
 * - An address that failed more often than is free is refused for a time that doubles with every further failure, up to a longest.
 * - A user whose name many failures came with, from wherever, is not refused, for that would let anybody lock anybody out: each
 *   attempt from an address that the user never logged in from is held for at most two seconds before it is looked at.
 * - An address and user that belong together, because of an earlier login, are counted by themselves: neither a neighbour behind the
 *   same proxy nor an attacker elsewhere makes them wait, and guessing on from that address still does.
 * - A password that is remembered is not taken where the address has to wait: a guesser would be told which one is right, as fast as
 *   it can ask. Where address and user belong together it is, for the sake of others behind the same proxy, but for a guesser's
 *   hundred attempts at most.
 *
 * Nothing is kept of longer than a quarter of an hour after the last failure, and of no more than some ten thousand names and addresses.
 */
export class FailureThrottle {
  readonly #options: ThrottleOptions;
  readonly #clock: Clock;
  readonly #addresses = new LruMap<string, Failures>(MAX_KEYS);
  readonly #users = new LruMap<string, Failures>(MAX_KEYS);
  readonly #pairs = new LruMap<string, Failures>(MAX_KEYS);
  #held = 0;

  constructor(options: ThrottleOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /**
   * To be asked before a password is looked at. Holds the caller back where that is due.
   * @returns Seconds that the client must wait; 0 when it may go on.
   */
  async admit(attempt: LoginAttempt): Promise<number> {
    if (!this.#options.enabled) return 0;
    const address = addressKey(attempt.address);
    const key = pairKey(address, attempt.user);
    const pair = this.#pairs.get(key);
    const waitMs = ((pair ?? this.#addresses.get(address))?.until ?? 0) - this.#clock.now();
    if (waitMs <= 0) return pair === undefined ? await this.#hold(attempt) : 0;
    if (pair !== undefined) this.#pairs.set(key, { ...pair, refusals: pair.refusals + 1 });
    return Math.ceil(waitMs / 1000);
  }

  /** Whether an attempt that was admitted need not wait after all: others that were admitted with it may have failed meanwhile. */
  isStillAdmitted({ address, user }: LoginAttempt): boolean {
    if (!this.#options.enabled) return true;
    const place = addressKey(address);
    return ((this.#pairs.get(pairKey(place, user)) ?? this.#addresses.get(place))?.until ?? 0) <= this.#clock.now();
  }

  /** Whether a password that was right a while ago is taken without a look at it; the address is one of the user's then. */
  recall({ address, user }: LoginAttempt): boolean {
    if (!this.#options.enabled) return true;
    const place = addressKey(address);
    const key = pairKey(place, user);
    const now = this.#clock.now();
    const pair = this.#pairs.get(key);
    if (pair !== undefined) return pair.until <= now || pair.refusals < MAX_REFUSALS;
    if ((this.#addresses.get(place)?.until ?? 0) > now) return false;
    this.#pairs.set(key, NO_FAILURES);
    return true;
  }

  /** Counts a failure. */
  failed({ address, user }: LoginAttempt): void {
    if (!this.#options.enabled) return;
    const place = addressKey(address);
    const pair = pairKey(place, user);
    if (this.#pairs.get(pair) !== undefined) return this.#count(this.#pairs, pair);
    this.#count(this.#addresses, place);
    this.#count(this.#users, userKey(user));
  }

  /** Remembers that the address is one of the user's. What the address failed at before stays: one good account is no licence to guess others. */
  succeeded({ address, user }: LoginAttempt): void {
    if (!this.#options.enabled) return;
    this.#pairs.set(pairKey(addressKey(address), user), NO_FAILURES);
  }

  #count(map: LruMap<string, Failures>, key: string): void {
    const now = this.#clock.now();
    const known = map.get(key);
    const before = known === undefined || now - known.lastAt > FORGET_MS ? NO_FAILURES : known;
    const count = before.count + 1;
    map.set(key, { count, refusals: before.refusals, lastAt: now, until: now + Math.min(this.#options.maxdelay, this.#delayMs(count, FIRST_DELAY_MS)) });
  }

  async #hold({ user, signal }: LoginAttempt): Promise<number> {
    const failures = this.#users.get(userKey(user));
    if (failures === undefined || this.#clock.now() - failures.lastAt > FORGET_MS) return 0;
    const holdMs = Math.min(MAX_HOLD_MS, this.#options.maxdelay, this.#delayMs(failures.count, FIRST_DELAY_MS / 4));
    if (holdMs === 0) return 0;
    if (this.#held >= MAX_HELD) return 1;
    this.#held++;
    try {
      await this.#clock.sleep(holdMs, signal);
    } finally {
      this.#held--;
    }
    return 0;
  }

  #delayMs(count: number, firstMs: number): number {
    const beyond = count - this.#options.failures;
    return beyond <= 0 ? 0 : firstMs * 2 ** Math.min(30, beyond - 1);
  }
}

/** An IPv6 client has a whole /64 to choose addresses from. */
function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address.slice(0, MAX_KEY_CHARACTERS);
  const [head = "", tail] = address.replace(/%.*$/, "").toLowerCase().split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array.from({ length: zeros }, () => "0"), ...after];
  return groups.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, "")).join(":");
}

function userKey(user: string): string {
  // A piece of a long text would keep all of it.
  return user.length <= MAX_KEY_CHARACTERS ? user : new Bun.CryptoHasher("sha256").update(user).digest("hex");
}

function pairKey(address: string, user: string): string {
  return `${address} ${userKey(user)}`;
}
