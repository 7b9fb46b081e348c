import { unlinkSync } from "node:fs";
import { isErrno } from "./errno.ts";

/** A name beside a file's that nobody else uses; what a crash leaves under it is known for litter by its end. */
export function temporaryName(file: string): string {
  return `${file}.${crypto.randomUUID()}.tmp`;
}

/** Removes a file of ours that may have gone with its folder. */
export function removeIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw error;
  }
}
