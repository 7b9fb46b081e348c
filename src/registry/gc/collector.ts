import type { Clock } from "../../lib/clock.ts";
import { mapConcurrently } from "../../lib/concurrently.ts";
import type { Digest } from "../../oci/digest.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { RemoveOptions, StorageDriver, StoreSurvey } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { parentPath } from "../../storage/paths.ts";
import type { Logger } from "../../telemetry/log.ts";
import { blobData, blobFolder, BLOBS, layerLink, REPOSITORIES, revisionLink, tagIndexLink } from "../layout.ts";
import { type Debris, emptyDebris, sweepDebris } from "./debris.ts";
import { deleteIfThere } from "./delete-if-there.ts";
import { childNames } from "./inventory.ts";
import { CollectionDoubtError, type Doubt } from "./doubt.ts";
import { Marker, type MarkListener, type MarkOptions, type Marks, type UntaggedRevision } from "./mark.ts";
import { statOrUndefined, type StoreReader } from "./store-reader.ts";
import type { StoreWalker } from "./walker.ts";
import { neededAgain } from "./needed-again.ts";
import { condemnedBy, type Cutoff, makePlan, type Plan, withoutLive, withoutYoungLinks } from "./plan.ts";
import { type FileGroup, type RemovedGroup, removeFiles } from "./remove-files.ts";
import { clearDeadRuns, clearRun, type CollectorState, type Condemned, condemnedKey, hasLiveServer, readRescued, readState, RUN_TIMEOUT_MS, writeCondemned, writeState } from "./state.ts";

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
  /** Opens what walks over repositories in threads of its own; left out where the store's answers take longer than thinking about them. */
  readonly openWalker?: () => StoreWalker & AsyncDisposable;
}

/** What is told of a run while it goes on. */
export interface CollectListener extends MarkListener {
  untagged(revision: UntaggedRevision): void;
  /** After marking: what was found. */
  planned(plan: { readonly marked: number; readonly blobs: readonly Digest[]; readonly revisions: number }): void;
  waiting(ms: number): void;
  /** A repository's link to a blob that is to go, or that is not stored. */
  unneededLink(name: RepositoryName, digest: Digest): void;
  /** After each batch. */
  swept(done: number, of: number, freedBytes: number): void;
}

/** What a run came to. */
export interface CollectResult {
  readonly markedBlobs: number;
  readonly eligibleBlobs: number;
  readonly eligibleBytes: number;
  readonly eligibleManifests: number;
  readonly deletedBlobs: number;
  readonly deletedManifests: number;
  readonly deletedLinks: number;
  readonly freedBytes: number;
  readonly rescued: number;
  readonly debris: Debris;
  readonly doubts: readonly Doubt[];
  /** False where nothing was ever pushed; or the configuration names another folder than it should. */
  readonly hasRepositories: boolean;
  readonly durationMs: number;
}

/** Another collector is at work on the store. */
export class CollectorBusyError extends Error {
  constructor(state: CollectorState) {
    super(`another collection is under way: run ${state.run}, last heard of at ${new Date(state.heartbeatAt).toISOString()}`);
    this.name = "CollectorBusyError";
  }
}

/** How blobs are deleted. */
interface Pace {
  /** Blobs that are claimed at once. Who wants to push one of them waits until all are gone. */
  readonly batch: number;
  /** See `Remover.callsAtOnce`. */
  readonly callsAtOnce: number;
}

/** Beside a registry: one thread deletes, and leaves the other processors to who serves. */
const PACE_BESIDE: Pace = { batch: 500, callsAtOnce: 1 };
/** Where no registry gave a sign of life. */
const PACE_ALONE: Pace = { batch: 4000, callsAtOnce: 8 };
const HEARTBEAT_MS = RUN_TIMEOUT_MS / 6;
const REVISIONS_AT_ONCE = 128;
/** How long one that begins looks whether another began at the same moment. */
const SETTLE_MS = 250;

/**
 * Deletes what nothing needs, while registries serve the store.
 * @throws CollectionDoubtError, CollectorBusyError; anything else that fails ends the run before its next deletion.
 * @see README.md in this folder
 */
export async function collectGarbage(driver: StorageDriver, options: CollectOptions): Promise<CollectResult> {
  await using survey = driver.survey?.();
  await using walker = options.openWalker?.();
  const run = new CollectorRun({ driver, survey, walker }, options);
  return options.dryRun ? await run.rehearse() : await run.collect();
}

