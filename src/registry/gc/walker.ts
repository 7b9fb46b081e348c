import { mapConcurrently } from "../../lib/concurrently.ts";
import type { Digest } from "../../oci/digest.ts";
import { isName, type RepositoryName, type Tag } from "../../oci/name.ts";
import type { FileInfo } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { blobData, REPOSITORIES } from "../layout.ts";
import type { Doubt } from "./doubt.ts";
import { type BlobShard, blobShards, blobsInShard, type RepositoryFolder, repositoryFolders } from "./inventory.ts";
import type { Facts } from "./manifest-facts.ts";
import { RepositoryWalk } from "./repository-walk.ts";
import { statOrUndefined, type StoreReader } from "./store-reader.ts";

const STATS_AT_ONCE = 256;
const LISTINGS_AT_ONCE = 16;

/** What a walk over one repository found; plain data, as it may come from another thread. */
export interface RepositoryMarks {
  readonly name: RepositoryName;
  /** Whether there is neither a manifest nor a tag. */
  readonly isEmpty: boolean;
  /** What is live, each manifest before what it needs. */
  readonly live: readonly Digest[];
  /** For each of these `m` for a manifest, `b` for another blob. */
  readonly kinds: string;
  /** Every tag; left out where there is nothing untagged. */
  readonly tags: readonly Tag[];
  readonly untagged: readonly UntaggedManifest[];
  readonly danglingRevisions: readonly Digest[];
  readonly danglingTags: readonly { readonly tag: Tag; readonly digest: Digest }[];
  readonly linkless: readonly Digest[];
  /** See `Marks.strayLayers`. */
  readonly strayLayers: readonly Digest[];
  readonly doubts: readonly Doubt[];
}

/** A manifest that no tag needs. */
export interface UntaggedManifest {
  readonly digest: Digest;
  /** What it refers to. */
  readonly subject: Digest | undefined;
  /** The tags that it once had; only where they were asked for. */
  readonly formerTags: readonly Tag[];
}

/** What a walk is to find beside what is live. */
export interface WalkOptions {
  /** Whether `RepositoryMarks.strayLayers` is wanted. */
  readonly findStrayLayers: boolean;
  /** Whether `UntaggedManifest.formerTags` is wanted. */
  readonly findFormerTags: boolean;
}

/** One repository to be walked over. */
export interface RepositoryTask extends WalkOptions {
  readonly folder: RepositoryFolder;
  /** How many times all repositories were walked over, this time included. */
  readonly walk: number;
  /** Whether nothing is to be told of a repository in which all is as the walk before found it. */
  readonly onlyChanges: boolean;
  /** The manifests that the walk before found untagged, and no others, may be so now; undefined: any may. */
  readonly mayBeUntagged?: readonly Digest[] | undefined;
  /** See `MarkOptions.untaggedBefore`. */
  readonly untaggedBefore: number | undefined;
}

/** What the bytes of a blob are, as the store tells. */
export interface StoredBlob {
  readonly digest: Digest;
  /** Undefined where there is only a folder. */
  readonly data: { readonly sizeBytes: number; readonly modifiedAtMs: number } | undefined;
}

/** What manifests need, and what refers to them, themselves among it. */
export interface Closure {
  readonly reached: ReadonlySet<Digest>;
  /** What could not be read or understood: it may need more. */
  readonly doubts: readonly Doubt[];
}

/** Looks over the store, in calls that do much each. */
export interface StoreWalker {
  /** Every folder that holds what repositories hold, in order. */
  folders(): Promise<readonly RepositoryFolder[]>;
  /** Undefined stands for a repository that is as it was, see `RepositoryTask.onlyChanges`. */
  walk(tasks: readonly RepositoryTask[]): Promise<readonly (RepositoryMarks | undefined)[]>;
  /** Every folder in which folders of blobs are. */
  shards(): Promise<readonly BlobShard[]>;
  /** The digests of the blobs that have folders. */
  blobsIn(shards: readonly BlobShard[]): Promise<readonly Digest[]>;
  /** What is stored of some blobs, in their order. */
  look(digests: readonly Digest[]): Promise<readonly StoredBlob[]>;
}

