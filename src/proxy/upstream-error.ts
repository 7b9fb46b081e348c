import { type ErrorCode, RegistryError } from "../oci/errors.ts";

/**
 * Why an upstream registry did not give what was asked for.
 * - `missing`: it says that there is no such thing
 * - `refused`: it does not let us
 * - `limited`: it wants to be left alone for a while
 * - `unavailable`: it cannot be reached, is too slow, or fails itself
 * - `garbage`: what it sent is not what it should be
 */
export type UpstreamProblem = "missing" | "refused" | "limited" | "unavailable" | "garbage";

/** An upstream registry did not give what was asked for. The message is for the log. */
export class UpstreamError extends Error {
  readonly problem: UpstreamProblem;
  /** With `limited`. */
  readonly retryAfterSeconds: number | undefined;
  /** It said so a while ago, and was not asked again. */
  readonly isRemembered: boolean;

  constructor(problem: UpstreamProblem, message: string, options: { readonly retryAfterSeconds?: number; readonly isRemembered?: boolean; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UpstreamError";
    this.problem = problem;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.isRemembered = options.isRemembered ?? false;
  }
}

/** What a client is told of something that upstream does not have either. */
export interface Missing {
  readonly code: ErrorCode;
  readonly detail?: unknown;
}

/**
 * What a client is told of a failure of the upstream; everything that is none is passed through.
 * @param missing The answer when upstream has no such thing either.
 */
export function toRegistryError(error: unknown, missing: Missing): unknown {
  if (!(error instanceof UpstreamError)) return error;
  switch (error.problem) {
    case "missing":
      return new RegistryError(missing.code, { detail: missing.detail, cause: error });
    case "refused":
      return new RegistryError("DENIED", { message: "the upstream registry refuses access", cause: error });
    case "limited":
      return new RegistryError("TOOMANYREQUESTS", {
        message: "the upstream registry limits the rate of requests",
        headers: { "retry-after": String(error.retryAfterSeconds ?? 1) },
        cause: error,
      });
    case "unavailable":
      return new RegistryError("UNAVAILABLE", { message: "the upstream registry cannot be reached", cause: error });
    case "garbage":
      return new RegistryError("UNAVAILABLE", { status: 502, message: "the upstream registry sent an invalid answer", cause: error });
  }
}
