import { mapConcurrently, yieldToEventLoop } from "../../lib/concurrently.ts";
import { type Digest, digestOf, algorithmOf, isDigest } from "../../oci/digest.ts";
import { type Manifest, MAX_MANIFEST_BYTES, parseStoredManifest, referencesOf } from "../../oci/manifest.ts";
import { isManifestMediaType } from "../../oci/media-types.ts";
import { isName, type RepositoryName, type Tag } from "../../oci/name.ts";
import type { FileInfo, StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { blobData, layerLink, REPOSITORIES, revisionLink, tagCurrentLink } from "../layout.ts";
import { mapInOrder } from "./in-order.ts";
import { type BlobShard, blobShards, blobsInShard, layersOf, type Lister, type RepositoryFolder, repositoryFolders, revisionsOf, tagsOf } from "./inventory.ts";

/** What a store is looked at by: a driver, a survey of one, or what a thread of its own has. */
export interface StoreReader extends Lister, Pick<StorageDriver, "getContent" | "stat"> {
  /**
   * Reads as `getContent` does, where that takes no waiting and nobody else waits for the thread: a promise for each file takes as
   * long as the file. The bytes are good until the next call.
   */
  readNow?(path: string, maxBytes: number): Uint8Array;
  /** The same of `stat`. */
  statNow?(path: string): FileInfo;
}

/** Something that the collector does not understand, and that stops deletion. */
export interface Doubt {
  readonly path: string;
  readonly problem: string;
}

/** A manifest that no tag needs. */
export interface UntaggedRevision {
  readonly name: RepositoryName;
  readonly digest: Digest;
  /** Every tag of the repository: their histories may hold the manifest. */
  readonly tags: readonly Tag[];
}

/** A link to a manifest whose bytes are not stored. */
export interface DanglingRevision {
  readonly name: RepositoryName;
  readonly digest: Digest;
}

/** A tag that points to a manifest whose bytes are not stored. */
export interface DanglingTag extends DanglingRevision {
  readonly tag: Tag;
}

/** What is told of a walk while it goes on. */
export interface MarkListener {
  repository(name: RepositoryName): void;
  marked(name: RepositoryName, kind: "manifest" | "blob", digest: Digest): void;
}

/** What a manifest needs and says; kept between walks, as a digest's content never changes. */
interface Facts {
  readonly blobs: readonly Digest[];
  readonly children: readonly Child[];
  readonly subject: Digest | undefined;
  /** What was not understood, with the path. */
  readonly doubt?: Doubt;
}

/** A child of an index. BuildKit's old caches are indexes of plain blobs. */
interface Child {
  readonly digest: Digest;
  readonly isManifest: boolean;
}

/** What one walk over all repositories found. */
export interface Marks {
  /** Blobs that something live needs, manifests among them. */
  readonly live: Set<Digest>;
  /** Every repository, also those in which nothing is live. */
  readonly names: readonly RepositoryName[];
  /** Repositories without any manifest and tag. */
  readonly empty: readonly RepositoryName[];
  /** Where untagged manifests do not stay: what may go. */
  readonly untagged: readonly UntaggedRevision[];
  readonly danglingRevisions: readonly DanglingRevision[];
  readonly danglingTags: readonly DanglingTag[];
  /** Folders of manifests that hold no link, as deletions and interrupted pushes leave them. */
  readonly linkless: readonly DanglingRevision[];
  /** Links to blobs that no live manifest of the same repository needs; only where they were asked for. */
  readonly strayLayers: readonly StrayLayers[];
  readonly doubts: readonly Doubt[];
}

/** Blobs that a repository links and does not need; another one may. */
export interface StrayLayers {
  readonly name: RepositoryName;
  readonly digests: readonly Digest[];
}

/** How to mark. */
export interface MarkOptions {
  /**
   * The moment, in milliseconds since the epoch, before which a repository's manifest must have been linked to go when no tag needs it
   * (the tags of younger ones may be on the way); undefined where untagged manifests stay.
   */
  readonly untaggedBefore: (name: RepositoryName) => number | undefined;
  /** Whether `Marks.strayLayers` is wanted. */
  readonly findStrayLayers: boolean;
  readonly listener: MarkListener | undefined;
  readonly signal: AbortSignal | undefined;
}

const LISTINGS_AT_ONCE = 16;
const STATS_AT_ONCE = 256;
/** Repositories that a thread is given at once: few enough that all threads have something to do. */
const MAX_REPOSITORIES_PER_JOB = 64;
const JOBS_AT_LEAST = 32;
const JOBS_AT_ONCE = 8;
/** Files of one repository that are read at once. */
const READS_AT_ONCE = 64;
const READS_PER_TURN = 64;
const MAX_LINK_BYTES = 1024;
const NOTHING: Facts = { blobs: [], children: [], subject: undefined };

type Growing<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer Item)[] ? Item[] : T[K] };

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
  readonly untagged: readonly Digest[];
  readonly danglingRevisions: readonly Digest[];
  readonly danglingTags: readonly { readonly tag: Tag; readonly digest: Digest }[];
  readonly linkless: readonly Digest[];
  /** See `Marks.strayLayers`. */
  readonly strayLayers: readonly Digest[];
  readonly doubts: readonly Doubt[];
}

