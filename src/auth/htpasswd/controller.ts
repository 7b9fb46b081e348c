import { randomBytes } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { LruMap } from "../../lib/lru.ts";
import type { Logger } from "../../telemetry/log.ts";
import { parseBasic, parseBearer } from "../basic.ts";
import { basicChallenge, bearerChallenge, scopeOf } from "../challenge.ts";
import { type Access, type AccessController, AccessRefusedError, type ClientCertificate, type Credentials, type Grant, type TokenEndpoint } from "../controller.ts";
import { CredentialDigest } from "../credential-digest.ts";
import { IssuedTokens } from "../issued-tokens.ts";
import type { AuthParts } from "../open.ts";
import type { AuthOptions } from "../options.ts";
import { configuredGroups, type Groups, mergeGroups, parseGroups } from "../rules/groups.ts";
import { AccessRules } from "../rules/rules.ts";
import { FailureThrottle } from "../throttle.ts";
import type { TokenAccess } from "../token-access.ts";
import { WatchedFile } from "../watched-file.ts";
import type { HtpasswdOptions } from "./options.ts";
import { parsePasswords, type Passwords, provisionPasswords } from "./password-file.ts";
import { PasswordLogin } from "./password-login.ts";
import { HtpasswdTokenEndpoint } from "./token-endpoint.ts";

const MAX_KNOWN = 10_000;
/** Longer headers are looked into every time: anybody gets tokens, and what many long ones say would fill the memory. */
const MAX_KNOWN_CHARACTERS = 2048;
/** How long a header that was good is taken without looking into it; its password is remembered for longer. */
const KNOWN_MS = 60_000;

/**
 * Opens the access controller of a password file, with its rules. A missing file is made, with one user and a random password.
 * @throws Error naming key, file and line
 */
export async function openHtpasswdController(options: HtpasswdOptions, certificate: AuthOptions["certificate"], parts: AuthParts): Promise<AccessController> {
  const { clock, log } = parts;
  await provisionPasswords(options.path, log);
  const dummyKey = randomBytes(32);
  const passwords = await WatchedFile.open({ key: "auth.htpasswd.path", path: options.path, clock, log, parse: (text) => parseAndTell(text, { dummyKey, file: options.path, log }) });
  const groupsPath = options.groupsfile;
  const groups = groupsPath === undefined ? undefined : await WatchedFile.open({ key: "auth.htpasswd.groupsfile", path: groupsPath, clock, log, parse: parseGroups });
  return new HtpasswdController({ options, certificate, passwords, groups, parts });
}

function parseAndTell(text: string, { dummyKey, file, log }: { readonly dummyKey: Uint8Array; readonly file: string; readonly log: Logger }): Passwords {
  const passwords = parsePasswords(text, dummyKey);
  for (const { line, user } of passwords.refused) log.warn("password file: an entry lets nobody in, expected a bcrypt hash", { file, line, user });
  return passwords;
}

interface ControllerParts {
  readonly options: HtpasswdOptions;
  readonly certificate: AuthOptions["certificate"];
  readonly passwords: WatchedFile<Passwords>;
  readonly groups: WatchedFile<Groups> | undefined;
  readonly parts: AuthParts;
}

/** Who somebody turned out to be. */
interface Identity {
  readonly grant: Grant;
  /** The entry that a password belongs to; the identity ends with it. Undefined for the anonymous and for certificates. */
  readonly hash: string | undefined;
  /** What the token of ours is for that was shown; undefined without one. */
  readonly access: TokenAccess | undefined;
}

