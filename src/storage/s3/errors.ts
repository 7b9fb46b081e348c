import { StorageFullError } from "../errors.ts";
import { StoreConnectionError } from "../object-store/connection-error.ts";

/** The driver's name in the configuration and in error texts. */
export const S3 = "s3";

const FULL_CODES: ReadonlySet<string> = new Set(["QuotaExceeded", "QuotaExceededException", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "InsufficientCapacity"]);
const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** The code of an answer of success that cannot be read: what comes between has cut it, or put another in its place. */
const UNREADABLE = "UnreadableAnswer";
/** Also where the status says something else: errors come after a status of 200, too, and clocks are set by the answer. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(["InternalError", "RequestTimeout", "RequestTimeTooSkewed", "ServiceUnavailable", "OperationAborted", UNREADABLE]);
const OVERLOAD_CODES: ReadonlySet<string> = new Set(["SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequests", "TooManyRequestsException"]);
/** What stores answer that do not know an operation, or want it said otherwise. */
const REFUSING_CODES: ReadonlySet<string> = new Set(["InvalidRequest", "InvalidDigest", "MissingContentMD5", "NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "MalformedXML"]);
/** What S3 says when a part is not the one that was sent, or not there. */
const FOREIGN_PARTS: ReadonlySet<string> = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall"]);

/** A call to the store, as errors tell of it. */
export interface S3Call {
  readonly operation: string;
  /** The bucket, or the object in it. */
  readonly target: string;
  /** How often it was tried. */
  readonly attempts: number;
}

/** The store refused a call, or could not be asked. */
export class S3CallError extends Error {
  /** The store's code, like `AccessDenied`; for broken connections that of the system. */
  readonly code: string;
  /** The status of its answer; 0 when there was none. */
  readonly status: number;

  constructor({ operation, target, attempts }: S3Call, cause: unknown) {
    const { code, status, message, requestId } = factsOf(cause);
    const facts = [...(status === 0 ? [] : [`status ${status}`]), ...(requestId === undefined ? [] : [`request ${requestId}`]), ...(attempts > 1 ? [`${attempts} attempts`] : [])];
    super(`${S3}: ${operation} ${target}: ${code === message ? code : `${code}: ${message}`}${facts.length === 0 ? "" : ` (${facts.join(", ")})`}`, { cause });
    this.name = "S3CallError";
    this.code = code;
    this.status = status;
  }

  /** There is no such object, as far as an answer to HEAD can tell; it looks the same when there is no such bucket. */
  get isMissingKey(): boolean {
    return this.status === 404 && (this.code === "NoSuchKey" || this.code === "NotFound" || this.code === "404");
  }

  /** The multipart upload is unknown: completed, aborted or never begun. */
  get isMissingUpload(): boolean {
    return this.code === "NoSuchUpload" || (this.status === 404 && this.code !== "NoSuchBucket" && this.code !== "NoSuchKey");
  }

  /** Somebody else wrote to the multipart upload. */
  get isForeignParts(): boolean {
    return FOREIGN_PARTS.has(this.code);
  }

  /** The content begins at or after the end of the object. */
  get isPastEnd(): boolean {
    return this.status === 416 || this.code === "InvalidRange";
  }

  /** The object is no longer the one that was meant. */
  get isChanged(): boolean {
    return this.status === 412 || this.code === "PreconditionFailed";
  }

  /** The store does not offer the operation in this form. */
  get isRefusal(): boolean {
    return this.status === 501 || this.status === 405 || (this.status === 400 && REFUSING_CODES.has(this.code));
  }
}

/** Turns what a call threw into what drivers throw. */
export function callFailure(error: unknown, call: S3Call): Error {
  const failure = new S3CallError(call, error);
  if (FULL_CODES.has(failure.code) || failure.status === 507) return new StorageFullError(S3, call.target, failure);
  return failure;
}

/** Whether a call's failure may pass by itself. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof S3CallError)) return false;
  return TRANSIENT_STATUS.has(error.status) || TRANSIENT_CODES.has(error.code) || isOverload(error) || error.cause instanceof StoreConnectionError;
}

/** Whether a call failed because the store has too much to do. */
export function isOverload(error: unknown): boolean {
  return error instanceof S3CallError && (error.status === 429 || error.status === 503 || OVERLOAD_CODES.has(error.code));
}

interface ErrorFacts {
  readonly code: string;
  readonly status: number;
  readonly message: string;
  readonly requestId: string | undefined;
}

function factsOf(error: unknown): ErrorFacts {
  if (!(error instanceof Error)) return { code: "Error", status: 0, message: String(error), requestId: undefined };
  const metadata: { readonly httpStatusCode?: number; readonly requestId?: string } = "$metadata" in error && typeof error.$metadata === "object" ? (error.$metadata ?? {}) : {};
  const named = "Code" in error && typeof error.Code === "string" ? error.Code : error instanceof StoreConnectionError ? error.code : error.name;
  const status = metadata.httpStatusCode ?? 0;
  // What the store itself says has a code. The SDK's text about anything else is of no use: it tells how to look at the answer.
  if (status >= 200 && status < 300 && !("Code" in error) && !("$fault" in error)) return { code: UNREADABLE, status, message: "the store's answer cannot be read", requestId: metadata.requestId };
  // Answers to HEAD have no body to say why in.
  const code = named === "Unknown" ? "the store gives no reason" : named;
  const message = error.message === "UnknownError" || error.message === "" ? code : error.message;
  return { code, status, message, requestId: metadata.requestId };
}
