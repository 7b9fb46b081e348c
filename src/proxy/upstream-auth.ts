import { getDomain } from "tldts";
import type { Clock } from "../lib/clock.ts";
import { LruMap } from "../lib/lru.ts";
import { SingleFlight } from "../lib/single-flight.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { CredentialSource, UserCredentials } from "./credentials.ts";
import { readJson, retryAfterOf } from "./upstream-response.ts";
import { UpstreamError } from "./upstream-error.ts";

const TOKEN_TIMEOUT_MS = 15_000;
const TOKEN_MAX_BYTES = 1024 * 1024;
const MIN_LIFETIME_MS = 60_000;
/** A token is given up so long before its end that it cannot run out on the way. */
const SAFETY_MS = 5_000;
const MAX_TOKENS = 10_000;

/** How to log in to an upstream. */
export interface UpstreamAuthParts {
  readonly url: URL;
  readonly credentials: CredentialSource;
  /** Hosts that may issue tokens besides the upstream's own domain. */
  readonly trustedRealms: readonly string[];
  readonly clock: Clock;
  /** Sends a request as the upstream's other requests are sent (TLS, proxies), without following redirects. */
  readonly send: (url: URL, init: { readonly headers: Headers; readonly signal: AbortSignal }) => Promise<Response>;
}

interface Bearer {
  readonly realm: URL;
  readonly service: string | undefined;
}

interface Token {
  readonly value: string;
  readonly until: number;
}

/**
 * Answers an upstream's challenges: Basic, and Bearer with a token for each repository. What the upstream asked for once is sent
 * with every later request before it asks again.
 */
export class UpstreamAuth {
  readonly #parts: UpstreamAuthParts;
  readonly #tokens = new LruMap<string, Token>(MAX_TOKENS);
  readonly #flights = new SingleFlight<string>();
  #wants: { readonly scheme: "basic" } | ({ readonly scheme: "bearer" } & Bearer) | undefined;

  constructor(parts: UpstreamAuthParts) {
    this.#parts = parts;
  }

  /**
   * The `Authorization` header for a request; undefined as long as the upstream has not asked for one.
   * @param repository The upstream's name of it; undefined for requests that concern none.
   * @throws UpstreamError
   */
  async authorization(repository: string | undefined): Promise<string | undefined> {
    if (this.#wants === undefined) return undefined;
    return this.#wants.scheme === "basic" ? this.#basic() : await this.#bearer(this.#wants, repository);
  }

  /**
   * Answers a challenge.
   * @param sent The `Authorization` header that was challenged.
   * @returns Another one to try; undefined when there is none.
   * @throws UpstreamError
   */
  async answer(header: string | null, repository: string | undefined, sent: string | undefined): Promise<string | undefined> {
    const challenges = parseChallenges(header ?? "");
    const bearer = challenges.flatMap((challenge) => this.#usable(challenge)).at(0);
    if (bearer !== undefined) {
      this.#wants = { scheme: "bearer", ...bearer };
      const scope = scopeOf(repository);
      if (sent === `Bearer ${this.#tokens.get(scope)?.value}`) this.#tokens.delete(scope);
      const next = await this.#bearer(bearer, repository);
      return next === sent ? undefined : next;
    }
    if (!challenges.some(({ scheme }) => scheme === "basic")) return undefined;
    this.#wants = { scheme: "basic" };
    const next = await this.#basic();
    return next === sent ? undefined : next;
  }

  async #basic(): Promise<string | undefined> {
    const credentials = await this.#parts.credentials();
    return credentials === undefined ? undefined : basic(credentials);
  }

  async #bearer(bearer: Bearer, repository: string | undefined): Promise<string> {
    const scope = scopeOf(repository);
    const token = this.#tokens.get(scope);
    if (token !== undefined && this.#parts.clock.now() < token.until) return `Bearer ${token.value}`;
    return `Bearer ${await this.#flights.run(scope, () => this.#fetchToken(bearer, scope))}`;
  }

  async #fetchToken(bearer: Bearer, scope: string): Promise<string> {
    const credentials = await this.#parts.credentials();
    const url = new URL(bearer.realm);
    if (bearer.service !== undefined) url.searchParams.set("service", bearer.service);
    if (scope !== "") url.searchParams.set("scope", scope);
    const headers = new Headers({ accept: "application/json" });
    if (credentials !== undefined) {
      url.searchParams.set("account", credentials.username);
      headers.set("authorization", basic(credentials));
    }
    const askedAt = this.#parts.clock.now();
    const response = await this.#parts.send(url, { headers, signal: AbortSignal.timeout(TOKEN_TIMEOUT_MS) });
    const { value, lifetimeMs } = await readToken(response);
    this.#tokens.set(scope, { value, until: askedAt + Math.max(MIN_LIFETIME_MS, lifetimeMs) - SAFETY_MS });
    return value;
  }

  #usable(challenge: Challenge): Bearer[] {
    const { realm, service } = challenge.parameters;
    if (challenge.scheme !== "bearer" || realm === undefined || !URL.canParse(realm)) return [];
    const url = new URL(realm);
    return isTrustedRealm(url, this.#parts.url, this.#parts.trustedRealms) ? [{ realm: url, service }] : [];
  }
}

/**
 * Whether credentials for an upstream may be sent to a token realm: its own host and port, or a host of the same registrable domain;
 * addresses and single-label names only when they are the upstream's very own. Never from HTTPS down to HTTP.
 */
export function isTrustedRealm(realm: URL, upstream: URL, trusted: readonly string[]): boolean {
  if (realm.protocol !== "https:" && realm.protocol !== upstream.protocol) return false;
  if (realm.host === upstream.host || trusted.includes(realm.host)) return true;
  const domain = getDomain(realm.hostname, { allowPrivateDomains: true });
  return domain !== null && domain === getDomain(upstream.hostname, { allowPrivateDomains: true });
}

function scopeOf(repository: string | undefined): string {
  return repository === undefined ? "" : `repository:${repository}:pull`;
}

function basic(credentials: UserCredentials): string {
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}`;
}

async function readToken(response: Response): Promise<{ readonly value: string; readonly lifetimeMs: number }> {
  if (response.status !== 200) {
    await response.body?.cancel();
    if (response.status === 429) throw new UpstreamError("limited", "the token server limits the rate of requests", { retryAfterSeconds: retryAfterOf(response) });
    throw new UpstreamError(response.status < 500 ? "refused" : "unavailable", `the token server answered ${response.status}, expected 200`);
  }
  const answer = await readJson(response, TOKEN_MAX_BYTES);
  const { token, access_token, expires_in } = (typeof answer === "object" && answer !== null ? answer : {}) as Record<string, unknown>;
  const value = typeof token === "string" && token !== "" ? token : access_token;
  if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) throw new UpstreamError("garbage", "the token server's answer holds no token");
  return { value, lifetimeMs: typeof expires_in === "number" && Number.isFinite(expires_in) ? expires_in * 1000 : 0 };
}
