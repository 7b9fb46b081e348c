import type { Clock } from "../../lib/clock.ts";
import type { Digest } from "../../oci/digest.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import type { Logger } from "../../telemetry/log.ts";
import { blobData, blobFolder, layerLink, referrerLink, revisionLink, tagIndexLink } from "../layout.ts";
import { layersOf, referrerPairs, repositoryNames, storedBlobs } from "./inventory.ts";
import { type Doubt, Marker, type MarkListener, type Marks, readLink, statOrUndefined, type UntaggedRevision } from "./mark.ts";
import { clearRun, type CollectorState, type Condemned, condemnedKey, hasLiveServer, readRescued, readState, RUN_TIMEOUT_MS, writeCondemned, writeState } from "./state.ts";

/** What a run is asked to do. */
export interface CollectOptions {
  readonly dryRun: boolean;
  /** How old a repository's manifests must be to go when no tag needs them, in milliseconds; undefined where they stay. */
  readonly untaggedAgeMs: (name: RepositoryName) => number | undefined;
  /** Collect what is safe although something was not understood; the repositories in doubt are left whole. */
  readonly keepGoing: boolean;
  /** How long pushes under way get between the announcement and the deletion, and how old what is deleted must be, in milliseconds. */
  readonly graceMs: number;
  /** How long registries may go without looking whether somebody collects, in milliseconds. */
  readonly pollMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal?: AbortSignal;
  readonly listener?: CollectListener;
}

/** What is told of a run while it goes on. */
export interface CollectListener extends MarkListener {
  untagged(revision: UntaggedRevision): void;
  /** After marking: what was found. */
  planned(plan: { readonly marked: number; readonly blobs: readonly Digest[]; readonly revisions: number }): void;
  waiting(ms: number): void;
  dangling(name: RepositoryName, digest: Digest): void;
  /** After each batch. */
  swept(done: number, of: number, freedBytes: number): void;
}

/** What a run came to. */
export interface CollectResult {
  readonly markedBlobs: number;
  readonly eligibleBlobs: number;
  readonly eligibleManifests: number;
  readonly deletedBlobs: number;
  readonly deletedManifests: number;
  readonly deletedLinks: number;
  readonly freedBytes: number;
  readonly rescued: number;
  readonly doubts: readonly Doubt[];
  readonly durationMs: number;
}

/** Something was not understood, and nothing was deleted. */
export class CollectionDoubtError extends Error {
  readonly doubts: readonly Doubt[];
  constructor(doubts: readonly Doubt[]) {
    super(`nothing was deleted: ${doubts.map((doubt) => `${doubt.path}: ${doubt.problem}`).join("; ")}`);
    this.name = "CollectionDoubtError";
    this.doubts = doubts;
  }
}

/** Another collector is at work on the store. */
export class CollectorBusyError extends Error {
  constructor(state: CollectorState) {
    super(`another collection is under way: run ${state.run}, last heard of at ${new Date(state.heartbeatAt).toISOString()}`);
    this.name = "CollectorBusyError";
  }
}

const BATCH = 500;
const HEARTBEAT_MS = RUN_TIMEOUT_MS / 6;
const PARALLEL = 16;

/**
 * Deletes what nothing needs, while registries serve the store.
 * @throws CollectionDoubtError, CollectorBusyError; anything else that fails ends the run before its next deletion.
 * @see README.md in this folder
 */
export async function collectGarbage(driver: StorageDriver, options: CollectOptions): Promise<CollectResult> {
  const run = new CollectorRun(driver, options);
  return options.dryRun ? await run.rehearse() : await run.collect();
}

/** Blobs, and manifests by digest, that a plan deletes. */
interface Plan {
  readonly blobs: readonly Digest[];
  readonly revisions: ReadonlyMap<Digest, readonly UntaggedRevision[]>;
}

