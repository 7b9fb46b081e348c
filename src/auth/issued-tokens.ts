import { createHmac, hkdfSync, randomBytes } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import type { Clock } from "../lib/clock.ts";
import { parseTokenAccess, type TokenAccess, type TokenResource } from "./token-access.ts";

const ALGORITHM = "HS256";
const ISSUER = "registry";
/** How far the clocks of instances may be apart. */
const LEEWAY_SECONDS = 60;

/** What a token of ours says. */
export interface IssuedClaims {
  /** Undefined for the anonymous. */
  readonly user: string | undefined;
  /** Names the password that was shown; the token ends with it. Undefined for the anonymous. */
  readonly passwordMark: string | undefined;
}

/** A token of ours that was proven good. */
export interface IssuedToken extends IssuedClaims {
  readonly access: TokenAccess;
  /** Milliseconds since the epoch. */
  readonly until: number;
}

/** What the tokens are made with. */
export interface IssuedTokensOptions {
  /** `http.secret`: instances that share it take one another's tokens. Without one they are good for this process alone. */
  readonly secret: string | undefined;
  /** Who takes the tokens. */
  readonly service: string;
  readonly ttlMs: number;
  readonly clock: Clock;
}

/** Makes and verifies short-lived tokens of our own: HS256, and no other algorithm, under a key that is derived from `http.secret`. */
export class IssuedTokens {
  readonly #key: Uint8Array;
  readonly #service: string;
  readonly #clock: Clock;
  readonly ttlSeconds: number;

  constructor(options: IssuedTokensOptions) {
    const secret = options.secret === undefined || options.secret === "" ? randomBytes(32) : Buffer.from(options.secret);
    // A key of its own: what signs upload URLs must sign nothing else.
    this.#key = new Uint8Array(hkdfSync("sha256", secret, "", "registry: tokens for clients", 32));
    this.#service = options.service;
    this.ttlSeconds = Math.floor(options.ttlMs / 1000);
    this.#clock = options.clock;
  }

  /** Makes a token. @returns The token, and when it was made. */
  async issue(claims: IssuedClaims, access: readonly TokenResource[]): Promise<{ readonly token: string; readonly issuedAt: Date }> {
    const issuedAt = Math.floor(this.#clock.now() / 1000);
    const jwt = new SignJWT({ access, ...(claims.passwordMark === undefined ? {} : { pwd: claims.passwordMark }) })
      .setProtectedHeader({ alg: ALGORITHM, typ: "JWT" })
      .setIssuer(ISSUER)
      .setAudience(this.#service)
      .setIssuedAt(issuedAt)
      .setNotBefore(issuedAt)
      .setExpirationTime(issuedAt + this.ttlSeconds);
    if (claims.user !== undefined) jwt.setSubject(claims.user);
    return { token: await jwt.sign(this.#key), issuedAt: new Date(issuedAt * 1000) };
  }

  /** Names the entry of the password file that a token was given for: with another password the token ends. */
  passwordMark(user: string, hash: string): string {
    return createHmac("sha256", this.#key).update(`${user}\0${hash}`).digest("base64url");
  }

  /** @returns What the token says; undefined when it is not one of ours, or over. */
  async verify(token: string): Promise<IssuedToken | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: [ALGORITHM],
        issuer: ISSUER,
        audience: this.#service,
        requiredClaims: ["exp"],
        clockTolerance: LEEWAY_SECONDS,
        currentDate: new Date(this.#clock.now()),
      });
      const access = parseTokenAccess(payload["access"]);
      if (access === undefined) return undefined;
      const mark = payload["pwd"];
      return { user: payload.sub, access, passwordMark: typeof mark === "string" ? mark : undefined, until: ((payload.exp ?? 0) + LEEWAY_SECONDS) * 1000 };
    } catch {
      // Whatever is wrong with it: it proves nothing.
      return undefined;
    }
  }
}
