import type { FileInfo, StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import type { Lister } from "./inventory.ts";

/** The longest link file that is read. */
export const MAX_LINK_BYTES = 1024;

/** What a store is looked at by: a driver, a survey of one, or what a thread of its own has. */
export interface StoreReader extends Lister, Pick<StorageDriver, "getContent" | "stat"> {
  /**
   * Reads as `getContent` does, where that takes no waiting and nobody else waits for the thread: a promise for each file takes as
   * long as the file. The bytes are good until the next call.
   */
  readNow?(path: string, maxBytes: number): Uint8Array;
  /** The same of `stat`. */
  statNow?(path: string): FileInfo;
}

/** Reads a link file; undefined when it is missing, empty when it is empty. */
export async function readLink(driver: StoreReader, path: string): Promise<string | undefined> {
  try {
    return linkText(await driver.getContent(path, MAX_LINK_BYTES));
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}

/** What the bytes of a link file say. */
export function linkText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** Stats a path; undefined when it is missing. */
export async function statOrUndefined(driver: StoreReader, path: string): Promise<FileInfo | undefined> {
  try {
    return await driver.stat(path);
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}