class CollectorRun {
  readonly #driver: StorageDriver;
  readonly #options: CollectOptions;
  readonly #marker: Marker;
  readonly #startedAt: number;
  readonly #counts = { deletedBlobs: 0, deletedManifests: 0, deletedLinks: 0, freedBytes: 0, rescued: 0 };
  #state: CollectorState;

  constructor(driver: StorageDriver, options: CollectOptions) {
    this.#driver = driver;
    this.#options = options;
    this.#marker = new Marker(driver);
    this.#startedAt = options.clock.now();
    this.#state = { run: Bun.randomUUIDv7(), heartbeatAt: this.#startedAt, condemned: 0, claimed: 0, swept: 0 };
  }

  async rehearse(): Promise<CollectResult> {
    const marks = await this.#mark(true);
    const plan = await this.#plan(marks);
    this.#announce(marks, plan);
    await this.#danglingLinks(new Set(plan.blobs), async (name, digest) => this.#options.listener?.dangling(name, digest));
    return this.#result(marks, plan);
  }

  async collect(): Promise<CollectResult> {
    await this.#begin();
    const beat = setInterval(() => void this.#publish({}).catch(() => undefined), HEARTBEAT_MS);
    try {
      return await this.#collect();
    } finally {
      clearInterval(beat);
      await clearRun(this.#driver);
    }
  }

  async #collect(): Promise<CollectResult> {
    const activeSince = this.#options.clock.now();
    const marks = await this.#mark(true);
    let plan = await this.#plan(marks);
    this.#announce(marks, plan);
    const condemned = listOf(plan);
    if (condemned.length > 0) {
      // Every registry knows by now, or reads it before it next says that something exists.
      await this.#waitUntil(activeSince + 2 * this.#options.pollMs);
      await writeCondemned(this.#driver, this.#state.run, condemned);
      await this.#publish({ condemned: condemned.length });
      await this.#grace();
      plan = spare(plan, await this.#mark(false));
      await this.#sweep(condemned, plan);
    }
    await this.#deleteDangling(new Set(plan.blobs), marks.dangling);
    return this.#result(marks, plan);
  }

  async #begin(): Promise<void> {
    const { clock } = this.#options;
    const other = await readState(this.#driver, clock.now());
    if (other !== undefined) throw new CollectorBusyError(other);
    await clearRun(this.#driver);
    await this.#publish({});
    // Two that began at once: the one that is overwritten finds the other's name, and leaves.
    await clock.sleep(Math.min(250, this.#options.pollMs));
    const now = await readState(this.#driver, clock.now());
    if (now !== undefined && now.run !== this.#state.run) throw new CollectorBusyError(now);
  }

  async #mark(first: boolean): Promise<Marks> {
    const { keepGoing, signal, listener } = this.#options;
    const untaggedBefore = (name: RepositoryName): number | undefined => {
      const age = this.#options.untaggedAgeMs(name);
      // At no age at all "before now" would leave out what was linked in this very millisecond.
      return age === undefined ? undefined : age === 0 ? Number.POSITIVE_INFINITY : this.#startedAt - age;
    };
    const marks = await this.#marker.mark({ untaggedBefore, listener: first ? listener : undefined, signal });
    if (marks.doubts.length > 0 && !keepGoing) throw new CollectionDoubtError(marks.doubts);
    return marks;
  }

  async #plan(marks: Marks): Promise<Plan> {
    const revisions = new Map<Digest, UntaggedRevision[]>();
    for (const revision of marks.untagged) revisions.set(revision.digest, [...(revisions.get(revision.digest) ?? []), revision]);
    const blobs: Digest[] = [];
    const oldBefore = this.#startedAt - this.#options.graceMs;
    for await (const digest of storedBlobs(this.#driver)) {
      this.#options.signal?.throwIfAborted();
      if (marks.live.has(digest)) continue;
      const data = await statOrUndefined(this.#driver, blobData(digest));
      if (data === undefined || data.modifiedAt.getTime() < oldBefore || this.#options.graceMs === 0) blobs.push(digest);
    }
    return { blobs: await this.#withoutYoungLinks(blobs, oldBefore), revisions };
  }

  // A blob whose link is young was just pushed again, or mounted: its manifest is on the way.
  async #withoutYoungLinks(blobs: readonly Digest[], oldBefore: number): Promise<readonly Digest[]> {
    if (this.#options.graceMs === 0 || blobs.length === 0) return blobs;
    const left = new Set(blobs);
    await this.#danglingLinks(left, async (name, digest) => {
      const link = await statOrUndefined(this.#driver, layerLink(name, digest));
      if (link !== undefined && link.modifiedAt.getTime() >= oldBefore) left.delete(digest);
    });
    return blobs.filter((digest) => left.has(digest));
  }

  #announce(marks: Marks, plan: Plan): void {
    const { listener } = this.#options;
    for (const revisions of plan.revisions.values()) for (const revision of revisions) listener?.untagged(revision);
    listener?.planned({ marked: marks.live.size, blobs: plan.blobs, revisions: plan.revisions.size });
  }

  async #grace(): Promise<void> {
    const { graceMs, clock, listener } = this.#options;
    if (graceMs === 0 || !(await hasLiveServer(this.#driver, clock.now()))) return;
    listener?.waiting(graceMs);
    await this.#waitUntil(clock.now() + graceMs);
  }

  async #waitUntil(moment: number): Promise<void> {
    const { clock, signal } = this.#options;
    const ms = moment - clock.now();
    if (ms > 0) await clock.sleep(ms, signal);
    signal?.throwIfAborted();
  }

  async #sweep(condemned: readonly Condemned[], plan: Plan): Promise<void> {
    const spared = new Set<Digest>();
    const doomed = new Set(plan.blobs);
    for (let start = 0; start < condemned.length; ) {
      this.#options.signal?.throwIfAborted();
      const batch = batchFrom(condemned, start);
      await this.#publish({ claimed: start + batch.length });
      const rescued = await readRescued(this.#driver, this.#state.run);
      await forEach(batch, async (item) => {
        this.#checkAlive();
        if (rescued.has(condemnedKey(item.kind, item.digest))) this.#counts.rescued++;
        if (item.kind === "revision") await this.#sweepRevision(item.digest, plan, { rescued, spared });
        else if (doomed.has(item.digest) && !spared.has(item.digest) && !rescued.has(condemnedKey("blob", item.digest))) await this.#sweepBlob(item.digest);
      });
      start += batch.length;
      await this.#publish({ swept: start });
      this.#options.listener?.swept(start, condemned.length, this.#counts.freedBytes);
    }
  }

  async #sweepRevision(digest: Digest, plan: Plan, kept: { readonly rescued: ReadonlySet<string>; readonly spared: Set<Digest> }): Promise<void> {
    const revisions = plan.revisions.get(digest) ?? [];
    if (kept.rescued.has(condemnedKey("revision", digest))) {
      for (const { name } of revisions) for (const needed of await this.#marker.closure(name, digest)) kept.spared.add(needed);
      return;
    }
    for (const { name, tags } of revisions) {
      for (const tag of tags) await this.#deleteLink(tagIndexLink(name, tag, digest), "deleting manifest tag reference");
      await this.#deleteLink(revisionLink(name, digest), "deleting manifest");
      this.#counts.deletedManifests++;
    }
  }

  async #sweepBlob(digest: Digest): Promise<void> {
    const data = await statOrUndefined(this.#driver, blobData(digest));
    // Younger than the run: somebody stored it anew under the same name.
    if (data !== undefined && data.modifiedAt.getTime() > this.#startedAt && this.#options.graceMs > 0) return;
    this.#options.log.info("Deleting blob", { path: blobFolder(digest) });
    if (await this.#deleteIfThere(blobFolder(digest))) {
      this.#counts.deletedBlobs++;
      this.#counts.freedBytes += data?.sizeBytes ?? 0;
    }
  }

  // A process that slept through its time must not delete what others believe to be theirs again.
  #checkAlive(): void {
    if (this.#options.clock.now() - this.#state.heartbeatAt > RUN_TIMEOUT_MS / 2) throw new Error("the collector was stopped for too long; nothing more is deleted: run it again");
  }

  async #deleteDangling(gone: ReadonlySet<Digest>, paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const target = await readLink(this.#driver, path);
      if (target !== undefined && (await statOrUndefined(this.#driver, blobData(target as Digest))) === undefined) await this.#deleteLink(path, "deleting dangling link");
    }
    await this.#danglingLinks(gone, async (name, digest) => {
      if ((await statOrUndefined(this.#driver, blobData(digest))) !== undefined) return;
      this.#options.listener?.dangling(name, digest);
      await this.#deleteLink(layerLink(name, digest), "deleting layer link");
    });
    for await (const name of repositoryNames(this.#driver)) {
      for (const { subject, referrer } of await referrerPairs(this.#driver, name)) {
        if ((await statOrUndefined(this.#driver, revisionLink(name, referrer))) === undefined) await this.#deleteLink(referrerLink(name, subject, referrer), "deleting referrer link");
      }
    }
  }

  async #danglingLinks(gone: ReadonlySet<Digest>, visit: (name: RepositoryName, digest: Digest) => Promise<void>): Promise<void> {
    if (gone.size === 0) return;
    for await (const name of repositoryNames(this.#driver)) {
      this.#options.signal?.throwIfAborted();
      for (const digest of await layersOf(this.#driver, name)) if (gone.has(digest)) await visit(name, digest);
    }
  }

  async #deleteLink(path: string, message: string): Promise<void> {
    if (!(await this.#deleteIfThere(path))) return;
    this.#counts.deletedLinks++;
    this.#options.log.info(message, { path });
  }

  async #deleteIfThere(path: string): Promise<boolean> {
    try {
      await this.#driver.delete(path);
      return true;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
  }

  async #publish(change: Partial<CollectorState>): Promise<void> {
    this.#state = { ...this.#state, ...change, heartbeatAt: this.#options.clock.now() };
    await writeState(this.#driver, this.#state);
  }

  #result(marks: Marks, plan: Plan): CollectResult {
    return {
      markedBlobs: marks.live.size,
      eligibleBlobs: plan.blobs.length,
      eligibleManifests: plan.revisions.size,
      ...this.#counts,
      doubts: marks.doubts,
      durationMs: this.#options.clock.now() - this.#startedAt,
    };
  }
}

function listOf(plan: Plan): Condemned[] {
  // Manifests first: one that is rescued at the last moment spares its blobs.
  return [...[...plan.revisions.keys()].map((digest) => ({ kind: "revision" as const, digest })), ...plan.blobs.map((digest) => ({ kind: "blob" as const, digest }))];
}

// A batch is of one kind: all manifests are decided before the first blob goes.
function batchFrom(condemned: readonly Condemned[], start: number): readonly Condemned[] {
  const kind = condemned[start]?.kind;
  const batch = condemned.slice(start, start + BATCH);
  const other = batch.findIndex((item) => item.kind !== kind);
  return other < 0 ? batch : batch.slice(0, other);
}

// What the second walk found needed is not deleted, whatever the first one thought.
function spare(plan: Plan, marks: Marks): Plan {
  const untagged = new Set(marks.untagged.map((revision) => `${revision.name} ${revision.digest}`));
  const revisions = new Map<Digest, readonly UntaggedRevision[]>();
  for (const [digest, list] of plan.revisions) {
    revisions.set(digest, list.filter((revision) => untagged.has(`${revision.name} ${revision.digest}`)));
  }
  return { blobs: plan.blobs.filter((digest) => !marks.live.has(digest)), revisions };
}

async function forEach<T>(items: readonly T[], visit: (item: T) => Promise<void>): Promise<void> {
  const iterator = items.values();
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (const item of iterator) await visit(item);
    }),
  );
}
