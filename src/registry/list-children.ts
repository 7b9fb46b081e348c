import type { DirectoryEntry, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";

/** Children asked for at once where the caller does not know how many it will need. */
const PAGE = 1000;

/** Where a listing begins, and how many children are asked for at once. */
export interface ChildrenRange {
  readonly startAfter?: string | undefined;
  readonly pageSize?: number | undefined;
}

/**
 * The children of a directory in bytewise order, page after page for as long as the caller goes on.
 * @throws PathNotFoundError
 */
export async function* childPages(driver: Pick<StorageDriver, "list">, path: string, range: ChildrenRange = {}): AsyncGenerator<readonly DirectoryEntry[]> {
  const limit = range.pageSize ?? PAGE;
  let startAfter = range.startAfter;
  for (;;) {
    const page = await driver.list(path, startAfter === undefined ? { limit } : { limit, startAfter });
    yield page.entries;
    if (page.next === undefined) return;
    startAfter = page.next;
  }
}

/** The same for a directory that may be missing, or go away meanwhile: it then has no (more) children. */
export async function* childPagesIfAny(driver: Pick<StorageDriver, "list">, path: string, range: ChildrenRange = {}): AsyncGenerator<readonly DirectoryEntry[]> {
  try {
    yield* childPages(driver, path, range);
  } catch (error) {
    if (!(error instanceof PathNotFoundError)) throw error;
  }
}
