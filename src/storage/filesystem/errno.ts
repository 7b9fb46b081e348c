import { PathNotFoundError, StorageFullError } from "../errors.ts";

/** The driver's name, as it stands in the configuration and in the texts of errors. */
export const FILESYSTEM = "filesystem";

/** Whether an error is the operating system's of one of these codes. */
export function isErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code);
}

/** Whether an error says that a path, or a folder on the way to it, is not there. */
export function isMissing(error: unknown): boolean {
  return isErrno(error, "ENOENT", "ENOTDIR");
}

/** What a failure to read a path is to callers of the driver. */
export function readFailure(error: unknown, path: string): Error {
  return isMissing(error) ? new PathNotFoundError(FILESYSTEM, path, error) : otherFailure(error);
}

/** What a failure to write a path is to callers of the driver: never "not found", as a write makes what is missing. */
export function writeFailure(error: unknown, path: string): Error {
  return isErrno(error, "ENOSPC", "EDQUOT", "EFBIG") ? new StorageFullError(FILESYSTEM, path, error) : otherFailure(error);
}

// Errors of the operating system get the driver's name before their text; others are ours and have it already.
function otherFailure(error: unknown): Error {
  if (error instanceof Error && !("code" in error)) return error;
  return new Error(`${FILESYSTEM}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
