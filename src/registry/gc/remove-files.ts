import { mapConcurrently } from "../../lib/concurrently.ts";
import type { RemoveOptions, StorageDriver, StoreSurvey } from "../../storage/driver.ts";
import { parentPath } from "../../storage/paths.ts";
import { deleteIfThere } from "./delete-if-there.ts";
import { inPieces } from "./mark.ts";
import { statOrUndefined } from "./store-reader.ts";

/** Files that go together, in their order. */
export type FileGroup = readonly string[];

/** For each file of a group whether it was there; undefined for a group that was left. */
export type RemovedGroup = readonly boolean[] | undefined;

/** By what files are removed. */
export interface Remover {
  readonly driver: StorageDriver;
  /** Undefined where the driver has none. */
  readonly survey: StoreSurvey | undefined;
  /** How many calls a survey gets at once: as many of its threads are busy. */
  readonly callsAtOnce: number;
  /** Called again and again while files are removed. @throws when no more may be */
  readonly options: () => RemoveOptions;
}

const GROUPS_AT_ONCE = 128;
/** Groups that are given to a survey in one call: few enough that all its threads have something to do. */
const GROUPS_PER_CALL = 100;

/** Removes files and the folders that are empty then. See `StoreSurvey.removeFiles`, which does it where there is a survey. */
export async function removeFiles({ driver, survey, callsAtOnce, options }: Remover, groups: readonly FileGroup[]): Promise<readonly RemovedGroup[]> {
  if (survey === undefined) return await mapConcurrently(groups, GROUPS_AT_ONCE, (group) => removeGroup(driver, group, options));
  return (await mapConcurrently(inPieces(groups, GROUPS_PER_CALL), callsAtOnce, (piece) => survey.removeFiles(piece, options()))).flat();
}

async function removeGroup(driver: StorageDriver, group: FileGroup, options: Remover["options"]): Promise<RemovedGroup> {
  const { unlessChangedAfterMs } = options();
  const last = group.at(-1);
  if (last !== undefined && unlessChangedAfterMs !== undefined && (await isYounger(driver, last, unlessChangedAfterMs))) return undefined;
  const removed: boolean[] = [];
  for (const path of group) {
    options();
    removed.push(await deleteIfThere(driver, path));
    await driver.removeIfEmpty?.(parentPath(path));
  }
  return removed;
}

async function isYounger(driver: StorageDriver, path: string, thanMs: number): Promise<boolean> {
  const info = await statOrUndefined(driver, path);
  return info !== undefined && info.modifiedAt.getTime() > thanMs;
}
