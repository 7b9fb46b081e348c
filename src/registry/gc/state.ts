import type { Digest } from "../../oci/digest.ts";
import { isDigest } from "../../oci/digest.ts";
import type { PutOptions, StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { listAll } from "../../storage/walk.ts";
import { ROOT } from "../layout.ts";
import { deleteIfThere } from "./delete-if-there.ts";
import { childNames } from "./inventory.ts";

/*
 * What collectors and registries tell each other, through the store that they share:
 *
 *   /docker/registry/v2/_gc
 *   ├── state                     the run under way, as JSON: see CollectorState
 *   ├── condemned/<run>/<n>       what the run is about to delete, a line each, in the order of deletion
 *   ├── rescued/<run>/<key>       somebody needs it after all
 *   ├── tags/<uuid>              the link of a tag that is being deleted
 *   └── servers/<instance>        a registry that serves this store; its modification time is its sign of life
 */

/** The folder of all this. */
export const GC_FOLDER = `${ROOT}/_gc`;
const FOLDER = GC_FOLDER;
const STATE = `${FOLDER}/state`;
/** All of it is worth nothing after a power loss, which ends every run: it must be seen by others, not outlive the machine. */
const VISIBLE: PutOptions = { durable: false };
const LINES_PER_FILE = 50_000;

/** How long a run may be silent before nobody heeds it any more, in milliseconds. */
export const RUN_TIMEOUT_MS = 30_000;

/** How far a run is. Numbers count lines of the condemned list. */
export interface CollectorState {
  readonly run: string;
  /** Milliseconds since the epoch, renewed while the run lives. */
  readonly heartbeatAt: number;
  /** Length of the condemned list; 0 while it is still being made. */
  readonly condemned: number;
  /** Everything before this is being deleted or was: too late to rescue. */
  readonly claimed: number;
  /** Everything before this is gone for good, or was spared: what is under its name now is somebody's new upload. */
  readonly swept: number;
}

/** One thing to be deleted: a blob's bytes, or a manifest's place in the repositories that hold it untagged. */
export interface Condemned {
  readonly kind: "blob" | "revision";
  readonly digest: Digest;
}

/** The name of a condemned thing in lists, maps and file names. */
export function condemnedKey(kind: Condemned["kind"], digest: Digest): string {
  return `${kind}-${digest.replace(":", "-")}`;
}

/** Reads the run under way; undefined when there is none, or when it died. */
export async function readState(driver: StorageDriver, now: number): Promise<CollectorState | undefined> {
  const state = await readAnyState(driver);
  return state === undefined || now - state.heartbeatAt > RUN_TIMEOUT_MS ? undefined : state;
}

async function readAnyState(driver: StorageDriver): Promise<CollectorState | undefined> {
  try {
    return JSON.parse(new TextDecoder().decode(await driver.getContent(STATE))) as CollectorState;
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}

/** Publishes how far a run is. */
export async function writeState(driver: StorageDriver, state: CollectorState): Promise<void> {
  await driver.putContent(STATE, JSON.stringify(state), VISIBLE);
}

/** Writes what a run is about to delete. */
export async function writeCondemned(driver: StorageDriver, run: string, items: readonly Condemned[]): Promise<void> {
  for (let start = 0, file = 0; start < items.length; start += LINES_PER_FILE, file++) {
    const lines = items.slice(start, start + LINES_PER_FILE).map((item) => `${item.kind} ${item.digest}`);
    await driver.putContent(`${FOLDER}/condemned/${run}/${file}`, lines.join("\n"), VISIBLE);
  }
}

/** Reads what a run is about to delete: position by key. */
export async function readCondemned(driver: StorageDriver, state: CollectorState): Promise<ReadonlyMap<string, number>> {
  const positions = new Map<string, number>();
  for (let file = 0; positions.size < state.condemned; file++) {
    const text = new TextDecoder().decode(await driver.getContent(`${FOLDER}/condemned/${state.run}/${file}`));
    for (const line of text.split("\n")) {
      const [kind, digest = ""] = line.split(" ");
      if ((kind !== "blob" && kind !== "revision") || !isDigest(digest)) throw new Error(`unreadable line in the collector's list ${state.run}/${file}`);
      positions.set(condemnedKey(kind, digest), positions.size);
    }
  }
  return positions;
}

/** Says that a condemned thing is needed. Only what is not claimed when this was written is safe. */
export async function writeRescue(driver: StorageDriver, run: string, key: string): Promise<void> {
  await driver.putContent(`${FOLDER}/rescued/${run}/${key}`, "", VISIBLE);
}

/** Everything that was rescued in a run, by key. */
export async function readRescued(driver: StorageDriver, run: string): Promise<ReadonlySet<string>> {
  const keys = new Set<string>();
  try {
    for await (const entry of listAll(driver, `${FOLDER}/rescued/${run}`)) keys.add(entry.name);
  } catch (error) {
    if (!(error instanceof PathNotFoundError)) throw error;
  }
  return keys;
}

/**
 * Removes what dead runs left. Their state is left for the next one to be written over, and tags that were set aside are not touched: each is
 * somebody's who may be alive.
 * @param requireAlone Called when it is known what there is: a run that began since is not among it. Throws when another one is alive.
 */
export async function clearDeadRuns(driver: StorageDriver, requireAlone: () => Promise<void>): Promise<void> {
  const folders: string[] = [];
  for (const parent of [`${FOLDER}/condemned`, `${FOLDER}/rescued`]) for (const run of await childNames(driver, parent)) folders.push(`${parent}/${run}`);
  if (folders.length > 0) await requireAlone();
  for (const folder of folders) await deleteIfThere(driver, folder);
}

/** Removes what a run left, and nothing of another one that took its place. */
export async function clearRun(driver: StorageDriver, run: string): Promise<void> {
  if ((await readAnyState(driver))?.run === run) await deleteIfThere(driver, STATE);
  for (const path of [`${FOLDER}/condemned/${run}`, `${FOLDER}/rescued/${run}`]) await deleteIfThere(driver, path);
  for (const folder of [`${FOLDER}/condemned`, `${FOLDER}/rescued`, FOLDER]) await driver.removeIfEmpty?.(folder);
}

/** Signs that an instance serves this store. */
export async function writePresence(driver: StorageDriver, instance: string): Promise<void> {
  await driver.putContent(`${FOLDER}/servers/${instance}`, "", VISIBLE);
}

/** Takes an instance's sign of life away. */
export async function clearPresence(driver: StorageDriver, instance: string): Promise<void> {
  await deleteIfThere(driver, `${FOLDER}/servers/${instance}`);
}

/** How often instances renew their sign of life, in milliseconds. */
export const PRESENCE_INTERVAL_MS = 60_000;

/** Whether any instance gave a sign of life within three intervals; signs of dead ones are cleared away after a day. */
export async function hasLiveServer(driver: StorageDriver, now: number): Promise<boolean> {
  let live = false;
  try {
    for await (const entry of listAll(driver, `${FOLDER}/servers`)) {
      const path = `${FOLDER}/servers/${entry.name}`;
      const age = now - (await driver.stat(path)).modifiedAt.getTime();
      if (age < 3 * PRESENCE_INTERVAL_MS) live = true;
      else if (age > 24 * 60 * PRESENCE_INTERVAL_MS) await deleteIfThere(driver, path);
    }
  } catch (error) {
    // Nobody ever served this store, or an instance stopped while we looked.
    if (!(error instanceof PathNotFoundError)) throw error;
  }
  return live;
}
