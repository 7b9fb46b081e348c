import { StorageFullError } from "../errors.ts";
import { StoreConnectionError } from "../object-store/connection-error.ts";

/** The driver's name in the configuration and in error texts. */
export const OSS = "oss";

const FULL_CODES: ReadonlySet<string> = new Set(["QuotaExceeded", "InsufficientStorage"]);
const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** Codes of the status 400 that are about how a request arrived: it came too slowly, or with other bytes than were sent. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(["RequestTimeout", "InvalidDigest", "IncompleteBody"]);
/** What OSS says when a part is not the one that was sent, or not there. */
const FOREIGN_PARTS: ReadonlySet<string> = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall"]);
const MAX_MESSAGE_CHARACTERS = 500;

/** The store refused a call, or could not be asked. */
export class OssCallError extends Error {
  /** The store's code, like `AccessDenied`; for broken connections that of the system. */
  readonly code: string;
  /** The status of its answer; 0 when there was none. */
  readonly status: number;

  constructor(call: { readonly operation: string; readonly target: string }, cause: unknown) {
    const { code, status, message, requestId } = factsOf(cause);
    const facts = [...(status === 0 ? [] : [`status ${status}`]), ...(requestId === undefined ? [] : [`request ${requestId}`])];
    super(`${OSS}: ${call.operation} ${call.target}: ${code === message ? code : `${code}: ${message}`}${facts.length === 0 ? "" : ` (${facts.join(", ")})`}`, { cause });
    this.name = "OssCallError";
    this.code = code;
    this.status = status;
  }

  /** There is no such object, as far as an answer to HEAD can tell; it looks the same when there is no such bucket. */
  get isMissingKey(): boolean {
    return this.status === 404 && this.code === "NoSuchKey";
  }

  /** The multipart upload is unknown: completed, aborted or never begun. */
  get isMissingUpload(): boolean {
    return this.status === 404 && this.code === "NoSuchUpload";
  }

  /** Parts of the multipart upload are not those that were sent. */
  get isForeignParts(): boolean {
    return FOREIGN_PARTS.has(this.code);
  }

  /** The content begins at or after the end of the object. */
  get isPastEnd(): boolean {
    return this.status === 416;
  }

  /** The object is no longer the one that was meant. */
  get isChanged(): boolean {
    return this.status === 412;
  }
}

/** An answer of success cannot be read: what comes between has cut it, or put another in its place. */
class UnreadableAnswerError extends Error {
  constructor(cause: unknown) {
    super("the store's answer cannot be read", { cause });
    this.name = "UnreadableAnswerError";
  }
}

/** What the SDK threw over an answer: the store's refusal, which has a status, or that it could not read it. */
export function orUnreadable(error: unknown): unknown {
  return error instanceof Error && !("status" in error) ? new UnreadableAnswerError(error) : error;
}

/** Turns what a call threw into what drivers throw. */
export function callFailure(error: unknown, call: { readonly operation: string; readonly target: string }): Error {
  const failure = new OssCallError(call, error);
  if (FULL_CODES.has(failure.code) || failure.status === 507) return new StorageFullError(OSS, call.target, failure);
  return failure;
}

/** Whether a failure may pass by itself. */
export function isTransient(error: unknown): boolean {
  if (error instanceof StoreConnectionError) return true;
  return error instanceof OssCallError && (TRANSIENT_STATUS.has(error.status) || TRANSIENT_CODES.has(error.code) || error.cause instanceof StoreConnectionError || error.cause instanceof UnreadableAnswerError);
}

interface ErrorFacts {
  readonly code: string;
  readonly status: number;
  readonly message: string;
  readonly requestId: string | undefined;
}

/** Reads an error of the SDK's, or of the connection. */
function factsOf(error: unknown): ErrorFacts {
  if (!(error instanceof Error)) return { code: "Error", status: 0, message: String(error), requestId: undefined };
  const { code, status, requestId } = error as Error & { readonly code?: unknown; readonly status?: unknown; readonly requestId?: unknown };
  const knownStatus = typeof status === "number" ? status : 0;
  return {
    code: typeof code === "string" && code !== "" ? code : knownStatus === 0 ? error.name : `status ${knownStatus}`,
    status: knownStatus,
    message: error.message.slice(0, MAX_MESSAGE_CHARACTERS),
    requestId: typeof requestId === "string" ? requestId : undefined,
  };
}
