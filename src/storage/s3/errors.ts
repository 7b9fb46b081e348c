import { PathNotFoundError, StorageFullError } from "../errors.ts";
import { StoreConnectionError } from "./transport.ts";

/** The driver's name in the configuration and in error texts. */
export const S3 = "s3";

const FULL_CODES: ReadonlySet<string> = new Set(["QuotaExceeded", "QuotaExceededException", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "InsufficientCapacity"]);
const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** What stores answer that do not know an operation, or want it said otherwise. */
const REFUSING_CODES: ReadonlySet<string> = new Set(["InvalidRequest", "InvalidDigest", "MissingContentMD5", "NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "MalformedXML"]);

/** The store refused a call, or could not be asked. */
export class S3CallError extends Error {
  /** The store's code, like `AccessDenied`; for broken connections that of the system. */
  readonly code: string;
  /** The status of its answer; 0 when there was none. */
  readonly status: number;

  constructor(call: { readonly operation: string; readonly target: string }, cause: unknown) {
    const { code, status, message, requestId, attempts } = factsOf(cause);
    const facts = [...(status === 0 ? [] : [`status ${status}`]), ...(requestId === undefined ? [] : [`request ${requestId}`]), ...(attempts > 1 ? [`${attempts} attempts`] : [])];
    super(`${S3}: ${call.operation} ${call.target}: ${code === message ? code : `${code}: ${message}`}${facts.length === 0 ? "" : ` (${facts.join(", ")})`}`, { cause });
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

/** Turns what a call threw into what drivers throw. @param path Named in errors that speak of paths. */
export function callFailure(error: unknown, call: { readonly operation: string; readonly target: string }): Error {
  const failure = new S3CallError(call, error);
  if (FULL_CODES.has(failure.code) || failure.status === 507) return new StorageFullError(S3, call.target, failure);
  return failure;
}

/** Runs something that reads an object. @throws PathNotFoundError when there is none */
export async function orNotFound<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof S3CallError && error.isMissingKey) throw new PathNotFoundError(S3, path, error);
    throw error;
  }
}

/** Whether a failure may pass by itself. */
export function isTransient(error: unknown): boolean {
  if (error instanceof StoreConnectionError) return true;
  return error instanceof S3CallError && (TRANSIENT_STATUS.has(error.status) || error.cause instanceof StoreConnectionError);
}

interface ErrorFacts {
  readonly code: string;
  readonly status: number;
  readonly message: string;
  readonly requestId: string | undefined;
  readonly attempts: number;
}

function factsOf(error: unknown): ErrorFacts {
  if (!(error instanceof Error)) return { code: "Error", status: 0, message: String(error), requestId: undefined, attempts: 0 };
  const metadata: { readonly httpStatusCode?: number; readonly requestId?: string; readonly attempts?: number } = "$metadata" in error && typeof error.$metadata === "object" ? (error.$metadata ?? {}) : {};
  const code = "Code" in error && typeof error.Code === "string" ? error.Code : error instanceof StoreConnectionError ? error.code : error.name;
  const message = error.message === "UnknownError" || error.message === "" ? code : error.message;
  return { code, status: metadata.httpStatusCode ?? 0, message, requestId: metadata.requestId, attempts: metadata.attempts ?? 0 };
}
