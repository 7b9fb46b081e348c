/** Whether an error is the operating system's of one of these codes. */
export function isErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code);
}

/** Whether an error says that a path, or a folder on the way to it, is not there. */
export function isMissing(error: unknown): boolean {
  return isErrno(error, "ENOENT", "ENOTDIR");
}

/** Whether an error says that there is no room left to write. */
export function isFull(error: unknown): boolean {
  return isErrno(error, "ENOSPC", "EDQUOT", "EFBIG");
}
