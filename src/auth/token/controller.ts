import type { Clock } from "../../lib/clock.ts";
import { LruMap } from "../../lib/lru.ts";
import type { Logger } from "../../telemetry/log.ts";
import { parseBearer } from "../basic.ts";
import { bearerChallenge, scopeOf } from "../challenge.ts";
import { type Access, type AccessController, AccessRefusedError, type Credentials, type Grant } from "../controller.ts";
import { CredentialDigest } from "../credential-digest.ts";
import type { AuthParts } from "../open.ts";
import type { TokenAccess } from "../token-access.ts";
import type { TokenOptions } from "./options.ts";
import { InvalidTokenError, TokenVerifier, type VerifiedToken } from "./token-verifier.ts";
import { TrustedKeys } from "./trusted-keys.ts";

const MAX_KNOWN = 10_000;
/** Longer tokens are verified every time: what many of them say would fill the memory. */
const MAX_KNOWN_CHARACTERS = 8 * 1024;

/** Opens the access controller for the tokens of a token server. @throws Error naming key and file */
export async function openTokenController(options: TokenOptions, parts: AuthParts): Promise<AccessController> {
  return new TokenController(options, await TrustedKeys.open(options, parts), parts);
}

/** A good token, as long as it and its keys are good. */
interface KnownToken extends VerifiedToken {
  readonly keysVersion: string;
  /** For lists: the token server has said that the caller may see them whole. */
  readonly listGrant: Grant;
  readonly grant: Grant;
}

class TokenController implements AccessController {
  readonly #options: TokenOptions;
  readonly #keys: TrustedKeys;
  readonly #verifier: TokenVerifier;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #digest = new CredentialDigest();
  readonly #known = new LruMap<string, KnownToken>(MAX_KNOWN);

  constructor(options: TokenOptions, keys: TrustedKeys, { clock, log }: AuthParts) {
    this.#options = options;
    this.#keys = keys;
    this.#clock = clock;
    this.#log = log;
    this.#verifier = new TokenVerifier({ issuer: options.issuer, service: options.service, algorithms: options.signingalgorithms, keys, clock });
  }

  async authorize(credentials: Credentials, required: readonly Access[]): Promise<Grant> {
    const token = parseBearer(credentials.authorization);
    if (token === undefined) throw this.#refuse("authorization token required", credentials, { required });
    const known = this.#knownToken(token) ?? (await this.#verify(token, credentials, required));
    if (!required.every((access) => known.access.allows(access))) throw this.#refuse("the token does not allow what is asked", credentials, { required, error: "insufficient_scope" });
    return required.some((access) => access.type === "registry") ? known.listGrant : known.grant;
  }

  async reload(): Promise<readonly string[]> {
    const before = this.#keys.version;
    try {
      await this.#keys.reload();
    } catch (error) {
      this.#log.error("the token signing keys cannot be read; those that are known stay trusted", { "err.message": error instanceof Error ? error.message : String(error) });
    }
    return this.#keys.version === before ? [] : ["token signing keys"];
  }

  #knownToken(token: string): KnownToken | undefined {
    const known = this.#known.get(this.#digest.of(token));
    return known !== undefined && known.until >= this.#clock.now() && known.keysVersion === this.#keys.version ? known : undefined;
  }

  async #verify(token: string, credentials: Credentials, required: readonly Access[]): Promise<KnownToken> {
    try {
      const verified = await this.#verifier.verify(token);
      const known = { ...verified, keysVersion: this.#keys.version, listGrant: { user: verified.user }, grant: grantOf(verified.user, verified.access) };
      if (token.length <= MAX_KNOWN_CHARACTERS) this.#known.set(this.#digest.of(token), known);
      return known;
    } catch (error) {
      if (!(error instanceof InvalidTokenError)) throw error;
      throw this.#refuse(error.message, credentials, { required, error: "invalid_token", cause: error });
    }
  }

  #refuse(reason: string, credentials: Credentials, details: { readonly required: readonly Access[]; readonly error?: "invalid_token" | "insufficient_scope"; readonly cause?: unknown }): AccessRefusedError {
    const { autoredirect, autoredirectpath, realm, service } = this.#options;
    const { required, error, cause } = details;
    const challenge = bearerChallenge({
      realm: autoredirect ? `${credentials.scheme}://${credentials.host}${autoredirectpath}` : realm,
      service,
      scope: scopeOf(required),
      ...(error === undefined ? {} : { error }),
    });
    return new AccessRefusedError("unauthenticated", reason, { required, challenge, cause });
  }
}

function grantOf(user: string | undefined, access: TokenAccess): Grant {
  return {
    user,
    mayPull: (name) => access.allows({ type: "repository", name, action: "pull" }),
    // An entry without a class is for images: tokens had no classes once.
    classesOf: (name) => access.of("repository", name).map((resource) => (resource.class === "" ? "image" : resource.class)),
  };
}
