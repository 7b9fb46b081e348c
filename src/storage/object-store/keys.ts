import type { StorageDriver } from "../driver.ts";
import { checkDirectoryPath } from "../paths.ts";

/** A driver whose files are objects of a bucket, for those who must name the objects themselves (signed URLs of a CDN). */
export interface HasObjectKeys {
  /** The name of the object that holds a file. */
  objectKey(path: string): string;
}

/** Whether a driver can tell its object names. */
export function hasObjectKeys(driver: StorageDriver): driver is StorageDriver & HasObjectKeys {
  return "objectKey" in driver && typeof driver.objectKey === "function";
}

/**
 * Names objects as distribution does: the root directory without its slashes at the end, then the path, without slashes at the
 * beginning.
 */
export class ObjectKeys {
  readonly #root: string;
  readonly #rootPrefix: string;
  readonly #leading: string;

  /**
   * @param rootdirectory As configured: `""`, `/`, `/x/` …
   * @param form `leadingSlash`: names keep one slash at the beginning.
   */
  constructor(rootdirectory: string, form: { readonly leadingSlash?: boolean } = {}) {
    this.#root = rootdirectory.replace(/\/+$/, "");
    this.#leading = form.leadingSlash === true ? "/" : "";
    this.#rootPrefix = this.key("/");
  }

  /** The name of the object that holds a file. */
  key(path: string): string {
    return this.#leading + `${this.#root}${path}`.replace(/^\/+/, "");
  }

  /** What the names of all objects in a directory begin with; empty or with a slash at the end. */
  prefix(directory: string): string {
    return directory === "/" ? this.#rootPrefix : `${this.key(directory)}/`;
  }

  /** The path that an object stands for; undefined for objects that are no files of ours (other roots, markers of folders). */
  path(key: string): string | undefined {
    if (!key.startsWith(this.#rootPrefix)) return undefined;
    const path = `/${key.slice(this.#rootPrefix.length)}`;
    return isFilePath(path) ? path : undefined;
  }
}

function isFilePath(path: string): boolean {
  try {
    checkDirectoryPath("", path);
    return path !== "/";
  } catch {
    return false;
  }
}
