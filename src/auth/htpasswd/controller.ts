import { LruMap } from "../../lib/lru.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { Logger } from "../../telemetry/log.ts";
import { type BasicCredentials, parseBasic } from "../basic.ts";
import { quote } from "../challenge.ts";
import { type Access, type AccessController, AccessRefusedError, type Credentials, type Grant, type TokenEndpoint, type TokenRequest, type TokenAnswer } from "../controller.ts";
import { IssuedTokens } from "../issued-tokens.ts";
import type { AuthParts } from "../open.ts";
import type { AuthOptions } from "../options.ts";
import { decide, hasAnonymousRules, type RuleSet } from "../rules/rules.ts";
import { FailureThrottle } from "../throttle.ts";
import { GroupsFile } from "./groups-file.ts";
import type { HtpasswdOptions } from "./options.ts";
import { PasswordFile } from "./password-file.ts";
import { PasswordVerifier } from "./verifier.ts";

const TOKEN_PATH = "/v2/token";
const MAX_KNOWN_HEADERS = 10_000;
/** How long a header that was good is taken without looking into it. */
const KNOWN_MS = 60_000;

/** Opens the access controller of a password file, with its rules. @throws Error naming file and line */
export async function openHtpasswdController(options: HtpasswdOptions, certificate: AuthOptions["certificate"], parts: AuthParts): Promise<AccessController> {
  const file = await PasswordFile.open(options.path, parts);
  const groups = GroupsFile.open(options.groups, options.groupsfile, parts);
  return new HtpasswdController({ options, certificate, file, groups, parts });
}

interface ControllerParts {
  readonly options: HtpasswdOptions;
  readonly certificate: AuthOptions["certificate"];
  readonly file: PasswordFile;
  readonly groups: GroupsFile;
  readonly parts: AuthParts;
}

/** Who somebody turned out to be. */
interface Identity {
  readonly user: string | undefined;
  /** Shown by a token of ours: also the anonymous have asked for one. */
  readonly hasToken: boolean;
}

const ANONYMOUS: Identity = { user: undefined, hasToken: false };

class HtpasswdController implements AccessController {
  readonly tokenEndpoint?: TokenEndpoint;
  readonly #realm: string;
  readonly #options: HtpasswdOptions;
  readonly #certificate: AuthOptions["certificate"];
  readonly #file: PasswordFile;
  readonly #groups: GroupsFile;
  readonly #log: Logger;
  readonly #parts: AuthParts;
  readonly #verifier: PasswordVerifier;
  readonly #throttle: FailureThrottle;
  readonly #tokens: IssuedTokens | undefined;
  // Keyed by the header itself, which is held nowhere else and dropped after a minute: hashing it for every request would cost more than
  // serving a manifest.
  readonly #known = new LruMap<string, { readonly identity: Identity; readonly until: number; readonly version: number }>(MAX_KNOWN_HEADERS);
  readonly #grants = new LruMap<string, { readonly grant: Grant; readonly groups: number }>(MAX_KNOWN_HEADERS);

