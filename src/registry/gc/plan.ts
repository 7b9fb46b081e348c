import { mapConcurrently, yieldToEventLoop } from "../../lib/concurrently.ts";
import type { Digest } from "../../oci/digest.ts";
import type { RepositoryName, Tag } from "../../oci/name.ts";
import { layerLink } from "../layout.ts";
import { mapInOrder } from "./in-order.ts";
import { inPieces, type Marks } from "./mark.ts";
import { statOrUndefined, type StoreReader } from "./store-reader.ts";
import type { StoreWalker } from "./walker.ts";
import type { Condemned } from "./state.ts";

/** A manifest that is to leave a repository. */
export interface PlannedRevision {
  readonly name: RepositoryName;
  /** What it refers to. */
  readonly subject: Digest | undefined;
  /** The tags that it once had. */
  readonly formerTags: readonly Tag[];
  /** Whether there is only a link, and no bytes. */
  readonly isDangling: boolean;
}

/** What a run is to delete. */
export interface Plan {
  /** Blobs whose bytes go, with how many they are. */
  readonly blobs: ReadonlyMap<Digest, number>;
  /** Repositories with a folder for a blob that nothing needs, whether or not its bytes are stored. */
  readonly links: ReadonlyMap<Digest, readonly RepositoryName[]>;
  readonly revisions: ReadonlyMap<Digest, readonly PlannedRevision[]>;
  /** Folders of blobs without bytes: an interrupted write may have left something in them. */
  readonly hollow: readonly Digest[];
}

/** How old what goes must be: changed before this moment, in milliseconds since the epoch; undefined: any age. */
export type Cutoff = number | undefined;

const STATS_AT_ONCE = 256;
/** Small enough that all threads have something to do. */
const SHARDS_PER_JOB = 16;
const JOBS_AT_ONCE = 4;

/** What a plan looks at the store by. */
export interface PlanSources {
  readonly reader: StoreReader;
  readonly walker: StoreWalker;
}

/**
 * Finds what is to go by what was marked, stray layers among it. Rejects when the store cannot be read.
 * The links were listed before the blobs, either may have changed since: what goes is looked at again before it does.
 */
export async function makePlan(sources: PlanSources, marks: Marks, oldBefore: Cutoff): Promise<Plan> {
  const { blobs, hollow, young } = await unneededBlobs(sources.walker, marks, oldBefore);
  const plan: Plan = { blobs, links: unneededLinks(marks, young), hollow, revisions: plannedRevisions(marks) };
  return await withoutYoungLinks(sources.reader, plan, oldBefore);
}

/** Takes from a plan every blob of which a link is young: it was just pushed again, or mounted, and its manifest is on the way. */
export async function withoutYoungLinks(driver: StoreReader, plan: Plan, oldBefore: Cutoff): Promise<Plan> {
  if (oldBefore === undefined) return plan;
  const young = new Set<Digest>();
  await mapConcurrently(plan.links, STATS_AT_ONCE, async ([digest, names]) => {
    for (const name of names) {
      const link = await statOrUndefined(driver, layerLink(name, digest));
      if (link !== undefined && link.modifiedAt.getTime() >= oldBefore) young.add(digest);
    }
  });
  return keepingOut(plan, (digest) => young.has(digest));
}

/** Takes from a plan what a later walk found to be needed, whatever the first one thought. */
export function withoutLive(plan: Plan, marks: Marks): Plan {
  const stillUntagged = new Set(marks.untagged.map(({ name, digest }) => `${name} ${digest}`));
  for (const { name, digest } of marks.danglingRevisions) stillUntagged.add(`${name} ${digest}`);
  const revisions = new Map<Digest, readonly PlannedRevision[]>();
  for (const [digest, list] of plan.revisions) revisions.set(digest, list.filter(({ name }) => stillUntagged.has(`${name} ${digest}`)));
  return { ...keepingOut(plan, (digest) => marks.live.has(digest)), revisions };
}

/** Everything that a plan deletes, in the order of deletion: manifests first, as one that is rescued spares what it needs. */
export function condemnedBy(plan: Plan): readonly Condemned[] {
  const digests = new Set([...plan.blobs.keys(), ...plan.links.keys()]);
  return [...[...plan.revisions.keys()].map((digest): Condemned => ({ kind: "revision", digest })), ...[...digests].map((digest): Condemned => ({ kind: "blob", digest }))];
}

function keepingOut(plan: Plan, isKept: (digest: Digest) => boolean): Plan {
  return {
    ...plan,
    blobs: new Map([...plan.blobs].filter(([digest]) => !isKept(digest))),
    links: new Map([...plan.links].filter(([digest]) => !isKept(digest))),
  };
}

interface UnneededBlobs {
  readonly blobs: Map<Digest, number>;
  readonly hollow: Digest[];
  readonly young: Set<Digest>;
}

async function unneededBlobs(walker: StoreWalker, marks: Marks, oldBefore: Cutoff): Promise<UnneededBlobs> {
  const found: UnneededBlobs = { blobs: new Map(), hollow: [], young: new Set() };
  const pieces = inPieces(await walker.shards(), SHARDS_PER_JOB);
  const looks = mapInOrder(pieces, JOBS_AT_ONCE, async (shards) => await walker.look((await walker.blobsIn(shards)).filter((digest) => !marks.live.has(digest))));
  for await (const blobs of looks) {
    for (const { digest, data } of blobs) {
      if (data === undefined) found.hollow.push(digest);
      else if (oldBefore !== undefined && data.modifiedAtMs >= oldBefore) found.young.add(digest);
      else found.blobs.set(digest, data.sizeBytes);
    }
    await yieldToEventLoop();
  }
  return found;
}

function unneededLinks({ strayLayers, live }: Marks, young: ReadonlySet<Digest>): Map<Digest, RepositoryName[]> {
  const links = new Map<Digest, RepositoryName[]>();
  for (const { name, digests } of strayLayers) {
    for (const digest of digests) {
      if (live.has(digest) || young.has(digest)) continue;
      const known = links.get(digest);
      if (known === undefined) links.set(digest, [name]);
      else known.push(name);
    }
  }
  return links;
}

function plannedRevisions(marks: Marks): ReadonlyMap<Digest, readonly PlannedRevision[]> {
  const revisions = new Map<Digest, PlannedRevision[]>();
  const add = (digest: Digest, revision: PlannedRevision): void => void revisions.set(digest, [...(revisions.get(digest) ?? []), revision]);
  for (const { digest, ...revision } of marks.untagged) add(digest, { ...revision, isDangling: false });
  for (const { name, digest } of marks.danglingRevisions) add(digest, { name, subject: undefined, formerTags: [], isDangling: true });
  return revisions;
}
