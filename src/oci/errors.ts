/**
 * Every error code of the registry API with the status and the message that clients of distribution know.
 * The statuses are what distribution really serves (MANIFEST_BLOB_UNKNOWN is 400), not what its printed table says.
 * @see OCI distribution-spec, "Error Codes"
 */
export const ERROR_CODES = {
  UNKNOWN: { status: 500, message: "unknown error" },
  UNSUPPORTED: { status: 405, message: "The operation is unsupported." },
  UNAUTHORIZED: { status: 401, message: "authentication required" },
  DENIED: { status: 403, message: "requested access to the resource is denied" },
  UNAVAILABLE: { status: 503, message: "service unavailable" },
  TOOMANYREQUESTS: { status: 429, message: "too many requests" },
  DIGEST_INVALID: { status: 400, message: "provided digest did not match uploaded content" },
  SIZE_INVALID: { status: 400, message: "provided length did not match content length" },
  RANGE_INVALID: { status: 416, message: "invalid content range" },
  NAME_INVALID: { status: 400, message: "invalid repository name" },
  TAG_INVALID: { status: 400, message: "manifest tag did not match URI" },
  NAME_UNKNOWN: { status: 404, message: "repository name not known to registry" },
  MANIFEST_UNKNOWN: { status: 404, message: "manifest unknown" },
  MANIFEST_INVALID: { status: 400, message: "manifest invalid" },
  MANIFEST_UNVERIFIED: { status: 400, message: "manifest failed signature verification" },
  MANIFEST_BLOB_UNKNOWN: { status: 400, message: "blob unknown to registry" },
  BLOB_UNKNOWN: { status: 404, message: "blob unknown to registry" },
  BLOB_UPLOAD_UNKNOWN: { status: 404, message: "blob upload unknown to registry" },
  BLOB_UPLOAD_INVALID: { status: 404, message: "blob upload invalid" },
  PAGINATION_NUMBER_INVALID: { status: 400, message: "invalid number of results requested" },
} as const satisfies Record<string, { status: number; message: string }>;

/** A code of the error table. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** One entry of an error answer's `errors` list. */
export interface ErrorEntry {
  readonly code: ErrorCode;
  readonly message?: string;
  /** Any JSON value; left out of the answer when undefined. */
  readonly detail?: unknown;
}

/** What a {@link RegistryError} may say beyond its code. */
export interface RegistryErrorOptions {
  /** Replaces the table's message. */
  readonly message?: string;
  /** Goes to the client as `detail`: any JSON value. Never put a path, a secret or an inner error's text here. */
  readonly detail?: unknown;
  /** Replaces the table's status, for the few cases where one code has two (a 413 for too large a manifest, a 507 for a full disk). */
  readonly status?: number;
  /** Extra response headers, for example `range` or `retry-after`; lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Further entries after the first, for example one per missing blob. */
  readonly more?: readonly ErrorEntry[];
  readonly cause?: unknown;
}

/** An error that a client is told about, by code. Everything else that is thrown is a bug and becomes a 500 `UNKNOWN`. */
export class RegistryError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly entries: readonly ErrorEntry[];
  readonly headers: Readonly<Record<string, string>> | undefined;

  constructor(code: ErrorCode, options: RegistryErrorOptions = {}) {
    const message = options.message ?? ERROR_CODES[code].message;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RegistryError";
    this.code = code;
    this.status = options.status ?? ERROR_CODES[code].status;
    const first: ErrorEntry = options.detail === undefined ? { code, message } : { code, message, detail: options.detail };
    this.entries = options.more === undefined ? [first] : [first, ...options.more];
    this.headers = options.headers;
  }
}
