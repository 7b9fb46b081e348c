import { type Digest, digestOf, algorithmOf, isDigest } from "../../oci/digest.ts";
import { parseStoredManifest, referencesOf } from "../../oci/manifest.ts";
import type { RepositoryName, Tag } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { blobData, layerLink, revisionLink, tagCurrentLink } from "../layout.ts";
import { layersOf, repositoryNames, revisionsOf, tagsOf } from "./inventory.ts";

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

/** What is told of a walk while it goes on. */
export interface MarkListener {
  repository(name: RepositoryName): void;
  marked(name: RepositoryName, kind: "manifest" | "blob", digest: Digest): void;
}

/** What a manifest needs and says; kept between walks, as a digest's content never changes. */
interface Facts {
  readonly references: readonly Digest[];
  readonly subject: Digest | undefined;
}

/** What one walk over all repositories found. */
export interface Marks {
  /** Blobs that something live needs, manifests among them. */
  readonly live: Set<Digest>;
  /** Where untagged manifests do not stay: what may go. */
  readonly untagged: readonly UntaggedRevision[];
  /** Tags and revisions that point to nothing, by the path of their link. */
  readonly dangling: readonly string[];
  readonly doubts: readonly Doubt[];
}

/** How to mark. */
export interface MarkOptions {
  /**
   * The moment, in milliseconds since the epoch, before which a repository's manifest must have been linked to go when no tag needs it
   * (the tags of younger ones may be on the way); undefined where untagged manifests stay.
   */
  readonly untaggedBefore: (name: RepositoryName) => number | undefined;
  readonly listener: MarkListener | undefined;
  readonly signal: AbortSignal | undefined;
}

const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

/** Finds everything that is live. One marker serves the several walks of one run and remembers the manifests that it read. */
export class Marker {
  readonly #driver: StorageDriver;
  readonly #facts = new Map<Digest, Facts>();

  constructor(driver: StorageDriver) {
    this.#driver = driver;
  }

