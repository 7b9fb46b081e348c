import { mapConcurrently } from "../../lib/concurrently.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { childPath, parentPath } from "../../storage/paths.ts";
import type { Logger } from "../../telemetry/log.ts";
import { blobData, blobFolder, layerLink, referrerLink, REPOSITORIES, repositoryFolder, revisionLink } from "../layout.ts";
import { deleteIfThere } from "./delete-if-there.ts";
import { deleteTagIf, removeUpwards } from "./delete-tag.ts";
import { childrenOf, referrerPairs } from "./inventory.ts";
import type { DanglingTag, Marks } from "./mark.ts";
import { statOrUndefined } from "./store-reader.ts";
import type { Plan } from "./plan.ts";
import { GC_FOLDER } from "./state.ts";

/** What was tidied up beside blobs and manifests. */
export interface Debris {
  /** Tags that pointed to nothing. */
  readonly tags: number;
  /** Entries of referrer lists whose manifest is gone. */
  readonly referrerLinks: number;
  /** Files of interrupted writes. */
  readonly leftovers: number;
  /** Repositories of which only folders were left. */
  readonly repositories: number;
}

/** What a run knows when it tidies up. */
export interface DebrisOptions {
  readonly marks: Marks;
  readonly plan: Plan;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** How long a link must not have been written to be taken for dangling, in milliseconds. */
  readonly quietMs: number;
  readonly log: Logger;
  readonly signal?: AbortSignal;
}

/** A file under the name of an interrupted write is left alone for so long after its last change; a write under way changes it. */
export const LEFTOVER_AGE_MS = 24 * 3_600_000;
const LEFTOVER = /\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;
/** What a repository keeps of itself beside its content; worth nothing without it. */
const OWN_NOTES = /\/_pulls\/[^/]+$|\/_referrers\/indexed$/;
const AT_ONCE = 16;

/** No debris at all. */
export function emptyDebris(): Debris {
  return { tags: 0, referrerLinks: 0, leftovers: 0, repositories: 0 };
}

/**
 * Tidies up after a collection: tags and referrer links that point to nothing, files that interrupted writes left beside what is no
 * longer needed, repositories of which only empty folders are left. Folders go only while they are empty, which the file system
 * sees to, and whoever writes into one that just went makes it again. Object stores have neither folders nor such files.
 */
export async function sweepDebris(driver: StorageDriver, options: DebrisOptions): Promise<Debris> {
  const sweeper = new Sweeper(driver, options);
  await sweeper.sweep();
  return sweeper.counts;
}

class Sweeper {
  readonly counts = { tags: 0, referrerLinks: 0, leftovers: 0, repositories: 0 };
  readonly #driver: StorageDriver;
  readonly #options: DebrisOptions;

  constructor(driver: StorageDriver, options: DebrisOptions) {
    this.#driver = driver;
    this.#options = options;
  }

