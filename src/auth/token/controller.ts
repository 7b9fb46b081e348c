import { createPublicKey, type JsonWebKeyInput, type KeyObject } from "node:crypto";
import { compactVerify, decodeProtectedHeader, type ProtectedHeaderParameters } from "jose";
import { LruMap } from "../../lib/lru.ts";
import type { RepositoryName } from "../../oci/name.ts";
import { quote } from "../challenge.ts";
import { type Access, type AccessController, AccessRefusedError, type Credentials, type Grant } from "../controller.ts";
import type { AuthParts } from "../open.ts";
import type { TokenOptions } from "./options.ts";
import { TrustedKeys } from "./trusted-keys.ts";

const LEEWAY_SECONDS = 60;
const MAX_TOKEN = 64 * 1024;
const MAX_KNOWN_TOKENS = 10_000;

/** One entry of a token's `access` claim. */
interface ResourceAccess {
  readonly type: string;
  readonly name: string;
  readonly class: string;
  readonly actions: readonly string[];
}

/** A token that was proven good. */
interface Verified {
  readonly user: string;
  readonly access: readonly ResourceAccess[];
  /** Seconds since the epoch, leeway included. */
  readonly until: number;
  readonly grant: Grant;
}

/** A token that proves nothing, and whether its bearer is told so. */
class TokenError extends Error {
  readonly isTold: boolean;
  constructor(message: string, isTold: boolean) {
    super(message);
    this.name = "TokenError";
    this.isTold = isTold;
  }
}

/** Opens the access controller of a token server. @throws Error naming key and file */
export async function openTokenController(options: TokenOptions, parts: AuthParts): Promise<AccessController> {
  return new TokenController(options, await TrustedKeys.open(options, parts), parts);
}

class TokenController implements AccessController {
  readonly #options: TokenOptions;
  readonly #keys: TrustedKeys;
  readonly #parts: AuthParts;
  // Keyed by the token itself, which is held nowhere else and no longer than it is good: a signature takes fifty times as long as looking.
  readonly #known = new LruMap<string, Verified>(MAX_KNOWN_TOKENS);

  constructor(options: TokenOptions, keys: TrustedKeys, parts: AuthParts) {
    this.#options = options;
    this.#keys = keys;
    this.#parts = parts;
  }

  async authorize(credentials: Credentials, required: readonly Access[]): Promise<Grant> {
    const token = bearerToken(credentials.authorization);
    if (token === undefined) throw this.#refuse("authorization token required", credentials, { required });
    const verified = await this.#verifyOrRefuse(token, credentials, required);
    if (!required.every((access) => grants(verified, access))) throw this.#refuse("insufficient scope", credentials, { required, error: "insufficient_scope" });
    return verified.grant;
  }

  async reload(): Promise<readonly string[]> {
    await this.#keys.readFiles();
    this.#known.clear();
    return ["token keys"];
  }

