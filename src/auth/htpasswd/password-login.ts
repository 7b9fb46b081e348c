import type { Clock } from "../../lib/clock.ts";
import { LruMap } from "../../lib/lru.ts";
import { SingleFlight } from "../../lib/single-flight.ts";
import type { BasicCredentials } from "../basic.ts";
import { CredentialDigest } from "../credential-digest.ts";
import type { FailureThrottle, LoginAttempt } from "../throttle.ts";
import type { WatchedFile } from "../watched-file.ts";
import type { Passwords } from "./password-file.ts";
import { PasswordVerifier, VerifierBusyError } from "./password-verifier.ts";

/** A password that was right is not hashed again for so long after it was last used. */
const REMEMBERED_MS = 5 * 60_000;
const MAX_REMEMBERED = 10_000;

/** What came of a login. */
export type LoginOutcome =
  | { readonly kind: "accepted"; /** The entry's hash that the password belongs to. */ readonly hash: string }
  | { readonly kind: "refused" }
  | { readonly kind: "throttled"; readonly retryAfterSeconds: number };

/** Logs users in by the passwords of a file: each pair of user and password is hashed once, however many come with it. */
export class PasswordLogin {
  readonly #file: WatchedFile<Passwords>;
  readonly #throttle: FailureThrottle;
  readonly #clock: Clock;
  readonly #verifier = new PasswordVerifier();
  readonly #digest = new CredentialDigest();
  readonly #remembered = new LruMap<string, { readonly until: number; readonly hash: string }>(MAX_REMEMBERED);
  readonly #attempts = new SingleFlight<LoginOutcome>();
  readonly #verifications = new SingleFlight<boolean>();

  constructor(file: WatchedFile<Passwords>, throttle: FailureThrottle, clock: Clock) {
    this.#file = file;
    this.#throttle = throttle;
    this.#clock = clock;
  }

  /** The hash of a user's entry; undefined for unknown users. Another hash: whoever was logged in by the old one no longer is. */
  hashOf(user: string): string | undefined {
    return this.#file.content.hashes.get(user);
  }

  /** Whether a login that was good a while ago may be taken for good without a look at the password. */
  mayRecall(user: string, address: string): boolean {
    return this.#throttle.recall({ user, address });
  }

  /** Logs somebody in. A refusal takes as long for users that do not exist as for those that do. */
  async login(basic: BasicCredentials, place: Omit<LoginAttempt, "user">): Promise<LoginOutcome> {
    const digest = this.#digest.of(`${basic.user}\0${Buffer.from(basic.password).toString("base64")}`);
    const hash = this.hashOf(basic.user);
    const remembered = this.#remembered.get(digest);
    if (hash !== undefined && remembered !== undefined && remembered.hash === hash && remembered.until > this.#clock.now() && this.mayRecall(basic.user, place.address)) {
      this.#remember(digest, hash);
      return { kind: "accepted", hash };
    }
    // A client that sends the same wrong password on ten connections at once has failed once.
    return await this.#attempts.run(`${place.address} ${digest} ${hash ?? ""}`, async () => await this.#attempt(basic, { user: basic.user, ...place }, { digest, hash }));
  }

  async #attempt(basic: BasicCredentials, attempt: LoginAttempt, known: { readonly digest: string; readonly hash: string | undefined }): Promise<LoginOutcome> {
    const { digest, hash } = known;
    const retryAfterSeconds = await this.#throttle.admit(attempt);
    if (retryAfterSeconds > 0) return { kind: "throttled", retryAfterSeconds };
    const against = hash ?? this.#file.content.dummyFor(basic.user);
    let isRight: boolean;
    try {
      isRight = await this.#verifications.run(`${digest} ${against}`, async () => await this.#verifier.verify(basic.password, against, { address: attempt.address, isWanted: () => this.#throttle.isStillAdmitted(attempt) }));
    } catch (error) {
      if (error instanceof VerifierBusyError) return { kind: "throttled", retryAfterSeconds: 1 };
      throw error;
    }
    if (!isRight || hash === undefined) {
      this.#throttle.failed(attempt);
      return { kind: "refused" };
    }
    this.#throttle.succeeded(attempt);
    this.#remember(digest, hash);
    return { kind: "accepted", hash };
  }

  #remember(digest: string, hash: string): void {
    this.#remembered.set(digest, { hash, until: this.#clock.now() + REMEMBERED_MS });
  }
}
