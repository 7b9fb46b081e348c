import { lstatSync, renameSync } from "node:fs";
import { rm, rmdir, unlink } from "node:fs/promises";
import { PathNotFoundError } from "../errors.ts";
import { FILESYSTEM, isErrno, isMissing } from "./errno.ts";

/** How often the removal of a folder begins anew because others put files into it. */
const REMOVE_TRIES = 5;

/** A path as callers of the driver know it, and the file's name on this host. */
export interface Place {
  readonly path: string;
  readonly file: string;
}

/** Renames a file. @throws PathNotFoundError when it is missing; ENOENT when the folder it is to go to is */
export function renameFile(source: Place, destination: Place): void {
  try {
    renameSync(source.file, destination.file);
  } catch (error) {
    if (isMissing(error) && !isThere(source.file)) throw new PathNotFoundError(FILESYSTEM, source.path, error);
    if (!isErrno(error, "EXDEV")) throw error;
    throw new Error(`${FILESYSTEM}: cannot move ${source.path} to ${destination.path}: they are on different file systems, and all below the root directory must be on one`, { cause: error });
  }
}

/** Removes a file, or a folder with all that is in it; of a link only the link. Throws ENOENT when it is missing. */
export async function removeTree(file: string): Promise<void> {
  if (!lstatSync(file).isDirectory()) return await unlink(file);
  for (let tries = 1; ; tries++) {
    try {
      // What somebody else removes meanwhile is no failure: the folder was there.
      return await rm(file, { recursive: true, force: true });
    } catch (error) {
      if (!isErrno(error, "ENOTEMPTY", "EEXIST") || tries === REMOVE_TRIES) throw error;
    }
  }
}

/** Removes a folder with nothing in it; the system sees to that. @returns False when something is in it, or it is no folder */
export async function removeEmptyFolder(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (isErrno(error, "ENOTEMPTY", "EEXIST", "ENOTDIR")) return false;
    // Somebody else removed it.
    if (!isMissing(error)) throw error;
  }
  return true;
}

function isThere(file: string): boolean {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    if (isErrno(error, "ENOTDIR")) return false;
    throw error;
  }
}