/** Looks over the store right here, and remembers the manifests that it read. */
export class LocalWalker implements StoreWalker {
  readonly #reader: StoreReader;
  readonly #facts = new Map<Digest, Facts>();
  /** How repositories were when they were walked over last. */
  readonly #last = new Map<RepositoryName, Sighting>();

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  async folders(): Promise<readonly RepositoryFolder[]> {
    return await repositoryFolders(this.#reader);
  }

  async walk(tasks: readonly RepositoryTask[]): Promise<readonly (RepositoryMarks | undefined)[]> {
    return await mapConcurrently(tasks, 1, (task) => this.#walk(task));
  }

  async shards(): Promise<readonly BlobShard[]> {
    return await blobShards(this.#reader);
  }

  async blobsIn(shards: readonly BlobShard[]): Promise<readonly Digest[]> {
    return (await mapConcurrently(shards, LISTINGS_AT_ONCE, (shard) => blobsInShard(this.#reader, shard))).flat();
  }

  async look(digests: readonly Digest[]): Promise<readonly StoredBlob[]> {
    const reader = this.#reader;
    const statNow = reader.statNow?.bind(reader);
    if (statNow !== undefined) return digests.map((digest) => storedBlob(digest, infoOf(() => statNow(blobData(digest)))));
    return await mapConcurrently(digests, STATS_AT_ONCE, async (digest) => storedBlob(digest, await statOrUndefined(reader, blobData(digest))));
  }

  async #walk({ folder, walk: number, untaggedBefore, mayBeUntagged, ...options }: RepositoryTask): Promise<RepositoryMarks | undefined> {
    // A folder of another name is walked like any other, so that going on keeps what it links to.
    const name = folder.path as RepositoryName;
    const last = this.#last.get(name);
    const walk = new RepositoryWalk(this.#reader, name, { facts: this.#facts, held: last?.revisions });
    if (!isName(folder.path) && folder.parts.includes("_manifests")) walk.doubt(`${REPOSITORIES}/${folder.path}`, "the folder holds manifests, but its name is not one that a repository can have");
    await walk.findRevisions();
    await walk.findTags();
    const roots = untaggedBefore === undefined ? walk.revisions : await walk.linkedSince(untaggedBefore);
    const seen = { number, revisions: walk.revisions, tags: walk.tags, targets: walk.targets, roots };
    if (options.onlyChanges && last?.number === number - 1 && last.isWhole && walk.isWhole && isSame(last, seen)) {
      this.#last.set(name, { ...seen, isWhole: true });
      return undefined;
    }
    await walk.reach([...roots, ...walk.targets]);
    if (mayBeUntagged !== undefined) await walk.reach(walk.revisions.difference(new Set(mayBeUntagged)));
    await walk.reachReferrers();
    // Where anything is in doubt nothing of the repository may go.
    if (walk.doubts.length > 0) await walk.reachAll();
    else if (options.findStrayLayers && folder.parts.includes("_layers")) await walk.findStrayLayers();
    this.#last.set(name, { ...seen, isWhole: walk.isWhole });
    return await marksOf(walk, options);
  }

  /** Manifests of a repository with everything that they need and that refers to them; for what was rescued at the last moment. */
  async closure(name: RepositoryName, digests: Iterable<Digest>): Promise<Closure> {
    const walk = new RepositoryWalk(this.#reader, name, { facts: this.#facts, held: undefined });
    await walk.findRevisions();
    await walk.load([...digests]);
    await walk.reach(digests);
    await walk.reachReferrers();
    return walk;
  }
}

/** What decides which of a repository's manifests are live. What those need is theirs for ever. */
interface Sighting {
  /** Of the walk. */
  readonly number: number;
  readonly revisions: ReadonlySet<Digest>;
  readonly tags: readonly Tag[];
  readonly targets: ReadonlySet<Digest>;
  readonly roots: ReadonlySet<Digest>;
  /** See `RepositoryWalk.isWhole`. */
  readonly isWhole: boolean;
}

function isSame(one: Omit<Sighting, "isWhole">, other: Omit<Sighting, "isWhole">): boolean {
  return isSameSet(one.revisions, other.revisions) && isSameSet(one.targets, other.targets) && isSameSet(one.roots, other.roots) && isSameList(one.tags, other.tags);
}

function isSameSet<T>(one: ReadonlySet<T>, other: ReadonlySet<T>): boolean {
  return one.size === other.size && one.isSubsetOf(other);
}

function isSameList<T>(one: readonly T[], other: readonly T[]): boolean {
  return one.length === other.length && one.every((item, index) => item === other[index]);
}

async function marksOf(walk: RepositoryWalk, { findFormerTags }: WalkOptions): Promise<RepositoryMarks> {
  const { name, revisions, reached, manifests, doubts } = walk;
  const isCertain = doubts.length === 0;
  const untagged = [...revisions].filter((digest) => !reached.has(digest));
  const formerTags = findFormerTags ? await walk.formerTagsOf(untagged) : undefined;
  return {
    name,
    isEmpty: revisions.size === 0 && walk.tags.length === 0 && isCertain,
    live: [...reached],
    kinds: Array.from(reached, (digest) => (manifests.has(digest) ? "m" : "b")).join(""),
    tags: untagged.length === 0 ? [] : walk.tags,
    untagged: untagged.map((digest) => ({ digest, subject: walk.subjectOf(digest), formerTags: formerTags?.get(digest) ?? [] })),
    danglingRevisions: isCertain ? walk.danglingRevisions : [],
    danglingTags: isCertain ? walk.danglingTags : [],
    linkless: isCertain ? walk.linkless : [],
    strayLayers: walk.strayLayers,
    doubts,
  };
}

function infoOf(stat: () => FileInfo): FileInfo | undefined {
  try {
    return stat();
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}

function storedBlob(digest: Digest, info: FileInfo | undefined): StoredBlob {
  return { digest, data: info === undefined || info.isDirectory ? undefined : { sizeBytes: info.sizeBytes, modifiedAtMs: info.modifiedAt.getTime() } };
}
