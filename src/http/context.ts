import type { AccessController, ClientCertificate, Grant } from "../auth/controller.ts";
import type { EventSink, RegistryEvent } from "../notifications/event.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { Registry } from "../registry/registry.ts";
import type { Logger } from "../telemetry/log.ts";
import type { AccessLog } from "./access-log.ts";
import type { HttpMetrics } from "../telemetry/metrics.ts";
import type { Tracing } from "../telemetry/trace.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";
import type { UploadSlots } from "./upload-slots.ts";
import type { UploadTokens } from "./upload-token.ts";
import { clientAddress, type UrlBuilder, type UrlOptions, urlBuilder } from "./urls.ts";

/** Everything that serving requests needs, made once by the server. */
export interface AppParts {
  readonly registry: Registry;
  /** Undefined when everybody may do everything. */
  readonly access: AccessController | undefined;
  readonly events: EventSink | undefined;
  readonly log: Logger;
  readonly accessLog: AccessLog | undefined;
  readonly metrics: HttpMetrics | undefined;
  readonly tracing: Tracing | undefined;
  readonly tokens: UploadTokens;
  readonly uploadSlots: UploadSlots;
  /** Why nothing can be served just now; undefined when all is well. */
  readonly unhealthy: () => string | undefined;
  /** Whether connections are so many that each is closed after its answer; absent: never. */
  readonly isCrowded?: () => boolean;
  /** Maps a mirror's `?ns=` to the local repository; absent when nothing is mirrored by name space. */
  readonly resolveNamespace?: (namespace: string, name: RepositoryName) => RepositoryName | undefined;
  readonly options: AppOptions;
}

/** What the configuration says of the HTTP API. */
export interface AppOptions {
  readonly urls: UrlOptions;
  /** Headers for every routed answer, ready to be sent. */
  readonly headers: Readonly<Record<string, string>>;
  readonly trustedProxies: TrustedProxies;
  readonly readOnly: boolean;
  readonly catalogMaxEntries: number;
  readonly tagsMaxTags: number;
  readonly maxManifestBytes: number;
  readonly maxHeaderBytes: number;
  /** How long a body may be silent before its request is ended, in milliseconds. */
  readonly stallTimeoutMs: number;
}

/** What the connection says of a request. */
export interface Peer {
  /** The socket's address; `@` for a unix socket. */
  readonly address: string;
  readonly scheme: "http" | "https";
  readonly certificate?: ClientCertificate;
}

/** One request on its way through the pipeline. */
export class RequestContext {
  readonly parts: AppParts;
  readonly request: Request;
  readonly peer: Peer;
  /** Decoded, without the prefix. */
  readonly path: string;
  /** Raw, without the question mark. */
  readonly queryText: string;
  /** For log lines and events; also in the answer's `X-Request-Id`. */
  readonly id: string = crypto.randomUUID();
  readonly startedAt: number = performance.now();
  /** Empty for resources of the whole registry. */
  repository: RepositoryName = "" as RepositoryName;
  /** Reference, digest or upload id. */
  argument = "";
  grant: Grant = { user: undefined };
  #clientAddress: string | undefined;
  #query: URLSearchParams | undefined;
  #urls: UrlBuilder | undefined;

  constructor(parts: AppParts, request: Request, location: { readonly peer: Peer; readonly path: string; readonly queryText: string }) {
    this.parts = parts;
    this.request = request;
    this.peer = location.peer;
    this.path = location.path;
    this.queryText = location.queryText;
  }

  get query(): URLSearchParams {
    this.#query ??= new URLSearchParams(this.queryText);
    return this.#query;
  }

  get urls(): UrlBuilder {
    this.#urls ??= urlBuilder(this.request, this.peer.scheme, this.parts.options.urls);
    return this.#urls;
  }

  get registry(): Registry {
    return this.parts.registry;
  }

  /** Whether a body may be sent. */
  get withBody(): boolean {
    return this.request.method !== "HEAD";
  }

  /** The client's address as it is logged: whatever the headers say. */
  get clientAddress(): string {
    this.#clientAddress ??= clientAddress(this.request, this.peer.address);
    return this.#clientAddress;
  }

  /** Whose logins are counted: headers of strangers are not believed. */
  get loginAddress(): string {
    return this.parts.options.trustedProxies.clientOf(this.request.headers, this.peer.address);
  }

  /** Tells the listeners what happened. */
  emit(event: Omit<RegistryEvent, "repository">): void {
    const headers = this.request.headers;
    this.parts.events?.emit(
      { ...event, repository: this.repository },
      {
        requestId: this.id,
        address: this.clientAddress,
        host: headers.get("host") ?? "",
        method: this.request.method,
        userAgent: headers.get("user-agent") ?? "",
        user: this.grant.user,
      },
    );
  }

  /** The media type of the request's body, lower case and without parameters; undefined when it names none. */
  contentType(): string | undefined {
    const header = this.request.headers.get("content-type");
    if (header === null || header.trim() === "") return undefined;
    return (header.split(";", 1)[0] ?? "").trim().toLowerCase();
  }

  /**
   * The announced length of the body in bytes; undefined when it comes without one.
   * @throws RegistryError SIZE_INVALID
   */
  contentLength(): number | undefined {
    const header = this.request.headers.get("content-length");
    if (header === null) return undefined;
    if (!/^\d{1,15}$/.test(header)) throw new RegistryError("SIZE_INVALID", { detail: "the Content-Length is not a whole number" });
    return Number(header);
  }
}