  /** Walks all repositories. Rejects when the store cannot be read: nothing may be deleted then. */
  async mark(options: MarkOptions): Promise<Marks> {
    const marks = { live: new Set<Digest>(), untagged: [] as UntaggedRevision[], dangling: [] as string[], doubts: [] as Doubt[] };
    for await (const name of repositoryNames(this.#driver)) {
      options.signal?.throwIfAborted();
      await this.#markRepository(name, marks, options);
    }
    return marks;
  }

  /** Everything that a manifest needs, itself included; for what was rescued at the last moment. */
  async closure(name: RepositoryName, digest: Digest): Promise<ReadonlySet<Digest>> {
    const walk = new RepositoryWalk(this.#driver, name, { facts: this.#facts, doubts: [] });
    await walk.reach(digest);
    return walk.reached;
  }

  async #markRepository(name: RepositoryName, marks: { live: Set<Digest>; untagged: UntaggedRevision[]; dangling: string[]; doubts: Doubt[] }, options: MarkOptions): Promise<void> {
    const walk = new RepositoryWalk(this.#driver, name, { facts: this.#facts, doubts: marks.doubts });
    const doubtsBefore = marks.doubts.length;
    const revisions = await this.#revisions(name, walk, marks);
    const inDoubt = (): boolean => marks.doubts.length > doubtsBefore;
    if (revisions.length === 0 && !inDoubt() && (await tagsOf(this.#driver, name)).length === 0) return;
    options.listener?.repository(name);
    const tags = await this.#tags(name, new Set(revisions), { walk, dangling: marks.dangling });
    const untaggedBefore = options.untaggedBefore(name);
    const untaggedRoots = untaggedBefore === undefined ? revisions : await this.#young(name, revisions, untaggedBefore);
    for (const root of [...untaggedRoots, ...tags.targets]) await walk.reach(root);
    await walk.reachReferrers(revisions);
    // Where anything is in doubt nothing of the repository may go.
    if (inDoubt()) await walk.reachAll(revisions);
    for (const revision of revisions) {
      if (!walk.reached.has(revision)) marks.untagged.push({ name, digest: revision, tags: tags.all });
    }
    for (const digest of walk.reached) {
      marks.live.add(digest);
      options.listener?.marked(name, walk.manifests.has(digest) ? "manifest" : "blob", digest);
    }
  }

  // Manifests that the repository holds: a link that says so, and bytes.
  async #revisions(name: RepositoryName, walk: RepositoryWalk, marks: { dangling: string[] }): Promise<Digest[]> {
    const found: Digest[] = [];
    for (const digest of await revisionsOf(this.#driver, name)) {
      const path = revisionLink(name, digest);
      const target = await readLink(this.#driver, path);
      if (target === undefined) continue;
      if (target !== digest) walk.doubt(path, target === "" ? "the link is empty" : "the link does not hold the digest that its path names");
      else if (await walk.load(digest)) found.push(digest);
      else marks.dangling.push(path);
    }
    return found;
  }

  async #tags(name: RepositoryName, revisions: ReadonlySet<Digest>, to: { readonly walk: RepositoryWalk; readonly dangling: string[] }): Promise<{ readonly all: readonly Tag[]; readonly targets: readonly Digest[] }> {
    const all = await tagsOf(this.#driver, name);
    const targets: Digest[] = [];
    for (const tag of all) {
      const path = tagCurrentLink(name, tag);
      const target = await readLink(this.#driver, path);
      // A tag folder without a current link is what an interrupted push or deletion leaves: it points to nothing.
      if (target === undefined) continue;
      if (!isDigest(target)) to.walk.doubt(path, target === "" ? "the link is empty" : "the link does not hold a digest");
      else if (revisions.has(target)) targets.push(target);
      else if (!(await to.walk.load(target))) to.dangling.push(path);
    }
    return { all, targets };
  }

  async #young(name: RepositoryName, revisions: readonly Digest[], since: number): Promise<Digest[]> {
    const young: Digest[] = [];
    for (const digest of revisions) {
      const info = await statOrUndefined(this.#driver, revisionLink(name, digest));
      if (info !== undefined && info.modifiedAt.getTime() >= since) young.push(digest);
    }
    return young;
  }
}

/** Follows references within one repository. */
class RepositoryWalk {
  readonly reached = new Set<Digest>();
  readonly manifests = new Set<Digest>();
  readonly #driver: StorageDriver;
  readonly #name: RepositoryName;
  readonly #facts: Map<Digest, Facts>;
  readonly #doubts: Doubt[];

  constructor(driver: StorageDriver, name: RepositoryName, memory: { readonly facts: Map<Digest, Facts>; readonly doubts: Doubt[] }) {
    this.#driver = driver;
    this.#name = name;
    this.#facts = memory.facts;
    this.#doubts = memory.doubts;
  }

  doubt(path: string, problem: string): void {
    this.#doubts.push({ path, problem });
  }

  /** Marks a manifest and everything that it needs. */
  async reach(root: Digest): Promise<void> {
    const waiting = [root];
    for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
      if (this.reached.has(digest)) continue;
      this.reached.add(digest);
      if (digest !== root && !this.#facts.has(digest) && !(await this.#isRevision(digest))) {
        await this.#reachAlias(digest);
        continue;
      }
      if (!(await this.load(digest))) continue;
      this.manifests.add(digest);
      waiting.push(...(this.#facts.get(digest)?.references ?? []));
    }
  }

  /** Marks the manifests that refer to what is marked, and what they need, until nothing is added. */
  async reachReferrers(revisions: readonly Digest[]): Promise<void> {
    for (let grown = true; grown; ) {
      grown = false;
      for (const digest of revisions) {
        const subject = this.#facts.get(digest)?.subject;
        if (subject === undefined || this.reached.has(digest) || !this.reached.has(subject)) continue;
        await this.reach(digest);
        grown = true;
      }
    }
  }

  /** Marks all that the repository holds, manifests and linked blobs. */
  async reachAll(revisions: readonly Digest[]): Promise<void> {
    for (const digest of revisions) await this.reach(digest);
    for (const digest of await layersOf(this.#driver, this.#name)) {
      this.reached.add(digest);
      await this.#reachAlias(digest);
    }
    for (const digest of await revisionsOf(this.#driver, this.#name)) this.reached.add(digest);
  }

  /**
   * Reads a manifest unless that was done before.
   * @returns False when its bytes are missing.
   */
  async load(digest: Digest): Promise<boolean> {
    if (this.#facts.has(digest)) return true;
    const path = blobData(digest);
    let bytes: Uint8Array;
    try {
      bytes = await this.#driver.getContent(path, MAX_MANIFEST_BYTES);
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
    this.#facts.set(digest, this.#interpret(digest, bytes, path));
    return true;
  }

  #interpret(digest: Digest, bytes: Uint8Array, path: string): Facts {
    if (digestOf(bytes, algorithmOf(digest)) !== digest) {
      this.doubt(path, "the manifest does not hash to its digest");
      return { references: [], subject: undefined };
    }
    const old = schema1Layers(bytes);
    if (old !== undefined) return { references: old, subject: undefined };
    try {
      const manifest = parseStoredManifest(bytes);
      return { references: referencesOf(manifest).map((item) => item.digest), subject: manifest.subject?.digest };
    } catch (error) {
      this.doubt(path, `the manifest cannot be understood: ${error instanceof Error ? detailOf(error) : String(error)}`);
      return { references: [], subject: undefined };
    }
  }

  async #isRevision(digest: Digest): Promise<boolean> {
    return (await statOrUndefined(this.#driver, revisionLink(this.#name, digest))) !== undefined;
  }

  // Distribution stores what was pushed under another algorithm under its sha256 and leaves a link to it.
  async #reachAlias(digest: Digest): Promise<void> {
    if (algorithmOf(digest) === "sha256") return;
    const target = await readLink(this.#driver, layerLink(this.#name, digest));
    if (target !== undefined && isDigest(target)) this.reached.add(target);
  }
}

/** Reads a link file; undefined when it is missing, empty when it is empty. */
export async function readLink(driver: StorageDriver, path: string): Promise<string | undefined> {
  try {
    return new TextDecoder().decode(await driver.getContent(path, 1024));
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined;
    throw error;
  }
}

/** Stats a path; undefined when it is missing. */
export async function statOrUndefined(driver: StorageDriver, path: string): Promise<Awaited<ReturnType<StorageDriver["stat"]>> | undefined> {
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
    // Not JSON at all: the parser of manifests says so, with the path.
    return undefined;
  }
  const layers = (json as { schemaVersion?: unknown; fsLayers?: unknown } | null)?.fsLayers;
  if ((json as { schemaVersion?: unknown } | null)?.schemaVersion !== 1 || !Array.isArray(layers)) return undefined;
  const digests = layers.map((layer: unknown) => (layer as { blobSum?: unknown } | null)?.blobSum);
  return digests.every((digest): digest is Digest => typeof digest === "string" && isDigest(digest)) ? digests : undefined;
}

function detailOf(error: Error): string {
  const detail = (error as { entries?: readonly { detail?: unknown }[] }).entries?.[0]?.detail;
  return typeof detail === "string" ? detail : error.message;
}
