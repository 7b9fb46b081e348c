import { compactVerify, decodeProtectedHeader, type ProtectedHeaderParameters } from "jose";
import type { Clock } from "../../lib/clock.ts";
import { parseTokenAccess, type TokenAccess } from "../token-access.ts";
import type { TrustedKey } from "./trusted-key.ts";
import type { TrustedKeys } from "./trusted-keys.ts";

/** How far our clock and the token server's may be apart. */
const LEEWAY_SECONDS = 60;
const MAX_TOKEN_CHARACTERS = 64 * 1024;

/** A token that proves nothing; the message says why, for the log. */
export class InvalidTokenError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "InvalidTokenError";
  }
}

/** A token that was proven good. */
export interface VerifiedToken {
  /** Undefined when the token names nobody. */
  readonly user: string | undefined;
  readonly access: TokenAccess;
  /** Milliseconds since the epoch, leeway included. */
  readonly until: number;
}

/** Whose tokens are taken, and for whom they must be. */
export interface TokenVerifierOptions {
  readonly issuer: string;
  readonly service: string;
  /** The algorithms that are accepted; `none` is never one. */
  readonly algorithms: readonly string[];
  readonly keys: TrustedKeys;
  readonly clock: Clock;
}

/** Verifies tokens in the order that distribution does: form and algorithm, key, signature, issuer, audience, times. */
export class TokenVerifier {
  readonly #options: TokenVerifierOptions;

  constructor(options: TokenVerifierOptions) {
    this.#options = options;
  }

  /** @throws InvalidTokenError */
  async verify(token: string): Promise<VerifiedToken> {
    if (token.length > MAX_TOKEN_CHARACTERS) throw new InvalidTokenError("the token is too large");
    const { header, algorithm } = this.#header(token);
    const trusted = await this.#findKey(header);
    if (trusted === undefined) throw new InvalidTokenError("the token is signed with a key that is not trusted");
    // Pinned twice: to what is configured, and to what the key is for. The token does not choose how it is verified.
    if (!trusted.algorithms.includes(algorithm)) throw new InvalidTokenError(`the token's algorithm ${algorithm} is not one of its key`);
    return this.#readClaims(await verifySignature(token, trusted, algorithm));
  }

  #header(token: string): { readonly header: ProtectedHeaderParameters; readonly algorithm: string } {
    let header: ProtectedHeaderParameters;
    try {
      header = decodeProtectedHeader(token);
    } catch (error) {
      throw new InvalidTokenError("the token is malformed", error);
    }
    const algorithm = header.alg;
    if (typeof algorithm !== "string" || algorithm === "none" || !this.#options.algorithms.includes(algorithm)) throw new InvalidTokenError("the token's algorithm is not one of auth.token.signingalgorithms");
    return { header, algorithm };
  }

  // Of a key in the header only its chain or its id is believed, never the key itself.
  async #findKey(header: ProtectedHeaderParameters): Promise<TrustedKey | undefined> {
    const { keys } = this.#options;
    if (header.x5c !== undefined) return Array.isArray(header.x5c) ? keys.byChain(header.x5c) : undefined;
    if (header.jwk === undefined) return typeof header.kid === "string" ? await keys.byId(header.kid) : undefined;
    const { x5c, kid } = (header.jwk ?? {}) as { readonly x5c?: unknown; readonly kid?: unknown };
    if (x5c !== undefined) return Array.isArray(x5c) ? keys.byChain(x5c) : undefined;
    return typeof kid === "string" ? await keys.byId(kid) : undefined;
  }

  #readClaims(claims: Readonly<Record<string, unknown>>): VerifiedToken {
    const { iss, aud, exp, nbf, iat, sub } = claims;
    if (iss !== this.#options.issuer) throw new InvalidTokenError("the token is another issuer's");
    if (!(Array.isArray(aud) ? aud : [aud]).includes(this.#options.service)) throw new InvalidTokenError("the token is for another service");
    wholeSeconds("iat", iat);
    const now = this.#options.clock.now();
    const until = (wholeSeconds("exp", exp) + LEEWAY_SECONDS) * 1000;
    if (now > until) throw new InvalidTokenError("the token has expired");
    if (now < (wholeSeconds("nbf", nbf) - LEEWAY_SECONDS) * 1000) throw new InvalidTokenError("the token is not good yet");
    const access = parseTokenAccess(claims["access"]);
    if (access === undefined) throw new InvalidTokenError("the token's access is malformed");
    return { user: typeof sub === "string" && sub !== "" ? sub : undefined, access, until };
  }
}

async function verifySignature(token: string, trusted: TrustedKey, algorithm: string): Promise<Readonly<Record<string, unknown>>> {
  let payload: Uint8Array;
  try {
    ({ payload } = await compactVerify(token, trusted.key, { algorithms: [algorithm] }));
  } catch (error) {
    throw new InvalidTokenError("the token's signature is wrong", error);
  }
  try {
    const claims: unknown = JSON.parse(new TextDecoder().decode(payload));
    if (typeof claims === "object" && claims !== null && !Array.isArray(claims)) return claims as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new InvalidTokenError("the token's claims are no JSON", error);
  }
  throw new InvalidTokenError("the token's claims are no object");
}

// Missing is 0, as in Go: a token without an end has ended.
function wholeSeconds(name: string, value: unknown): number {
  if (value === undefined || value === null) return 0;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new InvalidTokenError(`the token's ${name} is no whole number`);
  return value;
}
