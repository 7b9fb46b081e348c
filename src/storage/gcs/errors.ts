import { PathNotFoundError } from "../errors.ts";
import { StoreConnectionError } from "../object-store/connection-error.ts";

/** The driver's name in the configuration and in error texts. */
export const GCS = "gcs";

const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** Said with the status 403, too. */
const RATE_LIMITS: ReadonlySet<string> = new Set(["rateLimitExceeded", "userRateLimitExceeded"]);
/** The reason when an answer of success cannot be read: what comes between has cut it, or put another in its place. */
export const UNREADABLE = "unreadable";
const MAX_MESSAGE_CHARACTERS = 500;

/** What was asked of the store, for error texts. */
export interface Call {
  /** As the API names it, like `objects.get`. */
  readonly operation: string;
  /** The bucket and the object. */
  readonly target: string;
}

/** What is known of a failure. */
export interface FailureFacts {
  /** The store's reason, like `notFound`; for broken connections the system's code. */
  readonly reason: string;
  /** The status of its answer; 0 when there was none. */
  readonly status: number;
  readonly message: string;
}

/** The store refused a call, or could not be asked. */
export class GcsCallError extends Error {
  readonly reason: string;
  readonly status: number;
  /** What the store itself said. */
  readonly storeMessage: string;

  constructor({ operation, target }: Call, { reason, status, message }: FailureFacts, cause?: unknown) {
    super(`${GCS}: ${operation} ${target}: ${reason}: ${message}${status === 0 ? "" : ` (status ${status})`}`, cause === undefined ? undefined : { cause });
    this.name = "GcsCallError";
    this.reason = reason;
    this.status = status;
    this.storeMessage = message;
  }

  /** There is no such object, or no such bucket. */
  get isMissing(): boolean {
    return this.status === 404;
  }

  /** The content begins at or after the end of the object. */
  get isPastEnd(): boolean {
    return this.status === 416;
  }

  /** The object is no longer the one that was meant. */
  get isChanged(): boolean {
    return this.status === 412;
  }

  /** The session of an upload is unknown: ended long ago, or given up. */
  get isMissingSession(): boolean {
    return this.status === 404 || this.status === 410 || this.status === 499;
  }
}

/** The error that an answer speaks of: JSON of the API's form, or a line of text, as downloads have it. */
export function answerFailure(status: number, body: Uint8Array): FailureFacts {
  const text = Buffer.from(body).toString().trim();
  try {
    const { error } = JSON.parse(text) as { readonly error?: { readonly message?: string; readonly errors?: readonly { readonly reason?: string }[] } };
    if (error?.message !== undefined) return { status, reason: error.errors?.[0]?.reason ?? "error", message: error.message.slice(0, MAX_MESSAGE_CHARACTERS) };
  } catch {
    // It is text then.
  }
  return { status, reason: "error", message: text === "" ? "no message" : text.slice(0, MAX_MESSAGE_CHARACTERS) };
}

/** What drivers throw when a call got no answer. */
export function connectionFailure(error: unknown, call: Call): Error {
  if (error instanceof GcsCallError) return error;
  if (error instanceof StoreConnectionError) return new GcsCallError(call, { reason: error.code, status: 0, message: error.message }, error);
  return new GcsCallError(call, { reason: error instanceof Error ? error.name : "Error", status: 0, message: error instanceof Error ? error.message : String(error) }, error);
}

/** What drivers throw when no access token could be had. The SDK's errors carry the answer of whoever gives tokens. */
export function tokenFailure(error: unknown, call: Call): Error {
  if (!(error instanceof Error) || error instanceof StoreConnectionError) return connectionFailure(error, call);
  const { status, data } = tokenAnswer(error);
  if (status !== 0) return new GcsCallError(call, { ...answerFailure(status, Buffer.from(typeof data === "string" ? data : JSON.stringify(data ?? ""))), ...oauthError(data) }, error);
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  return connectionFailure(code === undefined ? error : new StoreConnectionError(error.message, code, error), call);
}

/** Runs something that reads an object. @throws PathNotFoundError when there is none */
export async function orNotFound<T>(path: string, work: () => Promise<T | undefined>): Promise<T> {
  const found = await work();
  if (found === undefined) throw new PathNotFoundError(GCS, path);
  return found;
}

/** Whether a failure may pass by itself. */
export function isTransient(error: unknown): boolean {
  if (error instanceof StoreConnectionError) return true;
  if (!(error instanceof GcsCallError)) return false;
  return TRANSIENT_STATUS.has(error.status) || RATE_LIMITS.has(error.reason) || error.reason === UNREADABLE || error.cause instanceof StoreConnectionError;
}

function tokenAnswer(error: Error): { readonly status: number; readonly data: unknown } {
  const response: { readonly status?: number; readonly data?: unknown } = "response" in error && typeof error.response === "object" ? (error.response ?? {}) : {};
  return { status: response.status ?? 0, data: response.data };
}

/** @see RFC 6749, section 5.2 */
function oauthError(data: unknown): { readonly reason?: string; readonly message?: string } {
  if (typeof data !== "object" || data === null || !("error" in data) || typeof data.error !== "string") return {};
  const description = "error_description" in data && typeof data.error_description === "string" ? data.error_description : data.error;
  return { reason: data.error, message: description.slice(0, MAX_MESSAGE_CHARACTERS) };
}
