import { addAll } from "../lib/add-all.ts";
import type { Clock } from "../lib/clock.ts";
import { outgoingProxy } from "../lib/outgoing-proxy.ts";
import { algorithmOf, type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { isTag, type Tag } from "../oci/name.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import type { CredentialSource } from "./credentials.ts";
import { isTrustedRealm, UpstreamAuth } from "./upstream-auth.ts";
import { UpstreamError } from "./upstream-error.ts";
import { readBody, readJson, retryAfterOf, sizeOf } from "./upstream-response.ts";

const MANIFEST_ACCEPT = [MEDIA_TYPES.ociManifest, MEDIA_TYPES.ociIndex, MEDIA_TYPES.dockerManifest, MEDIA_TYPES.dockerList].join(", ");
/** For the head of an answer; bodies of blobs have a limit of their own. */
const ANSWER_TIMEOUT_MS = 30_000;
const LIST_MAX_BYTES = 8 * 1024 * 1024;
/** Tags that are asked for at once when all are wanted. */
const TAGS_PAGE = 1000;
const MAX_PAGES = 100;
const MAX_REDIRECTS = 10;
/** After a failure to reach it, an upstream is left alone for so long by who has something else to offer. */
const REST_MS = 5_000;

/** TLS to an upstream: PEM texts. */
export interface UpstreamTls {
  /** Certificate authorities that are trusted; undefined for the usual ones. */
  readonly ca: readonly string[] | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
}

/** What is counted of an upstream. */
export interface UpstreamMetrics {
  /** What a `ratelimit-remaining` header says; Docker Hub counts fetched manifests by it. */
  rateLimitRemaining(upstream: string, remaining: number): void;
}

/** What an upstream is made of. */
export interface UpstreamParts {
  /** Scheme, host and perhaps a path before `/v2/`. */
  readonly url: URL;
  readonly credentials: CredentialSource;
  readonly trustedRealms: readonly string[];
  readonly tls: UpstreamTls | undefined;
  readonly maxManifestBytes: number;
  readonly clock: Clock;
  readonly metrics: UpstreamMetrics | undefined;
}

/** What a tag points to; with the manifest where it came along. */
export interface UpstreamTag {
  readonly digest: Digest;
  readonly bytes?: Uint8Array;
}

/** A blob on its way from upstream. */
export interface UpstreamBlob {
  /** Of the whole blob; undefined when upstream does not say. */
  readonly sizeBytes: number | undefined;
  /** Where in the blob the body begins: at the offset that was asked for, or at 0 where upstream knows no ranges. */
  readonly offset: number;
  readonly body: ReadableStream<Uint8Array>;
}

/** A part of a list. */
export interface UpstreamTags {
  readonly items: readonly Tag[];
  readonly more: boolean;
}

type Concern = "manifests" | "blobs" | "lists";

interface Asked {
  readonly concern: Concern;
  readonly path: string;
  /** The upstream's name of the repository. */
  readonly repository: string;
  readonly method?: "GET" | "HEAD";
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** One upstream registry, spoken to in the OCI distribution protocol. Repositories go by the upstream's names. */
export class Upstream {
  readonly #parts: UpstreamParts;
  readonly #base: string;
  readonly #auth: UpstreamAuth;
  readonly #limitedUntil: Record<Concern, number> = { manifests: 0, blobs: 0, lists: 0 };
  #restUntil = 0;

  constructor(parts: UpstreamParts) {
    this.#parts = parts;
    this.#base = parts.url.href.replace(/\/+$/, "");
    this.#auth = new UpstreamAuth({
      url: parts.url,
      credentials: parts.credentials,
      trustedRealms: parts.trustedRealms,
      clock: parts.clock,
      send: (url, init) => this.#send(url, { ...init, method: "GET" }),
    });
  }

  /** Host and port. */
  get host(): string {
    return this.#parts.url.host;
  }

  /** Whether it failed a moment ago: who has something in the cache had better not wait for it. */
  get isResting(): boolean {
    return this.#parts.clock.now() < this.#restUntil;
  }

  /** Looks whether anybody is there. @throws UpstreamError when not; an upstream that wants a login is there. */
  async ping(timeoutMs: number): Promise<void> {
    const response = await this.#send(new URL(`${this.#base}/v2/`), { method: "GET", headers: new Headers(), signal: AbortSignal.timeout(timeoutMs) });
    await response.body?.cancel();
    if (response.status >= 500) throw new UpstreamError("unavailable", `it answered ${response.status}`);
  }

  /**
   * What a tag points to now. Asks by HEAD, which does not count against limits; by GET where HEAD does not tell.
   * @throws UpstreamError
   */
  async resolveTag(repository: string, tag: Tag, timeoutMs = ANSWER_TIMEOUT_MS): Promise<UpstreamTag> {
    const asked = { concern: "manifests", path: `manifests/${tag}`, repository, headers: { accept: MANIFEST_ACCEPT }, timeoutMs } as const;
    try {
      const digest = await this.#request({ ...asked, method: "HEAD" }, async ({ headers }) => headers.get("docker-content-digest"));
      if (digest !== null && isDigest(digest)) return { digest };
    } catch (error) {
      // A 405 and its like: there are registries that know no HEAD on manifests.
      if (!(error instanceof UpstreamError) || error.problem !== "garbage") throw error;
    }
    const bytes = await this.#readManifest(asked);
    return { digest: digestOf(bytes), bytes };
  }

  /**
   * Fetches a manifest.
   * @throws UpstreamError `garbage` when the bytes are not those of the digest.
   */
  async manifest(repository: string, digest: Digest): Promise<Uint8Array> {
    const bytes = await this.#readManifest({ concern: "manifests", path: `manifests/${digest}`, repository, headers: { accept: MANIFEST_ACCEPT } });
    const actual = digestOf(bytes, algorithmOf(digest));
    if (actual !== digest) throw new UpstreamError("garbage", `the manifest ${digest} has the digest ${actual}`);
    return bytes;
  }

  /** The size of a blob that the repository has. @throws UpstreamError */
  async statBlob(repository: string, digest: Digest): Promise<number> {
    return await this.#request({ concern: "blobs", path: `blobs/${digest}`, repository, method: "HEAD" }, async (response) => {
      const sizeBytes = sizeOf(response);
      if (sizeBytes === undefined) throw new UpstreamError("garbage", `the size of blob ${digest} is missing`);
      return sizeBytes;
    });
  }

  /**
   * Opens a blob.
   * @param offset Where to go on with one that broke off.
   * @throws UpstreamError
   */
  async blob(repository: string, digest: Digest, options: { readonly offset: number; readonly signal: AbortSignal }): Promise<UpstreamBlob> {
    const { offset, signal } = options;
    const headers: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
    const response = await this.#request({ concern: "blobs", path: `blobs/${digest}`, repository, headers, signal }, async (opened) => opened);
    const start = response.status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1]) : 0;
    if (start !== 0 && start !== offset) {
      await response.body?.cancel();
      throw new UpstreamError("garbage", "the upstream sent another part of a blob than it was asked for");
    }
    return { sizeBytes: sizeOf(response), offset: start, body: response.body ?? new Blob([]).stream() };
  }

  /** Lists tags after `last`, all of them when no limit is given (within reason). @throws UpstreamError */
  async tags(repository: string, page: { readonly last?: string; readonly limit?: number }): Promise<UpstreamTags> {
    const query = new URLSearchParams({ n: String(Math.min(page.limit ?? TAGS_PAGE, TAGS_PAGE)), ...(page.last !== undefined && { last: page.last }) });
    return await this.#request({ concern: "lists", path: `tags/list?${query}`, repository }, async (response) => {
      const { tags } = asObject(await readJson(response, LIST_MAX_BYTES));
      const items = Array.isArray(tags) ? tags.filter((tag): tag is Tag => typeof tag === "string" && isTag(tag)) : [];
      return { items, more: linkTarget(response) !== undefined };
    });
  }

  /**
   * The descriptors of a subject's referrers as upstream lists them, its pages joined; undefined when it does not know such lists.
   * @throws UpstreamError
   */
  async referrers(repository: string, subject: Digest): Promise<readonly unknown[] | undefined> {
    const found: unknown[] = [];
    let path: string | undefined = `referrers/${subject}`;
    for (let pages = 0; path !== undefined && pages < MAX_PAGES; pages++) {
      const page = await this.#referrersPage(repository, path);
      if (page === undefined && pages === 0) return undefined;
      addAll(found, page?.manifests ?? []);
      path = page?.next;
    }
    return found;
  }

  async #referrersPage(repository: string, path: string): Promise<{ readonly manifests: readonly unknown[]; readonly next: string | undefined } | undefined> {
    try {
      return await this.#request({ concern: "lists", path, repository, headers: { accept: MEDIA_TYPES.ociIndex } }, async (response) => {
        const { manifests } = asObject(await readJson(response, LIST_MAX_BYTES));
        if (!Array.isArray(manifests)) throw new UpstreamError("garbage", "the list of referrers is no index");
        return { manifests: manifests as readonly unknown[], next: nextPath(response, `/v2/${repository}/`) };
      });
    } catch (error) {
      if (error instanceof UpstreamError && error.problem === "missing") return undefined;
      throw error;
    }
  }

  async #readManifest(asked: Asked): Promise<Uint8Array> {
    return await this.#request(asked, (response) => readBody(response, this.#parts.maxManifestBytes));
  }

  /**
   * Asks, logs in where that is wanted, and follows redirects.
   * @param read Takes what is wanted from an answer with status 200 or 206. The time limit ends with it; the caller's signal holds on.
   * @throws UpstreamError
   */
  async #request<T>(asked: Asked, read: (response: Response) => Promise<T>): Promise<T> {
    const { clock } = this.#parts;
    const limitedMs = this.#limitedUntil[asked.concern] - clock.now();
    if (limitedMs > 0) throw new UpstreamError("limited", "the upstream asked to be left alone", { retryAfterSeconds: Math.ceil(limitedMs / 1000), isRemembered: true });
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(new Error("it took too long")), asked.timeoutMs ?? ANSWER_TIMEOUT_MS);
    const signal = asked.signal === undefined ? limit.signal : AbortSignal.any([limit.signal, asked.signal]);
    try {
      return await read(await this.#accepted(asked, await this.#authorized(asked, signal)));
    } finally {
      clearTimeout(timer);
    }
  }

  async #authorized(asked: Asked, signal: AbortSignal): Promise<Response> {
    const authorization = await this.#auth.authorization(asked.repository);
    const first = await this.#follow(asked, authorization, signal);
    if (first.status !== 401) return first;
    await first.body?.cancel();
    const next = await this.#auth.answer(first.headers.get("www-authenticate"), asked.repository, authorization);
    // One answer to one challenge: an upstream that challenges for ever is not followed.
    return next === undefined ? first : await this.#follow(asked, next, signal);
  }

  async #accepted(asked: Asked, response: Response): Promise<Response> {
    const remaining = /^(\d+)/.exec(response.headers.get("ratelimit-remaining") ?? "")?.[1];
    if (remaining !== undefined) this.#parts.metrics?.rateLimitRemaining(this.host, Number(remaining));
    const { status } = response;
    if (status === 200 || status === 206) return response;
    await response.body?.cancel().catch(() => undefined);
    if (status === 429) {
      const retryAfterSeconds = retryAfterOf(response, this.#parts.clock.now());
      this.#limitedUntil[asked.concern] = this.#parts.clock.now() + retryAfterSeconds * 1000;
      throw new UpstreamError("limited", "the upstream limits the rate of requests", { retryAfterSeconds });
    }
    if (status === 404 || status === 410) throw new UpstreamError("missing", "the upstream does not have it");
    if (status === 401 || status === 403) throw new UpstreamError("refused", `the upstream answered ${status}`);
    if (status >= 500) throw this.#failed(`the upstream answered ${status}`);
    throw new UpstreamError("garbage", `the upstream answered ${status}, expected 200`);
  }

  async #follow(asked: Asked, authorization: string | undefined, signal: AbortSignal): Promise<Response> {
    let url = new URL(`${this.#base}/v2/${asked.repository}/${asked.path}`);
    const method = asked.method ?? "GET";
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      // Bytes as they are stored: a body that a proxy compressed would not have its digest.
      const headers = new Headers({ "accept-encoding": "identity", ...asked.headers });
      // Stores that upstreams redirect to refuse what carries credentials besides a signature; others are not who they are for.
      if (authorization !== undefined && url.host === this.host && url.protocol === this.#parts.url.protocol) headers.set("authorization", authorization);
      const response = await this.#send(url, { method, headers, signal });
      const location = response.headers.get("location");
      if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
      await response.body?.cancel();
      if (!URL.canParse(location, url.href)) throw new UpstreamError("garbage", "the upstream redirects to an address that is none");
      url = new URL(location, url);
      if (url.protocol !== "https:" && url.protocol !== "http:") throw new UpstreamError("garbage", `the upstream redirects to ${url.protocol}`);
    }
    throw new UpstreamError("garbage", `the upstream redirects more than ${MAX_REDIRECTS} times`);
  }

  async #send(url: URL, init: { readonly method: "GET" | "HEAD"; readonly headers: Headers; readonly signal: AbortSignal }): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await fetch(url.href, { ...init, redirect: "manual", decompress: false, ...outgoingProxy(url), ...this.#tls(url) } as BunFetchRequestInit);
      } catch (error) {
        // A connection that was kept may have been closed by the other side just now: a new one decides.
        if (attempt === 1 && !init.signal.aborted && (error as { code?: unknown }).code === "ECONNRESET") continue;
        if (init.signal.aborted && init.signal.reason instanceof UpstreamError) throw init.signal.reason;
        throw this.#failed(`${url.host} cannot be reached: ${error instanceof Error ? error.message : String(error)}`, error);
      }
    }
  }

  #tls(url: URL): { readonly tls?: BunFetchRequestInitTLS } {
    const { tls, trustedRealms } = this.#parts;
    if (tls === undefined) return {};
    if (!isTrustedRealm(url, this.#parts.url, trustedRealms)) return tls.ca === undefined ? {} : { tls: { ca: [...tls.ca] } };
    return {
      tls: {
        ...(tls.ca !== undefined && { ca: [...tls.ca] }),
        ...(tls.certificate !== undefined && { cert: tls.certificate }),
        ...(tls.key !== undefined && { key: tls.key }),
      },
    };
  }

  #failed(message: string, cause?: unknown): UpstreamError {
    this.#restUntil = this.#parts.clock.now() + REST_MS;
    return new UpstreamError("unavailable", message, { cause });
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>;
  throw new UpstreamError("garbage", "the answer is not a JSON object");
}

/** The path of the next page below `/v2/<repository>/`; undefined when this was the last one, or it leads elsewhere. */
function nextPath(response: Response, below: string): string | undefined {
  const target = linkTarget(response);
  if (target === undefined || !URL.canParse(target, "http://upstream")) return undefined;
  const { pathname, search } = new URL(target, "http://upstream");
  const at = pathname.indexOf(below);
  return at < 0 ? undefined : `${pathname.slice(at + below.length)}${search}`;
}

function linkTarget(response: Response): string | undefined {
  return /<([^<>]*)>\s*;[^,<]*\brel="?next"?/.exec(response.headers.get("link") ?? "")?.[1];
}
