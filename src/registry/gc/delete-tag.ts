import type { RepositoryName, Tag } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { parentPath } from "../../storage/paths.ts";
import { tagCurrentLink, tagFolder, tagIndexFolder, tagIndexLink } from "../layout.ts";
import { deleteIfThere } from "./delete-if-there.ts";
import { linkedDigests } from "./inventory.ts";
import { readLink, statOrUndefined } from "./store-reader.ts";
import { GC_FOLDER } from "./state.ts";

/** A tag to be deleted if it is still what was judged. */
export interface DoomedTag {
  readonly name: RepositoryName;
  readonly tag: Tag;
  /** Told what the tag's link holds and when it was written. */
  readonly isDoomed: (link: { readonly target: string; readonly modifiedAt: Date }) => boolean | Promise<boolean>;
}

/**
 * Deletes a tag, and not the one that a push puts in its place at the same moment.
 * Where files can be renamed the link is taken away first and looked at then: what turns out to be newer goes back. Folders are
 * removed only while they are empty. Object stores can look right before, and no later.
 * @returns Whether it was deleted.
 */
export async function deleteTagIf(driver: StorageDriver, doomed: DoomedTag): Promise<boolean> {
  const path = tagCurrentLink(doomed.name, doomed.tag);
  if (!(await isStillDoomed(driver, path, doomed))) return false;
  if (driver.removeIfEmpty === undefined) return await deleteIfThere(driver, tagFolder(doomed.name, doomed.tag));
  if (!(await takeAway(driver, path, doomed))) return false;
  await removeHistory(driver, doomed);
  return true;
}

async function isStillDoomed(driver: StorageDriver, path: string, { isDoomed }: DoomedTag): Promise<boolean> {
  const info = await statOrUndefined(driver, path);
  const target = await readLink(driver, path);
  return info !== undefined && target !== undefined && (await isDoomed({ target, modifiedAt: info.modifiedAt }));
}

async function takeAway(driver: StorageDriver, path: string, doomed: DoomedTag): Promise<boolean> {
  const aside = `${GC_FOLDER}/tags/${crypto.randomUUID()}`;
  try {
    await driver.move(path, aside);
  } catch (error) {
    if (error instanceof PathNotFoundError) return false;
    throw error;
  }
  const isRight = await isStillDoomed(driver, aside, doomed);
  // A push came between; it goes back, unless one more push came.
  if (!isRight && (await statOrUndefined(driver, path)) === undefined) await driver.move(aside, path);
  else await deleteIfThere(driver, aside);
  await driver.removeIfEmpty?.(parentPath(aside));
  return isRight;
}

async function removeHistory(driver: StorageDriver, { name, tag }: DoomedTag): Promise<void> {
  const history = tagIndexFolder(name, tag);
  for (const digest of await linkedDigests(driver, history)) {
    const link = tagIndexLink(name, tag, digest);
    await deleteIfThere(driver, link);
    await removeUpwards(driver, parentPath(link), history);
  }
  for (const folder of [history, parentPath(tagCurrentLink(name, tag)), tagFolder(name, tag)]) await driver.removeIfEmpty?.(folder);
}

/** Removes a folder and those around it below a top, as far as they are empty. */
export async function removeUpwards(driver: StorageDriver, folder: string, top: string): Promise<void> {
  for (let each = folder; each !== top && each.startsWith(top); each = parentPath(each)) {
    if (!(await driver.removeIfEmpty?.(each))) return;
  }
}
