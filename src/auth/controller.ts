import type { RepositoryName } from "../oci/name.ts";

/** One thing that a request needs to be allowed. */
export interface Access {
  readonly type: "repository" | "registry";
  /** A repository's name, or `catalog`. */
  readonly name: string;
  readonly action: "pull" | "push" | "delete" | "*";
}

/** What an access controller looks at. Nothing here may be logged but `clientAddress`. */
export interface Credentials {
  /** The `Authorization` header, whole. */
  readonly authorization: string | undefined;
  /** As far as it can be believed. */
  readonly clientAddress: string;
  /** Scheme and host as the client sees them, for a challenge that points back to us. */
  readonly scheme: string;
  readonly host: string;
  /** The verified client certificate's names, when one was presented. */
  readonly certificate?: ClientCertificate | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The names in a verified client certificate. */
export interface ClientCertificate {
  readonly commonName: string | undefined;
  readonly alternativeNames: readonly string[];
}

/** Decides who may do what. */
export interface AccessController {
  /**
   * @param required Everything that the request needs; empty for "be somebody" (`/v2/`).
   * @throws AccessRefusedError
   */
  authorize(credentials: Credentials, required: readonly Access[]): Promise<Grant>;

  /** Looks at its files now; what is broken keeps its last good content, and is logged. @returns What changed, for the log. */
  reload?(): Promise<readonly string[]>;

  /** Whether users may be named by client certificates. */
  readonly usesCertificates?: boolean;

  /** Where clients fetch tokens from this registry itself; absent when they need none of it. */
  readonly tokenEndpoint?: TokenEndpoint;
}

/** Gives out tokens, as the Docker token protocol wants it. */
export interface TokenEndpoint {
  /** Path below the registry's prefix; served before any authorization. */
  readonly path: string;
  /** @throws AccessRefusedError when the login is refused or has to wait */
  issue(request: TokenRequest): Promise<TokenAnswer>;
}

/** A request for a token. */
export interface TokenRequest {
  /** Passwords are only looked for in the form of a POST: addresses end up in logs. */
  readonly method: "GET" | "POST";
  readonly authorization: string | undefined;
  /** Those of the query, or of the form in the body. */
  readonly parameters: URLSearchParams;
  readonly clientAddress: string;
}

/** What a request for a token is answered. */
export interface TokenAnswer {
  readonly status: number;
  readonly json: object;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What an accepted request is known to be allowed. */
export interface Grant {
  /** Undefined for the anonymous. */
  readonly user: string | undefined;
  /** Whether the caller may pull from a repository, for lists and for mounts without a source; undefined: from every one. */
  readonly mayPull?: (name: RepositoryName) => boolean;
  /** Resource classes granted for a repository; undefined when classes are not restricted. */
  readonly classesOf?: (name: RepositoryName) => readonly string[] | undefined;
}

/** The request is not allowed. The message is for the log; the client gets the code, the challenge and the required access. */
export class AccessRefusedError extends Error {
  readonly outcome: "unauthenticated" | "denied" | "throttled";
  /** `WWW-Authenticate`, with an `unauthenticated` outcome. */
  readonly challenge: string | undefined;
  readonly required: readonly Access[];
  /** Seconds to wait, with `throttled`. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    outcome: "unauthenticated" | "denied" | "throttled",
    reason: string,
    details: { readonly required: readonly Access[]; readonly challenge?: string; readonly retryAfterSeconds?: number; readonly cause?: unknown },
  ) {
    super(reason, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "AccessRefusedError";
    this.outcome = outcome;
    this.challenge = details.challenge;
    this.required = details.required;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }
}
