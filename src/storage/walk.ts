import type { DirectoryEntry, FileInfo, StorageDriver } from "./driver.ts";
import { PathNotFoundError } from "./errors.ts";

/** Every child of a directory in bytewise order of names, page by page. @throws PathNotFoundError when it is missing */
export async function* listAll(driver: StorageDriver, path: string, startAfter?: string): AsyncGenerator<DirectoryEntry> {
  let after = startAfter;
  for (;;) {
    const page = await driver.list(path, after === undefined ? {} : { startAfter: after });
    yield* page.entries;
    if (page.next === undefined) return;
    after = page.next;
  }
}

/** Every file below a directory, in no promised order: by one flat listing where the store has one. Vanishing entries are left out. */
export async function* listTree(driver: StorageDriver, path: string): AsyncGenerator<FileInfo> {
  if (driver.listFiles !== undefined) {
    for await (const page of driver.listFiles(path)) yield* page;
    return;
  }
  for await (const entry of listAll(driver, path)) {
    const child = path === "/" ? `/${entry.name}` : `${path}/${entry.name}`;
    try {
      if (entry.isDirectory) yield* listTree(driver, child);
      else yield await driver.stat(child);
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
    }
  }
}