  async #verifyOrRefuse(token: string, credentials: Credentials, required: readonly Access[]): Promise<Verified> {
    const now = this.#parts.clock.now() / 1000;
    const known = this.#known.get(token);
    if (known !== undefined && known.until >= now) return known;
    try {
      const verified = await this.#verify(token, now);
      this.#known.set(token, verified);
      return verified;
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      throw this.#refuse(error.message, credentials, error.isTold ? { required, error: "invalid_token" } : { required });
    }
  }

  async #verify(token: string, now: number): Promise<Verified> {
    const header = this.#header(token);
    const key = await this.#key(header);
    if (key === undefined) throw new TokenError("the token's key is not trusted", true);
    let payload: Uint8Array;
    try {
      // jose refuses a key whose type does not fit the algorithm.
      payload = (await compactVerify(token, key, { algorithms: [...this.#options.signingalgorithms] })).payload;
    } catch (error) {
      throw new TokenError(`the token's signature is wrong: ${error instanceof Error ? error.message : String(error)}`, false);
    }
    return this.#claims(payload, now);
  }

  #header(token: string): ProtectedHeaderParameters {
    if (token.length > MAX_TOKEN) throw new TokenError("the token is too large", true);
    let header: ProtectedHeaderParameters;
    try {
      header = decodeProtectedHeader(token);
    } catch {
      throw new TokenError("the token is malformed", true);
    }
    if (typeof header.alg !== "string" || !this.#options.signingalgorithms.includes(header.alg)) throw new TokenError("the token's algorithm is not accepted", true);
    return header;
  }

  // The order of distribution: a chain, then a key in the header, of which only its id is believed, then an id.
  async #key(header: ProtectedHeaderParameters): Promise<KeyObject | undefined> {
    if (header.x5c !== undefined) return Array.isArray(header.x5c) ? this.#keys.byChain(header.x5c) : undefined;
    if (header.jwk !== undefined) {
      const jwk = header.jwk as JsonWebKeyInput["key"] & { kid?: unknown; x5c?: unknown };
      if (Array.isArray(jwk.x5c)) return this.#ownedChain(jwk, jwk.x5c);
      return typeof jwk.kid === "string" ? await this.#keys.byId(jwk.kid) : undefined;
    }
    return typeof header.kid === "string" ? await this.#keys.byId(header.kid) : undefined;
  }

  #ownedChain(jwk: JsonWebKeyInput["key"], chain: readonly unknown[]): KeyObject | undefined {
    const key = this.#keys.byChain(chain);
    try {
      return key !== undefined && createPublicKey({ key: jwk, format: "jwk" }).equals(key) ? key : undefined;
    } catch {
      // Not a key at all.
      return undefined;
    }
  }

  #claims(payload: Uint8Array, now: number): Verified {
    const claims = parseClaims(payload);
    if (claims["iss"] !== this.#options.issuer) throw new TokenError("the token is of another issuer", true);
    const audience = claims["aud"];
    const audiences = Array.isArray(audience) ? audience : [audience];
    if (!audiences.includes(this.#options.service)) throw new TokenError("the token is for another service", true);
    const until = wholeNumber(claims["exp"]) + LEEWAY_SECONDS;
    if (now > until) throw new TokenError("the token has expired", true);
    if (now < wholeNumber(claims["nbf"]) - LEEWAY_SECONDS) throw new TokenError("the token is not good yet", true);
    const user = typeof claims["sub"] === "string" ? claims["sub"] : "";
    const access = parseAccess(claims["access"]);
    return { user, access, until, grant: makeGrant(user, access) };
  }

  #refuse(reason: string, credentials: Credentials, details: { readonly required: readonly Access[]; readonly error?: string }): AccessRefusedError {
    const { autoredirect, autoredirectpath, realm, service } = this.#options;
    const shown = autoredirect ? `${credentials.scheme}://${credentials.host}${autoredirectpath}` : realm;
    const scope = scopeOf(details.required);
    const parts = [`Bearer realm=${quote(shown)}`, `service=${quote(service)}`, ...(scope === "" ? [] : [`scope=${quote(scope)}`]), ...(details.error === undefined ? [] : [`error=${quote(details.error)}`])];
    return new AccessRefusedError("unauthenticated", reason, { required: details.required, challenge: parts.join(",") });
  }
}

function bearerToken(header: string | undefined): string | undefined {
  return header === undefined ? undefined : /^bearer (.+)$/i.exec(header)?.[1];
}

function grants(verified: Verified, access: Access): boolean {
  return verified.access.some((item) => item.type === access.type && item.name === access.name && (item.actions.includes(access.action) || item.actions.includes("*")));
}

function makeGrant(user: string, access: readonly ResourceAccess[]): Grant {
  const of = (name: RepositoryName): readonly ResourceAccess[] => access.filter((item) => item.type === "repository" && item.name === name);
  return {
    user: user === "" ? undefined : user,
    mayPull: (name) => of(name).some((item) => item.actions.includes("pull") || item.actions.includes("*")),
    classesOf: (name) => of(name).map((item) => (item.class === "" ? "image" : item.class)),
  };
}

/** `repository:foo:pull,push repository:bar:pull`: one for each resource, in the order that they are needed. */
function scopeOf(required: readonly Access[]): string {
  const actions = new Map<string, string[]>();
  for (const access of required) {
    const resource = `${access.type}:${access.name}`;
    actions.set(resource, [...(actions.get(resource) ?? []), access.action]);
  }
  return [...actions].map(([resource, list]) => `${resource}:${list.join(",")}`).join(" ");
}

function parseClaims(payload: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const claims: unknown = JSON.parse(new TextDecoder().decode(payload));
    if (typeof claims === "object" && claims !== null && !Array.isArray(claims)) return claims as Record<string, unknown>;
  } catch {
    // Falls through to the same answer.
  }
  throw new TokenError("the token's claims are not a JSON object", false);
}

// Missing is 0, as in Go: a token without an end has ended.
function wholeNumber(value: unknown): number {
  if (value === undefined || value === null) return 0;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new TokenError("a time in the token is no whole number", false);
  return value;
}

function parseAccess(value: unknown): readonly ResourceAccess[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new TokenError("the token's access is no list", false);
  return value.map((item: unknown) => {
    const entry = (typeof item === "object" && item !== null ? item : {}) as Record<string, unknown>;
    const actions = Array.isArray(entry["actions"]) ? entry["actions"].filter((action): action is string => typeof action === "string") : [];
    return { type: String(entry["type"] ?? ""), name: String(entry["name"] ?? ""), class: String(entry["class"] ?? ""), actions };
  });
}