/** One repository to be walked over. */
export interface RepositoryTask {
  readonly folder: RepositoryFolder;
  /** See `MarkOptions.untaggedBefore`. */
  readonly untaggedBefore: number | undefined;
  /** See `MarkOptions.findStrayLayers`. */
  readonly findStrayLayers: boolean;
}

/** What the bytes of a blob are, as the store tells. */
export interface StoredBlob {
  readonly digest: Digest;
  /** Undefined where there is only a folder. */
  readonly data: { readonly sizeBytes: number; readonly modifiedAtMs: number } | undefined;
}

/** Looks over the store, in calls that do much each. */
export interface StoreWalker {
  /** Every folder that holds what repositories hold, in order. */
  folders(): Promise<readonly RepositoryFolder[]>;
  walk(tasks: readonly RepositoryTask[]): Promise<readonly RepositoryMarks[]>;
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
  /** The manifests that repositories held when they were walked over last. */
  readonly #held = new Map<RepositoryName, ReadonlySet<Digest>>();

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  async folders(): Promise<readonly RepositoryFolder[]> {
    return await repositoryFolders(this.#reader);
  }

  async walk(tasks: readonly RepositoryTask[]): Promise<readonly RepositoryMarks[]> {
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

  async #walk({ folder, untaggedBefore, findStrayLayers }: RepositoryTask): Promise<RepositoryMarks> {
    // A folder of another name is walked like any other, so that going on keeps what it links to.
    const name = folder.path as RepositoryName;
    const walk = new RepositoryWalk(this.#reader, name, { facts: this.#facts, held: this.#held.get(name) });
    if (!isName(folder.path) && folder.parts.includes("_manifests")) walk.doubt(`${REPOSITORIES}/${folder.path}`, "the folder holds manifests, but its name is not one that a repository can have");
    await walk.findRevisions();
    this.#held.set(name, walk.revisions);
    await walk.findTags();
    const roots = untaggedBefore === undefined ? walk.revisions : await walk.linkedSince(untaggedBefore);
    await walk.reach([...roots, ...walk.targets]);
    await walk.reachReferrers();
    // Where anything is in doubt nothing of the repository may go.
    if (walk.doubts.length > 0) await walk.reachAll();
    else if (findStrayLayers && folder.parts.includes("_layers")) await walk.findStrayLayers();
    return marksOf(walk);
  }

  /** Manifests of a repository with everything that they need and that refers to them; for what was rescued at the last moment. */
  async closure(name: RepositoryName, digests: Iterable<Digest>): Promise<ReadonlySet<Digest>> {
    const walk = new RepositoryWalk(this.#reader, name, { facts: this.#facts, held: undefined });
    await walk.findRevisions();
    await walk.load([...digests]);
    await walk.reach(digests);
    await walk.reachReferrers();
    return walk.reached;
  }
}

/** Finds everything that is live. One marker serves the several walks of one run. */
export class Marker {
  readonly #local: LocalWalker;
  readonly #walker: StoreWalker | undefined;

  /** @param walker Who walks over the repositories; left out where that is done here. */
  constructor(reader: StoreReader, walker?: StoreWalker) {
    this.#local = new LocalWalker(reader);
    this.#walker = walker;
  }

  /** What looks over the store. */
  get walker(): StoreWalker {
    return this.#walker ?? this.#local;
  }

  /** Walks all repositories. Rejects when the store cannot be listed: nothing may be deleted then. */
  async mark(options: MarkOptions): Promise<Marks> {
    const marks: Growing<Marks> = { live: new Set(), names: [], empty: [], untagged: [], danglingRevisions: [], danglingTags: [], linkless: [], strayLayers: [], doubts: [] };
    const { findStrayLayers } = options;
    const tasks = (await this.walker.folders()).map((folder): RepositoryTask => ({ folder, untaggedBefore: options.untaggedBefore(folder.path as RepositoryName), findStrayLayers }));
    for await (const found of this.#walkAll(tasks, options.signal)) {
      merge(found, marks, options.listener);
      await yieldToEventLoop();
    }
    return marks;
  }

  /** See `LocalWalker.closure`. */
  async closure(name: RepositoryName, digests: Iterable<Digest>): Promise<ReadonlySet<Digest>> {
    return await this.#local.closure(name, digests);
  }

  async *#walkAll(tasks: readonly RepositoryTask[], signal: AbortSignal | undefined): AsyncGenerator<RepositoryMarks> {
    // Threads get many at once; who shares this thread with requests begins one after the other.
    const size = this.#walker === undefined ? 1 : Math.max(1, Math.min(MAX_REPOSITORIES_PER_JOB, Math.ceil(tasks.length / JOBS_AT_LEAST)));
    const results = mapInOrder(inPieces(tasks, size), JOBS_AT_ONCE, async (job) => {
      signal?.throwIfAborted();
      return await this.walker.walk(job);
    });
    for await (const found of results) yield* found;
  }
}

/** Items in pieces of so many. */
export function inPieces<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
}

function marksOf(walk: RepositoryWalk): RepositoryMarks {
  const { name, revisions, reached, manifests, doubts } = walk;
  const isCertain = doubts.length === 0;
  const untagged = [...revisions].filter((digest) => !reached.has(digest));
  return {
    name,
    isEmpty: revisions.size === 0 && walk.tags.length === 0 && isCertain,
    live: [...reached],
    kinds: Array.from(reached, (digest) => (manifests.has(digest) ? "m" : "b")).join(""),
    tags: untagged.length === 0 ? [] : walk.tags,
    untagged,
    danglingRevisions: isCertain ? walk.danglingRevisions : [],
    danglingTags: isCertain ? walk.danglingTags : [],
    linkless: isCertain ? walk.linkless : [],
    strayLayers: walk.strayLayers,
    doubts,
  };
}

function merge(found: RepositoryMarks, marks: Growing<Marks>, listener: MarkListener | undefined): void {
  const { name } = found;
  marks.names.push(name);
  marks.doubts.push(...found.doubts);
  marks.linkless.push(...found.linkless.map((digest) => ({ name, digest })));
  marks.danglingRevisions.push(...found.danglingRevisions.map((digest) => ({ name, digest })));
  marks.danglingTags.push(...found.danglingTags.map((tag) => ({ name, ...tag })));
  if (found.strayLayers.length > 0) marks.strayLayers.push({ name, digests: found.strayLayers });
  if (found.isEmpty) {
    marks.empty.push(name);
    return;
  }
  listener?.repository(name);
  for (const digest of found.untagged) marks.untagged.push({ name, digest, tags: found.tags });
  for (const [index, digest] of found.live.entries()) {
    marks.live.add(digest);
    listener?.marked(name, found.kinds[index] === "m" ? "manifest" : "blob", digest);
  }
}

/** Finds out what one repository holds, and follows references within it. */
class RepositoryWalk {
  readonly name: RepositoryName;
  /** Manifests that the repository holds: a link that says so, and bytes. */
  readonly revisions = new Set<Digest>();
  readonly linkless: Digest[] = [];
  readonly danglingRevisions: Digest[] = [];
  tags: readonly Tag[] = [];
  /** What tags point to, as far as its bytes are there. */
  readonly targets = new Set<Digest>();
  readonly danglingTags: { readonly tag: Tag; readonly digest: Digest }[] = [];
  readonly reached = new Set<Digest>();
  readonly manifests = new Set<Digest>();
  strayLayers: readonly Digest[] = [];
  readonly doubts: Doubt[] = [];
  readonly #driver: StoreReader;
  readonly #facts: Map<Digest, Facts>;
  readonly #held: ReadonlySet<Digest> | undefined;
  /** What was read as a manifest here: another repository may hold the same bytes as a layer. */
  readonly #loaded = new Set<Digest>();
  #reads = 0;