  async sweep(): Promise<void> {
    const { marks, plan } = this.#options;
    for (const tag of marks.danglingTags) await this.#sweepTag(tag);
    await mapConcurrently(marks.names, AT_ONCE, (name) => this.#sweepReferrers(name));
    if (this.#driver.removeIfEmpty === undefined) return;
    await mapConcurrently(this.#suspects(plan), AT_ONCE, (folder) => this.#tidy(folder));
    for (const name of marks.empty) await this.#sweepRepository(name);
    await this.#removeUnusedNames(REPOSITORIES);
    await this.#deleteLeftovers(GC_FOLDER);
  }

  /** Folders that ought to hold a link or bytes, and may hold neither. */
  *#suspects(plan: Plan): Generator<string> {
    for (const { name, digest } of this.#options.marks.linkless) yield parentPath(revisionLink(name, digest));
    for (const digest of plan.hollow) {
      yield blobFolder(digest);
      for (const name of plan.links.get(digest) ?? []) yield parentPath(layerLink(name, digest));
    }
    // Of blobs without a folder nothing but links was left.
    for (const [digest, names] of plan.links) {
      if (plan.blobs.has(digest)) continue;
      for (const name of names) yield parentPath(layerLink(name, digest));
    }
  }

  // Looked at again: a push may have moved the tag, or brought back what it points to.
  async #sweepTag({ name, tag, digest }: DanglingTag): Promise<void> {
    const isDoomed = async ({ target, modifiedAt }: { readonly target: string; readonly modifiedAt: Date }): Promise<boolean> =>
      target === digest && this.#isQuiet(modifiedAt) && (await statOrUndefined(this.#driver, blobData(digest))) === undefined;
    if (!(await deleteTagIf(this.#driver, { name, tag, isDoomed }))) return;
    this.#options.log.info("deleting dangling tag", { repository: name, tag, digest });
    this.counts.tags++;
  }

  async #sweepReferrers(name: RepositoryName): Promise<void> {
    this.#options.signal?.throwIfAborted();
    for (const { subject, referrer } of await referrerPairs(this.#driver, name)) {
      const link = referrerLink(name, subject, referrer);
      const info = await statOrUndefined(this.#driver, link);
      // A push writes it beside the manifest's own link: either may be there first.
      if (info === undefined || !this.#isQuiet(info.modifiedAt)) continue;
      if ((await statOrUndefined(this.#driver, revisionLink(name, referrer))) !== undefined) continue;
      if (!(await deleteIfThere(this.#driver, link))) continue;
      // A push that finds the entry there does not write it: when its manifest is linked by now, the entry goes back.
      if ((await statOrUndefined(this.#driver, revisionLink(name, referrer))) !== undefined) {
        await this.#driver.putContent(link, referrer);
        continue;
      }
      this.counts.referrerLinks++;
      await removeUpwards(this.#driver, parentPath(link), `${repositoryFolder(name)}/_referrers`);
    }
  }

  #isQuiet(modifiedAt: Date): boolean {
    return modifiedAt.getTime() <= this.#options.now - this.#options.quietMs;
  }

  /** Deletes what interrupted writes left in a folder, and the folder when nothing else is in it. */
  async #tidy(folder: string): Promise<void> {
    this.#options.signal?.throwIfAborted();
    if (await this.#driver.removeIfEmpty?.(folder)) return;
    await this.#deleteLeftovers(folder);
    await this.#driver.removeIfEmpty?.(folder);
  }

  async #deleteLeftovers(folder: string): Promise<void> {
    for (const { name, isDirectory } of await childrenOf(this.#driver, folder)) {
      if (!isDirectory) await this.#deleteIfLeftover(childPath(folder, name));
    }
  }

  async #deleteIfLeftover(path: string): Promise<boolean> {
    if (!LEFTOVER.test(path)) return false;
    const info = await statOrUndefined(this.#driver, path);
    if (info === undefined) return true;
    if (info.modifiedAt.getTime() > this.#options.now - LEFTOVER_AGE_MS) return false;
    this.#options.log.info("deleting leftover of an interrupted write", { path, "size.bytes": info.sizeBytes });
    if (await deleteIfThere(this.#driver, path)) this.counts.leftovers++;
    return true;
  }

  /** Removes a repository of which nothing is left but folders, and notes about what was there. Others may be below it. */
  async #sweepRepository(name: RepositoryName): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const folder = repositoryFolder(name);
    const parts = await this.#partsOf(folder);
    for (const part of parts) if (await this.#holdsContent(part)) return;
    for (const { name: instance } of await childrenOf(this.#driver, `${folder}/_pulls`)) await deleteIfThere(this.#driver, `${folder}/_pulls/${instance}`);
    await deleteIfThere(this.#driver, `${folder}/_referrers/indexed`);
    for (const part of parts) await this.#removeHollow(part);
    if ((await this.#partsOf(folder)).length > 0) return;
    this.#options.log.info("deleting orphaned repository", { repository: name });
    this.counts.repositories++;
  }

  async #partsOf(folder: string): Promise<readonly string[]> {
    return (await childrenOf(this.#driver, folder)).filter(({ name }) => name.startsWith("_")).map(({ name }) => childPath(folder, name));
  }

  async #holdsContent(folder: string): Promise<boolean> {
    for (const { name, isDirectory } of await childrenOf(this.#driver, folder)) {
      const path = childPath(folder, name);
      if (isDirectory ? await this.#holdsContent(path) : !OWN_NOTES.test(path) && !(await this.#deleteIfLeftover(path))) return true;
    }
    return false;
  }

  /** Removes the folders in a folder that hold nothing, at any depth, and then the folder. */
  async #removeHollow(folder: string): Promise<void> {
    for (const { name, isDirectory } of await childrenOf(this.#driver, folder)) if (isDirectory) await this.#removeHollow(childPath(folder, name));
    await this.#driver.removeIfEmpty?.(folder);
  }

  /** Removes the folders of names under which there is no repository. */
  async #removeUnusedNames(folder: string): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const children = await childrenOf(this.#driver, folder);
    for (const { name, isDirectory } of children) if (isDirectory && !name.startsWith("_")) await this.#removeUnusedNames(childPath(folder, name));
    const isUsed = folder === REPOSITORIES || children.some(({ name, isDirectory }) => !isDirectory || name.startsWith("_"));
    if (!isUsed) await this.#driver.removeIfEmpty?.(folder);
  }
}
