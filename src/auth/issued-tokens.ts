import { createHash, randomBytes } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import type { Clock } from "../lib/clock.ts";

const ALGORITHM = "HS256";
const ISSUER = "registry";
const AUDIENCE = "registry";

/**
 * Short-lived tokens of our own: they only say who somebody is, the rules are asked at every use. Signed with a key that is made of
 * `http.secret`, so that every instance takes them.
 */
export class IssuedTokens {
  readonly #key: Uint8Array;
  readonly #ttlSeconds: number;
  readonly #clock: Clock;

  constructor(options: { readonly secret: string | undefined; readonly ttlMs: number; readonly clock: Clock }) {
    const secret = options.secret === undefined || options.secret === "" ? randomBytes(32) : options.secret;
    this.#key = createHash("sha256").update("token key of the registry\0").update(secret).digest();
    this.#ttlSeconds = Math.floor(options.ttlMs / 1000);
    this.#clock = options.clock;
  }

  get ttlSeconds(): number {
    return this.#ttlSeconds;
  }

  /** @param user Undefined for the anonymous. */
  async issue(user: string | undefined): Promise<{ readonly token: string; readonly issuedAt: Date }> {
    const issuedAt = Math.floor(this.#clock.now() / 1000);
    const token = await new SignJWT({}).setProtectedHeader({ alg: ALGORITHM, typ: "JWT" }).setIssuer(ISSUER).setAudience(AUDIENCE).setSubject(user ?? "").setIssuedAt(issuedAt).setExpirationTime(issuedAt + this.#ttlSeconds).sign(this.#key);
    return { token, issuedAt: new Date(issuedAt * 1000) };
  }

  /** @returns Who the token is for, and until when, in milliseconds since the epoch; undefined when it is not one of ours, or over. */
  async verify(token: string): Promise<{ readonly user: string | undefined; readonly until: number } | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#key, { algorithms: [ALGORITHM], issuer: ISSUER, audience: AUDIENCE, currentDate: new Date(this.#clock.now()) });
      return { user: payload.sub === undefined || payload.sub === "" ? undefined : payload.sub, until: (payload.exp ?? 0) * 1000 };
    } catch {
      // Whatever is wrong with it: it proves nothing.
      return undefined;
    }
  }
}