  constructor(driver: StoreReader, name: RepositoryName, known: { readonly facts: Map<Digest, Facts>; readonly held: ReadonlySet<Digest> | undefined }) {
    this.#driver = driver;
    this.name = name;
    this.#facts = known.facts;
    this.#held = known.held;
  }

  doubt(path: string, problem: string): void {
    this.doubts.push({ path, problem });
  }

  async findRevisions(): Promise<void> {
    const linked = await this.#findLinked(await revisionsOf(this.#driver, this.name));
    await this.load(linked);
    for (const digest of linked) {
      if (this.#loaded.has(digest)) this.revisions.add(digest);
      else this.danglingRevisions.push(digest);
    }
  }

  async findTags(): Promise<void> {
    this.tags = await tagsOf(this.#driver, this.name);
    const found = await this.#targetsOf(this.tags);
    await this.load(found.map(({ digest }) => digest));
    for (const target of found) {
      if (this.#loaded.has(target.digest)) this.targets.add(target.digest);
      else this.danglingTags.push(target);
    }
  }

  /** The manifests that were linked at a moment or later. */
  async linkedSince(moment: number): Promise<Iterable<Digest>> {
    if (moment === Number.POSITIVE_INFINITY) return [];
    const ages = await mapConcurrently(this.revisions, READS_AT_ONCE, async (digest) => {
      const info = await statOrUndefined(this.#driver, revisionLink(this.name, digest));
      return info !== undefined && info.modifiedAt.getTime() >= moment ? digest : undefined;
    });
    return ages.filter((digest) => digest !== undefined);
  }

  /** Marks manifests and everything that they need. */
  async reach(roots: Iterable<Digest>): Promise<void> {
    for (const root of roots) {
      const waiting = [root];
      for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
        if (this.reached.has(digest)) continue;
        this.reached.add(digest);
        const facts = this.#loaded.has(digest) ? this.#facts.get(digest) : undefined;
        if (facts === undefined) {
          if (algorithmOf(digest) !== "sha256") await this.#reachAlias(digest);
          continue;
        }
        this.manifests.add(digest);
        for (const blob of facts.blobs) waiting.push(blob);
        if (facts.children.length === 0) continue;
        // Also without a link of its own: the index shows that it is one of this repository's.
        await this.load(facts.children.filter((child) => child.isManifest && !this.reached.has(child.digest)).map((child) => child.digest));
        for (const child of facts.children) waiting.push(child.digest);
      }
    }
  }

  /** Marks the manifests that refer to what is marked, and what they need, until nothing is added. */
  async reachReferrers(): Promise<void> {
    for (let grown = true; grown; ) {
      grown = false;
      for (const digest of this.revisions) {
        const subject = this.#facts.get(digest)?.subject;
        if (subject === undefined || this.reached.has(digest) || !this.reached.has(subject)) continue;
        await this.reach([digest]);
        grown = true;
      }
    }
  }

  /** Call it when all that is live is reached. */
  async findStrayLayers(): Promise<void> {
    this.strayLayers = (await layersOf(this.#driver, this.name)).filter((digest) => !this.reached.has(digest));
  }

  /** Marks all that the repository holds, manifests and linked blobs. */
  async reachAll(): Promise<void> {
    const revisions = await revisionsOf(this.#driver, this.name);
    await this.load(revisions);
    await this.reach(revisions);
    await this.reach(await layersOf(this.#driver, this.name));
  }

  /** Reads manifests, those of them that were not read before and whose bytes are there. */
  async load(digests: readonly Digest[]): Promise<void> {
    const unread = new Set(digests.filter((digest) => !this.#facts.has(digest)));
    await this.#readEach([...unread], {
      pathOf: blobData,
      maxBytes: MAX_MANIFEST_BYTES,
      visit: (digest, outcome) => {
        const facts = factsIn(outcome, digest);
        if (facts !== undefined) this.#facts.set(digest, facts);
      },
    });
    for (const digest of digests) {
      const facts = this.#facts.get(digest);
      if (facts === undefined || this.#loaded.has(digest)) continue;
      this.#loaded.add(digest);
      if (facts.doubt !== undefined) this.doubts.push(facts.doubt);
    }
  }

  /** The manifests whose links say that the repository holds them, in their order. */
  async #findLinked(digests: readonly Digest[]): Promise<readonly Digest[]> {
    // A link that was right is right or gone, and what has just gone may as well be kept by this run.
    const unknown = digests.filter((digest) => this.#held?.has(digest) !== true);
    const wrong = new Set<Digest>();
    await this.#readLinks(unknown, {
      pathOf: (digest) => revisionLink(this.name, digest),
      visit: (digest, target) => {
        if (target === digest) return;
        wrong.add(digest);
        if (target === undefined) this.linkless.push(digest);
        else if (target !== IN_DOUBT) this.doubt(revisionLink(this.name, digest), target === "" ? "the link is empty" : `the link holds ${JSON.stringify(target.slice(0, 100))} instead of the digest that its path names`);
      },
    });
    return wrong.size === 0 ? digests : digests.filter((digest) => !wrong.has(digest));
  }

  /** What tags point to. A tag's folder without a current link is what an interrupted push or deletion leaves: it points to nothing. */
  async #targetsOf(tags: readonly Tag[]): Promise<readonly { readonly tag: Tag; readonly digest: Digest }[]> {
    const targets = new Map<Tag, Digest>();
    await this.#readLinks(tags, {
      pathOf: (tag) => tagCurrentLink(this.name, tag),
      visit: (tag, target) => {
        if (target === undefined || target === IN_DOUBT) return;
        if (isDigest(target)) targets.set(tag, target);
        else this.doubt(tagCurrentLink(this.name, tag), target === "" ? "the link is empty" : `the link holds ${JSON.stringify(target.slice(0, 100))} instead of a digest`);
      },
    });
    // In the order of the listing, whatever is read first: the output of two runs is the same.
    return tags.flatMap((tag) => {
      const digest = targets.get(tag);
      return digest === undefined ? [] : [{ tag, digest }];
    });
  }

  async #readLinks<T>(items: readonly T[], { pathOf, visit }: { pathOf(item: T): string; visit(item: T, target: string | undefined): void }): Promise<void> {
    await this.#readEach(items, { pathOf, maxBytes: MAX_LINK_BYTES, visit: (item, outcome) => visit(item, this.#targetIn(outcome, () => pathOf(item))) });
  }

  #targetIn(outcome: Uint8Array | Error, path: () => string): string | undefined {
    if (!(outcome instanceof Error)) return linkText(outcome);
    if (outcome instanceof PathNotFoundError) return undefined;
    this.doubt(path(), `the link cannot be read: ${messageOf(outcome)}`);
    return IN_DOUBT;
  }

  /** Reads a file for each item, and tells of each what was read, which is good until the visit ends, or why it was not. */
  async #readEach<T>(items: readonly T[], { pathOf, maxBytes, visit }: Reading<T>): Promise<void> {
    const driver = this.#driver;
    const readNow = driver.readNow?.bind(driver);
    if (readNow !== undefined) {
      for (const item of items) visit(item, outcomeOf(() => readNow(pathOf(item), maxBytes)));
      return;
    }
    await mapConcurrently(items, READS_AT_ONCE, async (item) => {
      visit(item, await driver.getContent(pathOf(item), maxBytes).catch(asError));
      // A registry that collects while it serves answers requests between the reads of a store whose reads do not wait.
      if (++this.#reads % READS_PER_TURN === 0) await yieldToEventLoop();
    });
  }

  // Distribution stores what was pushed under another algorithm under its sha256 and leaves a link to it.
  async #reachAlias(digest: Digest): Promise<void> {
    await this.#readLinks([digest], {
      pathOf: (alias) => layerLink(this.name, alias),
      visit: (_, target) => {
        if (target !== undefined && isDigest(target)) this.reached.add(target);
      },
    });
  }
}

