import { createHmac, randomBytes } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { LruMap } from "../../lib/lru.ts";
import type { BasicCredentials } from "../basic.ts";
import type { PasswordFile } from "./password-file.ts";

/** A password that was right is not hashed again for so long. */
const REMEMBERED_MS = 5 * 60_000;
const MAX_REMEMBERED = 10_000;
/** Hashings at once: they take a thread each, and pulls need threads too. */
const MAX_HASHINGS = 2;
/** Hashings that wait; beyond that a login is refused as if it had failed, so that a flood does not fill the memory. */
const MAX_WAITING = 1_000;

/** Verifies passwords beside the request thread, each pair of user and password once. */
export class PasswordVerifier {
  readonly #file: PasswordFile;
  readonly #clock: Clock;
  readonly #key = randomBytes(32);
  readonly #remembered = new LruMap<string, { readonly until: number; readonly version: number }>(MAX_REMEMBERED);
  readonly #running = new Map<string, Promise<boolean>>();
  readonly #dummies = new Map<number, Promise<string>>();
  readonly #waiting: (() => void)[] = [];
  #hashings = 0;

  constructor(file: PasswordFile, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
  }

  /** Whether the password is the user's. Takes as long for users that do not exist. */
  async verify(credentials: BasicCredentials): Promise<boolean> {
    const version = this.#file.version;
    // Keyed by a hash under a key of this process: a dump of the memory gives no passwords.
    const key = createHmac("sha256", this.#key).update(`${credentials.user}\0${credentials.password}`).digest("base64");
    const known = this.#remembered.get(key);
    if (known !== undefined && known.version === version && known.until > this.#clock.now()) return true;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = this.#hash(credentials).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    const isRight = await running;
    if (isRight) this.#remembered.set(key, { version, until: this.#clock.now() + REMEMBERED_MS });
    return isRight;
  }

  async #hash({ user, password }: BasicCredentials): Promise<boolean> {
    if (this.#waiting.length >= MAX_WAITING) return false;
    const hash = this.#file.hashOf(user);
    await this.#begin();
    try {
      const isRight = await Bun.password.verify(password, hash ?? (await this.#dummy()), "bcrypt");
      return isRight && hash !== undefined;
    } finally {
      this.#end();
    }
  }

  async #dummy(): Promise<string> {
    const cost = this.#file.typicalCost;
    let dummy = this.#dummies.get(cost);
    if (dummy === undefined) {
      dummy = Bun.password.hash(randomBytes(16).toString("hex"), { algorithm: "bcrypt", cost });
      this.#dummies.set(cost, dummy);
    }
    return await dummy;
  }

  async #begin(): Promise<void> {
    if (this.#hashings >= MAX_HASHINGS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#hashings++;
  }

  #end(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#hashings--;
    else next();
  }
}
