import { PathNotFoundError } from "../errors.ts";
import { StoreConnectionError } from "../object-store/connection-error.ts";

/** The driver's name in the configuration and in error texts. */
export const AZURE = "azure";

const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** What the SDK calls an answer that is not the XML it should be. */
const UNREADABLE = "PARSE_ERROR";
const MAX_MESSAGE_CHARACTERS = 500;

/** What was asked of the store, for error texts. */
export interface Call {
  /** As the API names it, like `Get Blob`. */
  readonly operation: string;
  /** The container and the blob. */
  readonly target: string;
}

/** What is known of a failure. */
export interface FailureFacts {
  /** The store's code, like `BlobNotFound`; for broken connections the system's. */
  readonly code: string;
  /** The status of its answer; 0 when there was none. */
  readonly status: number;
  readonly message: string;
}

/** The SDK's error for an answer of failure, as far as it is read here. It holds the whole request, credentials included. */
interface RestError extends Error {
  readonly code?: string;
  readonly statusCode?: number;
  readonly response?: { readonly status: number; readonly headers: { get(name: string): string | undefined } };
}

/** The store refused a call, or could not be asked. */
export class AzureCallError extends Error {
  readonly code: string;
  readonly status: number;

  constructor({ operation, target }: Call, { code, status, message }: FailureFacts, cause?: unknown) {
    super(`${AZURE}: ${operation} ${target}: ${code}: ${message}${status === 0 ? "" : ` (status ${status})`}`, cause === undefined ? undefined : { cause });
    this.name = "AzureCallError";
    this.code = code;
    this.status = status;
  }

  /** There is no such blob. Not said of a missing container. */
  get isMissing(): boolean {
    return this.status === 404 && this.code === "BlobNotFound";
  }

  /** The content begins at or after the end of the blob. */
  get isPastEnd(): boolean {
    return this.status === 416;
  }

  /** The blob is no longer the one that was meant. */
  get isChanged(): boolean {
    return this.status === 412;
  }

  /** There is a blob already. */
  get isThereAlready(): boolean {
    return this.status === 409 && this.code === "BlobAlreadyExists";
  }

  /** There is a blob of another type, which the store does not replace. */
  get isOfOtherType(): boolean {
    return this.status === 409 && this.code === "InvalidBlobType";
  }

  /** The blob is still being copied to by an earlier call. */
  get isBeingCopied(): boolean {
    return this.status === 409 && this.code === "PendingCopyOperation";
  }

  /** Blocks that were to become a blob are not there any more. */
  get isWithoutBlocks(): boolean {
    return this.status === 400 && this.code === "InvalidBlockList";
  }
}

/** What drivers throw when a call failed. The SDK's own errors go no further. */
export function callFailure(error: unknown, call: Call): AzureCallError {
  if (error instanceof AzureCallError) return error;
  const connection = connectionErrorIn(error);
  if (connection !== undefined) return new AzureCallError(call, { code: connection.code, status: 0, message: connection.message }, connection);
  if (!(error instanceof Error)) return new AzureCallError(call, { code: "Error", status: 0, message: String(error) });
  const { code, statusCode, response } = error as RestError;
  const status = response?.status ?? statusCode ?? 0;
  return new AzureCallError(call, { code: response?.headers.get("x-ms-error-code") ?? code ?? error.name, status, message: withoutRequestId(error.message) });
}

/** Runs something that reads a blob. @throws PathNotFoundError when there is none */
export async function orNotFound<T>(path: string, work: () => Promise<T | undefined>): Promise<T> {
  const found = await work();
  if (found === undefined) throw new PathNotFoundError(AZURE, path);
  return found;
}

/** Whether a failure may pass by itself. */
export function isTransient(error: unknown): boolean {
  if (error instanceof StoreConnectionError) return true;
  if (!(error instanceof AzureCallError)) return false;
  return TRANSIENT_STATUS.has(error.status) || error.cause instanceof StoreConnectionError || error.code === UNREADABLE;
}

/** The failure of the network behind an error, which those who get tokens wrap. */
function connectionErrorIn(error: unknown): StoreConnectionError | undefined {
  for (let inner = error, depth = 0; inner instanceof Error && depth < 5; inner = inner.cause, depth++) {
    if (inner instanceof StoreConnectionError) return inner;
  }
  return undefined;
}

/** The store adds the number and the time of the request. */
function withoutRequestId(message: string): string {
  return (message.trim().split(/\n|RequestId:/, 1)[0] ?? "").slice(0, MAX_MESSAGE_CHARACTERS) || "no message";
}