/** Stands for what a link holds that could not be read. */
const IN_DOUBT = "?";

/** Files to be read, one for each item. */
interface Reading<T> {
  readonly pathOf: (item: T) => string;
  readonly maxBytes: number;
  readonly visit: (item: T, outcome: Uint8Array | Error) => void;
}

function outcomeOf(read: () => Uint8Array): Uint8Array | Error {
  try {
    return read();
  } catch (error) {
    return asError(error);
  }
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

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** What the bytes of a manifest say; undefined when they are missing. */
function factsIn(outcome: Uint8Array | Error, digest: Digest): Facts | undefined {
  if (!(outcome instanceof Error)) return interpret(digest, outcome, blobData(digest));
  if (outcome instanceof PathNotFoundError) return undefined;
  return { ...NOTHING, doubt: { path: blobData(digest), problem: `the manifest cannot be read: ${messageOf(outcome)}` } };
}

function interpret(digest: Digest, bytes: Uint8Array, path: string): Facts {
  if (digestOf(bytes, algorithmOf(digest)) !== digest) return { ...NOTHING, doubt: { path, problem: "the manifest does not hash to its digest" } };
  try {
    return factsOf(parseStoredManifest(bytes));
  } catch (error) {
    const old = schema1Layers(bytes);
    if (old !== undefined) return { ...NOTHING, blobs: old };
    return { ...NOTHING, doubt: { path, problem: `the manifest cannot be understood: ${messageOf(error)}` } };
  }
}

function factsOf(manifest: Manifest): Facts {
  const subject = manifest.subject?.digest;
  if (manifest.kind === "image") return { blobs: referencesOf(manifest).map((item) => item.digest), children: [], subject };
  return { blobs: [], children: manifest.manifests.map((item) => ({ digest: item.digest, isManifest: isManifestMediaType(item.mediaType) })), subject };
}

/** Reads a link file; undefined when it is missing, empty when it is empty. */
export async function readLink(driver: StoreReader, path: string): Promise<string | undefined> {
  try {
    return linkText(await driver.getContent(path, MAX_LINK_BYTES));
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}

function linkText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** Stats a path; undefined when it is missing. */
export async function statOrUndefined(driver: StoreReader, path: string): Promise<FileInfo | undefined> {
  try {
    return await driver.stat(path);
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}

// Stores of old hold schema 1 manifests. They are not served any more, but what they need is kept while they are there.
function schema1Layers(bytes: Uint8Array): readonly Digest[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // Not JSON at all: the parser of manifests said so.
    return undefined;
  }
  const layers = (json as { schemaVersion?: unknown; fsLayers?: unknown } | null)?.fsLayers;
  if ((json as { schemaVersion?: unknown } | null)?.schemaVersion !== 1 || !Array.isArray(layers)) return undefined;
  const digests = layers.map((layer: unknown) => (layer as { blobSum?: unknown } | null)?.blobSum);
  return digests.every((digest): digest is Digest => typeof digest === "string" && isDigest(digest)) ? digests : undefined;
}

/** What is wrong, in words: the detail of an error of the registry, else the error's text. */
function messageOf(error: unknown): string {
  const detail = (error as { entries?: readonly { detail?: unknown }[] } | null)?.entries?.[0]?.detail;
  if (typeof detail === "string") return detail;
  return error instanceof Error ? error.message : String(error);
}