class CollectorRun {
  readonly #driver: StorageDriver;
  readonly #survey: StoreSurvey | undefined;
  /** For looking at everything. */
  readonly #reader: StoreReader;
  readonly #options: CollectOptions;
  readonly #marker: Marker;
  readonly #startedAt: number;
  readonly #oldBefore: Cutoff;
  readonly #counts = { deletedBlobs: 0, deletedManifests: 0, deletedLinks: 0, freedBytes: 0, rescued: 0 };
  /** As last published: what others can read. */
  #state: CollectorState;
  #publishing: Promise<void> = Promise.resolve();
  #beat: ReturnType<typeof setInterval> | undefined;
  #hasRepositories = false;
  #pace = PACE_BESIDE;

  constructor({ driver, survey, walker }: { readonly driver: StorageDriver; readonly survey: StoreSurvey | undefined; readonly walker: StoreWalker | undefined }, options: CollectOptions) {
    this.#driver = driver;
    this.#survey = survey;
    this.#reader = survey ?? driver;
    this.#options = options;
    this.#marker = new Marker(this.#reader, walker);
    this.#startedAt = options.clock.now();
    this.#oldBefore = options.graceMs === 0 ? undefined : this.#startedAt - options.graceMs;
    this.#state = { run: Bun.randomUUIDv7(), heartbeatAt: this.#startedAt, condemned: 0, claimed: 0, swept: 0 };
  }

  async rehearse(): Promise<CollectResult> {
    const marks = await this.#mark({ findFormerTags: false });
    const plan = await this.#makePlan(marks);
    this.#announce(marks, plan);
    return this.#result(marks, plan, emptyDebris());
  }