class HtpasswdController implements AccessController {
  readonly tokenEndpoint?: TokenEndpoint;
  readonly usesCertificates: boolean;
  readonly #options: HtpasswdOptions;
  readonly #certificate: AuthOptions["certificate"];
  readonly #files: readonly (readonly [string, WatchedFile<unknown>])[];
  readonly #rules: AccessRules;
  readonly #login: PasswordLogin;
  readonly #tokens: IssuedTokens | undefined;
  readonly #clock: Clock;
  readonly #baseUrl: NonNullable<AuthParts["baseUrl"]>;
  readonly #digest = new CredentialDigest();
  readonly #known = new LruMap<string, { readonly identity: Identity; readonly until: number }>(MAX_KNOWN);
  readonly #certified = new LruMap<string, Identity>(MAX_KNOWN);
  readonly #anonymous: Identity;

  constructor({ options, certificate, passwords, groups, parts }: ControllerParts) {
    this.#options = options;
    this.#certificate = certificate;
    this.usesCertificates = certificate?.enabled === true;
    this.#files = [["password file", passwords], ...(groups === undefined ? [] : [["groups file", groups] as const])];
    this.#rules = new AccessRules(options.rules, groupsSource(configuredGroups(options.groups), groups));
    this.#clock = parts.clock;
    this.#baseUrl = parts.baseUrl ?? ((origin) => `${origin.scheme}://${origin.host}`);
    this.#login = new PasswordLogin(passwords, new FailureThrottle(options.throttle, parts.clock), parts.clock);
    this.#anonymous = { grant: this.#grantOf(undefined), hash: undefined, access: undefined };
    if (!this.#rules.letInAnonymous) return;
    const tokens = new IssuedTokens({ secret: parts.secret, service: options.realm, ttlMs: options.tokenttl, clock: parts.clock });
    this.#tokens = tokens;
    this.tokenEndpoint = new HtpasswdTokenEndpoint({ realm: options.realm, login: this.#login, rules: this.#rules, tokens, refresh: async () => await this.#refresh() });
  }

  async authorize(credentials: Credentials, required: readonly Access[]): Promise<Grant> {
    for (const [, file] of this.#files) if (file.isDue) await file.refresh();
    const identity = this.#knownIdentity(credentials) ?? (await this.#identify(credentials, required));
    const { user } = identity.grant;
    // The anonymous are sent to fetch a token: that is how clients learn that they may go on without a login.
    if (identity === this.#anonymous && required.length === 0) throw this.#unauthenticated("authentication required", credentials, required);
    for (const access of required) {
      if (this.#rules.allows(user, access)) continue;
      if (user === undefined) throw this.#unauthenticated("authentication required", credentials, required);
      throw new AccessRefusedError("denied", `no access rule allows ${access.action} on ${access.name} to the user`, { required });
    }
    if (identity.access !== undefined && !required.every((access) => identity.access?.allows(access) === true)) {
      throw this.#unauthenticated("the token is not for what is asked", credentials, required, "insufficient_scope");
    }
    return identity.grant;
  }

  async reload(): Promise<readonly string[]> {
    const before = this.#files.map(([, file]) => file.version);
    await this.#refresh();
    return this.#files.filter(([, file], index) => file.version !== before[index]).map(([name]) => name);
  }

  async #refresh(): Promise<void> {
    for (const [, file] of this.#files) await file.refresh();
  }

  // The way of nearly every request: no password and no token is looked at twice within a minute.
  #knownIdentity(credentials: Credentials): Identity | undefined {
    const { authorization } = credentials;
    if (authorization === undefined || authorization === "") return this.#byCertificate(credentials.certificate) ?? this.#anonymous;
    const known = this.#known.get(this.#digest.of(authorization));
    if (known === undefined || known.until <= this.#clock.now()) return undefined;
    const { grant, hash, access } = known.identity;
    const { user = "" } = grant;
    if (hash !== undefined && this.#login.hashOf(user) !== hash) return undefined;
    // Nobody guesses tokens.
    return access !== undefined || this.#login.mayRecall(user, credentials.clientAddress) ? known.identity : undefined;
  }

  async #identify(credentials: Credentials, required: readonly Access[]): Promise<Identity> {
    const { authorization = "" } = credentials;
    const bearer = this.#tokens === undefined ? undefined : parseBearer(authorization);
    const found = bearer === undefined ? await this.#byPassword(credentials, required) : await this.#byToken(bearer, credentials, required);
    if (authorization.length <= MAX_KNOWN_CHARACTERS) this.#known.set(this.#digest.of(authorization), { identity: found.identity, until: Math.min(found.until, this.#clock.now() + KNOWN_MS) });
    return found.identity;
  }

  async #byPassword(credentials: Credentials, required: readonly Access[]): Promise<{ readonly identity: Identity; readonly until: number }> {
    const basic = parseBasic(credentials.authorization);
    if (basic === undefined) throw this.#unauthenticated("the Authorization header is no Basic header that can be read", credentials, required);
    const outcome = await this.#login.login(basic, { address: credentials.clientAddress, signal: credentials.signal });
    if (outcome.kind === "throttled") throw new AccessRefusedError("throttled", "too many failed logins", { required, retryAfterSeconds: outcome.retryAfterSeconds });
    if (outcome.kind === "refused") throw this.#unauthenticated("wrong user or password", credentials, required);
    return { identity: { grant: this.#grantOf(basic.user), hash: outcome.hash, access: undefined }, until: Number.POSITIVE_INFINITY };
  }

  async #byToken(token: string, credentials: Credentials, required: readonly Access[]): Promise<{ readonly identity: Identity; readonly until: number }> {
    const verified = await this.#tokens?.verify(token);
    if (verified === undefined) throw this.#unauthenticated("the token is none of ours, or over", credentials, required, "invalid_token");
    const { user, access, passwordMark, until } = verified;
    const hash = user === undefined ? undefined : this.#login.hashOf(user);
    if (user !== undefined && (hash === undefined || this.#tokens?.passwordMark(user, hash) !== passwordMark)) {
      throw this.#unauthenticated("the password that the token was given for is no longer good", credentials, required, "invalid_token");
    }
    return { identity: { grant: this.#grantOf(user), hash, access }, until };
  }

  #byCertificate(certificate: ClientCertificate | undefined): Identity | undefined {
    if (certificate === undefined || this.#certificate === undefined || !this.usesCertificates) return undefined;
    const user = this.#certificate.user === "san" ? certificate.alternativeNames[0] : certificate.commonName;
    if (user === undefined || user === "") return undefined;
    const known = this.#certified.get(user);
    if (known !== undefined) return known;
    const identity: Identity = { grant: this.#grantOf(user), hash: undefined, access: undefined };
    this.#certified.set(user, identity);
    return identity;
  }

  // What lists and mounts may show does not depend on what a token was asked for: it is the same user with the same rights.
  #grantOf(user: string | undefined): Grant {
    if (this.#rules.isEmpty) return { user };
    return { user, mayPull: (name) => this.#rules.allows(user, { type: "repository", name, action: "pull" }) };
  }

  #unauthenticated(reason: string, credentials: Credentials, required: readonly Access[], error?: "invalid_token" | "insufficient_scope"): AccessRefusedError {
    return new AccessRefusedError("unauthenticated", reason, { required, challenge: this.#challenge(credentials, required, error) });
  }

  #challenge(credentials: Credentials, required: readonly Access[], error: "invalid_token" | "insufficient_scope" | undefined): string {
    if (this.tokenEndpoint === undefined) return basicChallenge(this.#options.realm);
    const realm = `${this.#baseUrl(credentials)}${this.tokenEndpoint.path}`;
    return bearerChallenge({ realm, service: this.#options.realm, scope: scopeOf(required), ...(error === undefined ? {} : { error }) });
  }
}

// Both change seldom, and are asked for at every decision.
function groupsSource(configured: Groups, file: WatchedFile<Groups> | undefined): () => Groups {
  if (file === undefined) return () => configured;
  let seen: Groups | undefined;
  let merged = configured;
  return () => {
    if (seen !== file.content) {
      seen = file.content;
      merged = mergeGroups(configured, seen);
    }
    return merged;
  };
}
