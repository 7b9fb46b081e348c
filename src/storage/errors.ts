/** Nothing is stored under the path. The only error that may be read as "not there". */
export class PathNotFoundError extends Error {
  readonly path: string;
  constructor(driver: string, path: string, cause?: unknown) {
    super(`${driver}: Path not found: ${path}`, cause === undefined ? undefined : { cause });
    this.name = "PathNotFoundError";
    this.path = path;
  }
}

/** The path breaks the path grammar of drivers; nothing was done. */
export class InvalidPathError extends Error {
  readonly path: string;
  constructor(driver: string, path: string) {
    super(`${driver}: invalid path: ${path}`);
    this.name = "InvalidPathError";
    this.path = path;
  }
}

/** A reader was asked to start at a negative offset, or a writer at one that does not fit what is stored. */
export class InvalidOffsetError extends Error {
  constructor(driver: string, path: string, offset: number) {
    super(`${driver}: invalid offset: ${offset} for path: ${path}`);
    this.name = "InvalidOffsetError";
  }
}

/** The driver cannot do what was asked; it never pretends that it did. */
export class UnsupportedError extends Error {
  constructor(driver: string, operation: string) {
    super(`${driver}: unsupported operation: ${operation}`);
    this.name = "UnsupportedError";
  }
}

/** Another writer, in this process or another, holds the file. */
export class WriterBusyError extends Error {
  constructor(driver: string, path: string) {
    super(`${driver}: another writer holds ${path}`);
    this.name = "WriterBusyError";
  }
}

/** The store is full (ENOSPC, EDQUOT, a bucket's quota). What was being written is gone or can be resumed; nothing half is visible. */
export class StorageFullError extends Error {
  constructor(driver: string, path: string, cause?: unknown) {
    super(`${driver}: no space left to write ${path}`, cause === undefined ? undefined : { cause });
    this.name = "StorageFullError";
  }
}
