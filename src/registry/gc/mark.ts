import { addAll } from "../../lib/add-all.ts";
import { yieldToEventLoop } from "../../lib/concurrently.ts";
import type { Digest } from "../../oci/digest.ts";
import type { RepositoryName, Tag } from "../../oci/name.ts";
import type { Doubt } from "./doubt.ts";
import { mapInOrder } from "./in-order.ts";
import type { StoreReader } from "./store-reader.ts";
import { type Closure, LocalWalker, type RepositoryMarks, type RepositoryTask, type StoreWalker, type UntaggedManifest, type WalkOptions } from "./walker.ts";

/** A manifest of a repository that no tag needs. */
export interface UntaggedRevision extends UntaggedManifest {
  readonly name: RepositoryName;
  /** Every tag of the repository. */
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

/** What one walk over all repositories found. */
export interface Marks {
  /** Blobs that something live needs, manifests among them. */
  readonly live: ReadonlySet<Digest>;
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
export interface MarkOptions extends WalkOptions {
  /**
   * The moment, in milliseconds since the epoch, before which a repository's manifest must have been linked to go when no tag needs it
   * (the tags of younger ones may be on the way); undefined where untagged manifests stay.
   */
  readonly untaggedBefore: (name: RepositoryName) => number | undefined;
  readonly listener: MarkListener | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Repositories that a thread is given at once: few enough that all threads have something to do. */
const MAX_REPOSITORIES_PER_JOB = 64;
const JOBS_AT_LEAST = 32;
const JOBS_AT_ONCE = 8;

type Growing<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer Item)[] ? Item[] : T[K] extends ReadonlySet<infer Item> ? Set<Item> : T[K] };

/** Finds everything that is live. One marker serves the several walks of one run. */
export class Marker {
  readonly #local: LocalWalker;
  readonly #walker: StoreWalker | undefined;
  /** What was found, together and repository by repository, until it was looked for again. */
  #first: { readonly marks: Marks; readonly found: readonly RepositoryMarks[] } | undefined;
  #walks = 0;

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
  async mark({ listener, ...how }: MarkOptions): Promise<Marks> {
    const tasks = await this.#tasks({ ...how, onlyChanges: false });
    const marks = noMarks();
    const all: RepositoryMarks[] = [];
    for await (const { path, found } of this.#walkAll(tasks, how.signal)) {
      if (found === undefined) throw new Error(`${path}: a walk over the repository found nothing at all`);
      all.push(found);
      merge(found, marks, listener);
      await yieldToEventLoop();
    }
    this.#first = { marks, found: all };
    return marks;
  }

  /** Walks all repositories once more. Of those in which nothing changed since `mark` counts what was found then, and only what was untagged then can be so. */
  async markAgain(how: Pick<MarkOptions, "untaggedBefore" | "signal">): Promise<Marks> {
    const first = this.#first;
    this.#first = undefined;
    const before = new Map(first?.found.map((found) => [found.name as string, found]));
    // What came since is in no list of what is to go: what it needs must not be in one either.
    const tasks = (await this.#tasks({ ...how, findStrayLayers: false, findFormerTags: false, onlyChanges: first !== undefined })).map((task): RepositoryTask => {
      const { path } = task.folder;
      return first === undefined ? task : { ...task, mayBeUntagged: before.get(path)?.untagged.map(({ digest }) => digest) ?? [] };
    });
    const all: RepositoryMarks[] = [];
    let isChanged = tasks.length !== before.size;
    for await (const { path, found } of this.#walkAll(tasks, how.signal)) {
      const known = found ?? before.get(path);
      if (known === undefined) throw new Error(`${path}: a walk over the repository says that it is as it was, and it was not there`);
      all.push(known);
      isChanged ||= found !== undefined;
      await yieldToEventLoop();
    }
    if (first !== undefined && !isChanged) return first.marks;
    const marks = noMarks();
    for (const found of all) {
      merge(found, marks, undefined);
      await yieldToEventLoop();
    }
    return marks;
  }

  /** See `LocalWalker.closure`. */
  async closure(name: RepositoryName, digests: Iterable<Digest>): Promise<Closure> {
    return await this.#local.closure(name, digests);
  }

  async #tasks({ untaggedBefore, onlyChanges, findStrayLayers, findFormerTags }: Omit<RepositoryTask, "folder" | "walk" | "untaggedBefore" | "mayBeUntagged"> & Pick<MarkOptions, "untaggedBefore">): Promise<readonly RepositoryTask[]> {
    const walk = ++this.#walks;
    return (await this.walker.folders()).map((folder) => ({ folder, walk, onlyChanges, findStrayLayers, findFormerTags, untaggedBefore: untaggedBefore(folder.path as RepositoryName) }));
  }

  async *#walkAll(tasks: readonly RepositoryTask[], signal: AbortSignal | undefined): AsyncGenerator<WalkedRepository> {
    // Threads get many at once; who shares this thread with requests begins one after the other.
    const size = this.#walker === undefined ? 1 : Math.max(1, Math.min(MAX_REPOSITORIES_PER_JOB, Math.ceil(tasks.length / JOBS_AT_LEAST)));
    const results = mapInOrder(inPieces(tasks, size), JOBS_AT_ONCE, async (job) => {
      signal?.throwIfAborted();
      const answers = await this.walker.walk(job);
      if (answers.length !== job.length) throw new Error(`a walk over ${job.length} repositories told of ${answers.length}`);
      return job.map(({ folder }, index): WalkedRepository => ({ path: folder.path, found: answers[index] }));
    });
    for await (const found of results) yield* found;
  }
}

/** What was found in a repository; undefined where all is as it was. */
interface WalkedRepository {
  readonly path: string;
  readonly found: RepositoryMarks | undefined;
}

function noMarks(): Growing<Marks> {
  return { live: new Set(), names: [], empty: [], untagged: [], danglingRevisions: [], danglingTags: [], linkless: [], strayLayers: [], doubts: [] };
}

/** Items in pieces of so many. */
export function inPieces<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
}

function merge(found: RepositoryMarks, marks: Growing<Marks>, listener: MarkListener | undefined): void {
  const { name } = found;
  marks.names.push(name);
  addAll(marks.doubts, found.doubts);
  addAll(marks.linkless, found.linkless.map((digest) => ({ name, digest })));
  addAll(marks.danglingRevisions, found.danglingRevisions.map((digest) => ({ name, digest })));
  addAll(marks.danglingTags, found.danglingTags.map((tag) => ({ name, ...tag })));
  if (found.strayLayers.length > 0) marks.strayLayers.push({ name, digests: found.strayLayers });
  if (found.isEmpty) {
    marks.empty.push(name);
    return;
  }
  listener?.repository(name);
  for (const manifest of found.untagged) marks.untagged.push({ name, ...manifest, tags: found.tags });
  for (const [index, digest] of found.live.entries()) {
    marks.live.add(digest);
    listener?.marked(name, found.kinds[index] === "m" ? "manifest" : "blob", digest);
  }
}
