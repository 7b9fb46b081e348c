import { closeSync, fsync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";

const fsyncAsync = promisify(fsync);

/** Makes the entries of a folder durable: without it a power loss may forget a rename that already answered. */
export async function syncFolder(folder: string): Promise<void> {
  const fd = openSync(folder, "r");
  try {
    await fsyncAsync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a folder with its parents.
 * @returns The folders that got a new entry, to be synced: empty when the folder was there.
 */
export function makeFolders(folder: string): readonly string[] {
  const first = mkdirSync(folder, { recursive: true });
  if (first === undefined) return [];
  const changed: string[] = [];
  for (let made = folder; made.length >= first.length; made = dirname(made)) changed.push(dirname(made));
  return changed;
}