  async collect(): Promise<CollectResult> {
    await this.#begin();
    // Marking can begin meanwhile: it changes nothing.
    const alone = this.#becomeAlone();
    alone.catch(() => undefined);
    try {
      return await this.#collect(alone);
    } finally {
      await alone.catch(() => undefined);
      clearInterval(this.#beat);
      await this.#publishing;
      await clearRun(this.#driver, this.#state.run);
    }
  }

  /** @param alone Resolves when nobody else collects; nothing is condemned before. */
  async #collect(alone: Promise<void>): Promise<CollectResult> {
    const { clock, pollMs } = this.#options;
    const activeSince = clock.now();
    let marks = await this.#mark({ findFormerTags: true });
    const firstPlan = await this.#makePlan(marks);
    let plan = firstPlan;
    await alone;
    this.#announce(marks, plan);
    const condemned = condemnedBy(plan);
    if (condemned.length > 0) {
      // Every registry knows by now, or reads it before it next says that something exists.
      await this.#waitUntil(activeSince + 2 * pollMs);
      await writeCondemned(this.#driver, this.#state.run, condemned);
      await this.#publish({ condemned: condemned.length });
      await this.#grace();
      marks = await this.#markAgain();
      plan = await withoutYoungLinks(this.#reader, withoutLive(plan, marks), this.#oldBefore);
      await this.#sweep(condemned, plan, firstPlan);
    }
    return this.#result(marks, plan, await this.#sweepDebris(marks, plan));
  }

  async #begin(): Promise<void> {
    await this.#requireAlone();
    await clearDeadRuns(this.#driver, () => this.#requireAlone());
    await this.#publish({});
  }

  /** Of two that began at once, the one that is overwritten finds the other's name, and leaves. The other gives signs of life from then on. */
  async #becomeAlone(): Promise<void> {
    const { clock, log } = this.#options;
    await clock.sleep(Math.min(SETTLE_MS, 5 * this.#options.pollMs));
    await this.#requireAlone();
    const warn = (error: unknown): void => log.warn("the collector's sign of life could not be written", { "err.message": String(error) });
    this.#beat = setInterval(() => void this.#publish({}).catch(warn), HEARTBEAT_MS);
  }

  async #requireAlone(): Promise<void> {
    const now = await readState(this.#driver, this.#options.clock.now());
    if (now !== undefined && now.run !== this.#state.run) throw new CollectorBusyError(now);
  }

  async #makePlan(marks: Marks): Promise<Plan> {
    return await makePlan({ reader: this.#reader, walker: this.#marker.walker }, marks, this.#oldBefore);
  }

  async #mark(options: Pick<MarkOptions, "findFormerTags">): Promise<Marks> {
    const { listener, signal } = this.#options;
    await this.#requireRepositories();
    return this.#requireCertain(await this.#marker.mark({ ...options, findStrayLayers: true, listener, signal, untaggedBefore: (name) => this.#untaggedBefore(name) }));
  }

  async #markAgain(): Promise<Marks> {
    await this.#requireRepositories();
    return this.#requireCertain(await this.#marker.markAgain({ signal: this.#options.signal, untaggedBefore: (name) => this.#untaggedBefore(name) }));
  }

  #untaggedBefore(name: RepositoryName): number | undefined {
    const age = this.#options.untaggedAgeMs(name);
    // At no age at all "before now" would leave out what was linked in this very millisecond.
    return age === undefined ? undefined : age === 0 ? Number.POSITIVE_INFINITY : this.#startedAt - age;
  }

  #requireCertain(marks: Marks): Marks {
    if (marks.doubts.length > 0 && !this.#options.keepGoing) throw new CollectionDoubtError(marks.doubts);
    return marks;
  }

  // Blobs without any repository: more likely a folder that is not mounted than a store in which everything is garbage.
  async #requireRepositories(): Promise<void> {
    try {
      await this.#driver.list(REPOSITORIES, { limit: 1 });
      this.#hasRepositories = true;
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
      if ((await childNames(this.#driver, BLOBS)).length > 0) throw new CollectionDoubtError([{ path: REPOSITORIES, problem: "the folder is missing, although blobs are stored" }]);
    }
  }

  #announce(marks: Marks, plan: Plan): void {
    const { listener } = this.#options;
    if (listener === undefined) return;
    for (const revision of marks.untagged) listener.untagged(revision);
    listener.planned({ marked: marks.live.size, blobs: [...plan.blobs.keys()], revisions: untaggedCount(plan) });
    for (const [digest, names] of plan.links) for (const name of names) listener.unneededLink(name, digest);
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

  /** @param firstPlan By which was condemned: what was deleted and pushed again since is in no later one. */
  async #sweep(condemned: readonly Condemned[], plan: Plan, firstPlan: Plan): Promise<void> {
    let spared: ReadonlySet<Digest> = new Set();
    if (!(await hasLiveServer(this.#driver, this.#options.clock.now()))) this.#pace = PACE_ALONE;
    for (let start = 0; start < condemned.length; ) {
      this.#options.signal?.throwIfAborted();
      const batch = batchFrom(condemned, start, this.#pace.batch);
      await this.#publish({ claimed: start + batch.length });
      const keys = await readRescued(this.#driver, this.#state.run);
      this.#counts.rescued += batch.filter((item) => keys.has(condemnedKey(item.kind, item.digest))).length;
      if (batch[0]?.kind === "revision") spared = await neededAgain({ driver: this.#driver, marker: this.#marker }, firstPlan.revisions, keys);
      await this.#sweepBatch(batch.filter(({ kind, digest }) => !keys.has(condemnedKey(kind, digest)) && !spared.has(digest)), plan);
      start += batch.length;
      await this.#publish({ swept: start });
      this.#options.listener?.swept(start, condemned.length, this.#counts.freedBytes);
    }
  }

  async #sweepBatch(batch: readonly Condemned[], plan: Plan): Promise<void> {
    if (batch[0]?.kind === "blob") await this.#sweepBlobs(batch.map(({ digest }) => digest), plan);
    else await mapConcurrently(batch, REVISIONS_AT_ONCE, ({ digest }) => this.#sweepRevision(digest, plan));
  }

  async #sweepRevision(digest: Digest, plan: Plan): Promise<void> {
    for (const { name, formerTags, isDangling } of plan.revisions.get(digest) ?? []) {
      if (isDangling && (await statOrUndefined(this.#driver, blobData(digest))) !== undefined) continue;
      const [removed] = await this.#remove([[...formerTags.map((tag) => tagIndexLink(name, tag, digest)), revisionLink(name, digest)]]);
      for (const [index, tag] of formerTags.entries()) if (removed?.[index] === true) this.#noteLink("deleting manifest tag reference", tagIndexLink(name, tag, digest));
      if (removed?.at(-1) === true) this.#noteLink("deleting manifest", revisionLink(name, digest));
      await this.#deleteSignatures(parentPath(revisionLink(name, digest)));
      if (!isDangling) this.#counts.deletedManifests++;
    }
  }

  // Registries 2.0 to 2.3 kept the signatures of schema 1 manifests beside the link.
  async #deleteSignatures(folder: string): Promise<void> {
    if (this.#driver.removeIfEmpty === undefined || (await this.#driver.removeIfEmpty(folder))) return;
    if (await deleteIfThere(this.#driver, `${folder}/signatures`)) await this.#driver.removeIfEmpty(folder);
  }

  // The links go first: at no time is there a link to bytes that are gone. Both within the claim: whoever wants to write them waits.
  async #sweepBlobs(digests: readonly Digest[], plan: Plan): Promise<void> {
    const groups = digests.map((digest) => ({ digest, names: plan.links.get(digest) ?? [], sizeBytes: plan.blobs.get(digest) }));
    const files = groups.map(({ digest, names, sizeBytes }) => [...names.map((name) => layerLink(name, digest)), ...(sizeBytes === undefined ? [] : [blobData(digest)])]);
    // What is younger than the run was stored anew under the same name.
    const outcomes = await this.#remove(files, this.#options.graceMs > 0 ? this.#startedAt : undefined);
    for (const [index, { digest, names, sizeBytes }] of groups.entries()) {
      const removed = outcomes[index];
      if (removed === undefined) continue;
      for (const [number, name] of names.entries()) if (removed[number] === true) this.#noteLink("Deleting layer link path", layerLink(name, digest));
      if (sizeBytes === undefined || removed[names.length] !== true) continue;
      this.#options.log.info(`Deleting blob: ${blobFolder(digest)}`);
      this.#counts.deletedBlobs++;
      this.#counts.freedBytes += sizeBytes;
    }
  }

  // The texts of distribution, which people look for.
  #noteLink(message: string, path: string): void {
    this.#counts.deletedLinks++;
    this.#options.log.info(`${message}: ${path}`);
  }

  /** Deletes files, and folders when nothing else is in them. */
  async #remove(groups: readonly FileGroup[], unlessChangedAfterMs?: number): Promise<readonly RemovedGroup[]> {
    const options = (): RemoveOptions => {
      this.#requireAlive();
      return { deadlineMs: Date.now() + this.#remainingMs(), unlessChangedAfterMs };
    };
    return await removeFiles({ driver: this.#driver, survey: this.#survey, callsAtOnce: this.#pace.callsAtOnce, options }, groups);
  }

  // A process that slept through its time, or whose signs of life do not arrive, must not delete what others believe to be theirs again.
  #requireAlive(): void {
    if (this.#remainingMs() < 0) throw new Error("the collector was not heard of for too long; nothing more is deleted: run it again");
  }

  #remainingMs(): number {
    return this.#state.heartbeatAt + RUN_TIMEOUT_MS / 2 - this.#options.clock.now();
  }

  async #sweepDebris(marks: Marks, plan: Plan): Promise<Debris> {
    const { clock, graceMs, log, signal } = this.#options;
    this.#requireAlive();
    const isServed = await hasLiveServer(this.#driver, clock.now());
    return await sweepDebris(this.#driver, { marks, plan, now: clock.now(), quietMs: isServed ? graceMs : 0, log, ...(signal === undefined ? {} : { signal }) });
  }

  /** Writes how far the run is. One after the other: a late sign of life must not take back a claim. */
  async #publish(change: Partial<CollectorState>): Promise<void> {
    const published = this.#publishing.then(async () => {
      // Somebody else may have begun since.
      this.#requireAlive();
      await this.#requireAlone();
      this.#requireAlive();
      const state = { ...this.#state, ...change, heartbeatAt: this.#options.clock.now() };
      await writeState(this.#driver, state);
      this.#state = state;
    });
    this.#publishing = published.catch(() => undefined);
    await published;
  }

  #result(marks: Marks, plan: Plan, debris: Debris): CollectResult {
    return {
      markedBlobs: marks.live.size,
      eligibleBlobs: plan.blobs.size,
      eligibleBytes: [...plan.blobs.values()].reduce((sum, bytes) => sum + bytes, 0),
      eligibleManifests: untaggedCount(plan),
      ...this.#counts,
      debris,
      doubts: marks.doubts,
      hasRepositories: this.#hasRepositories,
      durationMs: this.#options.clock.now() - this.#startedAt,
    };
  }
}

function untaggedCount(plan: Plan): number {
  let count = 0;
  for (const revisions of plan.revisions.values()) count += revisions.filter((revision) => !revision.isDangling).length;
  return count;
}

// All manifests are claimed at once: one that is rescued spares children and referrers wherever they stand in the list.
function batchFrom(condemned: readonly Condemned[], start: number, blobs: number): readonly Condemned[] {
  if (condemned[start]?.kind === "blob") return condemned.slice(start, start + blobs);
  const firstBlob = condemned.findIndex((item) => item.kind === "blob");
  return condemned.slice(start, firstBlob < 0 ? undefined : firstBlob);
}
