import { closeSync, fsync, openSync } from "node:fs";
import { promisify } from "node:util";
import { isErrno } from "./errno.ts";

const fsyncInPool = promisify(fsync);

/** Makes the names in a folder durable. @returns Whether there is such a folder: of one that was removed there is nothing left to keep. */
export async function syncFolder(folder: string): Promise<boolean> {
  // Windows opens no folders; its file systems journal the names.
  if (process.platform === "win32") return true;
  let fd: number;
  try {
    fd = openSync(folder, "r");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
  try {
    await fsyncInPool(fd);
  } catch (error) {
    // Some network file systems cannot, and keep names by their own means.
    if (!isErrno(error, "EINVAL", "ENOTSUP", "EOPNOTSUPP")) throw error;
  } finally {
    closeSync(fd);
  }
  return true;
}