  constructor({ options, certificate, file, groups, parts }: ControllerParts) {
    this.#options = options;
    this.#realm = options.realm;
    this.#certificate = certificate;
    this.#file = file;
    this.#groups = groups;
    this.#log = parts.log;
    this.#parts = parts;
    this.#verifier = new PasswordVerifier(file, parts.clock);
    this.#throttle = new FailureThrottle(options.throttle, parts.clock);
    if (!hasAnonymousRules(this.#rules())) return;
    this.#tokens = new IssuedTokens({ secret: parts.secret, ttlMs: options.tokenttl, clock: parts.clock });
    this.tokenEndpoint = { path: TOKEN_PATH, issue: async (request) => await this.#issue(request) };
  }

  async authorize(credentials: Credentials, required: readonly Access[]): Promise<Grant> {
    const identity = await this.#identify(credentials, required);
    if (required.length === 0) {
      // The anonymous are sent to fetch a token first: that is how clients learn that they may go on without a login.
      if (identity.user === undefined && !identity.hasToken) throw this.#unauthenticated("authentication required", credentials, required);
      return this.#grant(identity);
    }
    const grant = this.#grant(identity);
    if (this.#options.rules.length === 0) {
      if (identity.user === undefined) throw this.#unauthenticated("authentication required", credentials, required);
      return grant;
    }
    const rules = this.#rules();
    for (const access of required) {
      if (decide(rules, identity.user, access).allowed) continue;
      if (identity.user === undefined) throw this.#unauthenticated("access denied to the anonymous", credentials, required);
      throw new AccessRefusedError("denied", `access denied to user ${identity.user}`, { required });
    }
    return grant;
  }

  async reload(): Promise<readonly string[]> {
    const changed: string[] = [];
    if (this.#file.reload()) changed.push("htpasswd");
    if (this.#groups.reload()) changed.push("groups");
    return changed;
  }

  #rules(): RuleSet {
    return { rules: this.#options.rules, groups: this.#groups.current };
  }

  async #identify(credentials: Credentials, required: readonly Access[]): Promise<Identity> {
    const { authorization } = credentials;
    if (authorization === undefined || authorization === "") return this.#certified(credentials) ?? ANONYMOUS;
    const now = this.#parts.clock.now();
    const known = this.#known.get(authorization);
    if (known !== undefined && known.until > now && known.version === this.#file.version) return known.identity;
    const found = await this.#look(authorization, credentials, required);
    this.#known.set(authorization, { identity: found.identity, until: Math.min(found.until, now + KNOWN_MS), version: this.#file.version });
    return found.identity;
  }

  async #look(authorization: string, credentials: Credentials, required: readonly Access[]): Promise<{ readonly identity: Identity; readonly until: number }> {
    const basic = parseBasic(authorization);
    if (basic !== undefined) return { identity: { user: await this.#login(basic, credentials, required), hasToken: false }, until: Number.POSITIVE_INFINITY };
    const bearer = /^bearer +(\S+)$/i.exec(authorization)?.[1];
    const verified = bearer === undefined ? undefined : await this.#tokens?.verify(bearer);
    if (verified === undefined) throw this.#unauthenticated("the Authorization header proves nothing", credentials, required);
    return { identity: { user: verified.user, hasToken: true }, until: verified.until };
  }

  async #login(basic: BasicCredentials, credentials: Pick<Credentials, "clientAddress" | "scheme" | "host">, required: readonly Access[]): Promise<string> {
    const { clientAddress } = credentials;
    const wait = this.#throttle.waitSeconds(clientAddress, basic.user);
    if (wait > 0) throw new AccessRefusedError("throttled", "too many failed logins", { required, retryAfterSeconds: wait });
    if (!(await this.#verifier.verify(basic))) {
      this.#throttle.failed(clientAddress, basic.user);
      throw this.#unauthenticated("wrong user or password", credentials, required);
    }
    this.#throttle.succeeded(clientAddress, basic.user);
    return basic.user;
  }

  #certified(credentials: Credentials): Identity | undefined {
    if (this.#certificate?.enabled !== true || credentials.certificate === undefined) return undefined;
    const { commonName, alternativeNames } = credentials.certificate;
    const user = this.#certificate.user === "san" ? alternativeNames[0] : commonName;
    return user === undefined || user === "" ? undefined : { user, hasToken: false };
  }

  #grant(identity: Identity): Grant {
    const key = identity.user ?? "";
    const known = this.#grants.get(key);
    if (known !== undefined && known.groups === this.#groups.version) return known.grant;
    const base = { user: identity.user };
    const grant: Grant = this.#options.rules.length === 0 ? base : { ...base, mayPull: (name: RepositoryName) => decide(this.#rules(), identity.user, { type: "repository", name, action: "pull" }).allowed };
    this.#grants.set(key, { grant, groups: this.#groups.version });
    return grant;
  }

  #unauthenticated(reason: string, credentials: Pick<Credentials, "scheme" | "host">, required: readonly Access[]): AccessRefusedError {
    return new AccessRefusedError("unauthenticated", reason, { required, challenge: this.#challenge(credentials, required) });
  }

  #challenge(credentials: Pick<Credentials, "scheme" | "host">, required: readonly Access[]): string {
    if (this.#tokens === undefined) return `Basic realm=${quote(this.#realm)}`;
    const scopes = required.map((access) => `${access.type}:${access.name}:${access.action}`).join(" ");
    const scope = scopes === "" ? "" : `,scope=${quote(scopes)}`;
    return `Bearer realm=${quote(`${credentials.scheme}://${credentials.host}${TOKEN_PATH}`)},service=${quote(this.#realm)}${scope}`;
  }

  async #issue(request: TokenRequest): Promise<TokenAnswer> {
    const basic = parseBasic(request.authorization) ?? passwordGrant(request.parameters);
    let user: string | undefined;
    if (basic !== undefined) {
      try {
        user = await this.#login(basic, { clientAddress: request.clientAddress, scheme: "", host: "" }, []);
      } catch (error) {
        if (!(error instanceof AccessRefusedError)) throw error;
        this.#log.warn("login refused", { "err.message": error.message, "http.request.remoteaddr": request.clientAddress });
        if (error.outcome === "throttled") return { status: 429, json: tokenError("too many failed logins"), headers: { "Retry-After": String(error.retryAfterSeconds ?? 1) } };
        return { status: 401, json: tokenError("wrong user or password"), headers: { "WWW-Authenticate": `Basic realm=${quote(this.#realm)}` } };
      }
    } else if (request.authorization !== undefined && request.authorization !== "") {
      return { status: 401, json: tokenError("wrong user or password"), headers: { "WWW-Authenticate": `Basic realm=${quote(this.#realm)}` } };
    }
    const { token, issuedAt } = (await this.#tokens?.issue(user)) ?? { token: "", issuedAt: new Date(0) };
    return { status: 200, json: { token, access_token: token, expires_in: this.#options.tokenttl / 1000, issued_at: issuedAt.toISOString() } };
  }
}

function passwordGrant(parameters: URLSearchParams): BasicCredentials | undefined {
  const user = parameters.get("username");
  const password = parameters.get("password");
  return parameters.get("grant_type") === "password" && user !== null && password !== null ? { user, password } : undefined;
}

function tokenError(message: string): object {
  return { errors: [{ code: "UNAUTHORIZED", message }] };
}
