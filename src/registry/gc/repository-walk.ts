import { addAll } from "../../lib/add-all.ts";
import { mapConcurrently, yieldToEventLoop } from "../../lib/concurrently.ts";
import { algorithmOf, type Digest, isDigest } from "../../oci/digest.ts";
import { MAX_MANIFEST_BYTES } from "../../oci/manifest.ts";
import type { RepositoryName, Tag } from "../../oci/name.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { blobData, layerLink, revisionLink, tagCurrentLink, tagIndexFolder } from "../layout.ts";
import { type Doubt, messageOf } from "./doubt.ts";
import { layersOf, linkedDigests, revisionsOf, tagsOf } from "./inventory.ts";
import { type Facts, factsIn } from "./manifest-facts.ts";
import { linkText, MAX_LINK_BYTES, statOrUndefined, type StoreReader } from "./store-reader.ts";

/** Files of one repository that are read at once. */
const READS_AT_ONCE = 64;
const READS_PER_TURN = 64;

/** Finds out what one repository holds, and follows references within it. */
export class RepositoryWalk {
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
  #hasMissed = false;

  constructor(driver: StoreReader, name: RepositoryName, known: { readonly facts: Map<Digest, Facts>; readonly held: ReadonlySet<Digest> | undefined }) {
    this.#driver = driver;
    this.name = name;
    this.#facts = known.facts;
    this.#held = known.held;
  }

  /** Whether all that was looked for is there: then it is known by its digests, and what they need never changes. */
  get isWhole(): boolean {
    return !this.#hasMissed && [this.doubts, this.linkless, this.danglingRevisions, this.danglingTags].every((problems) => problems.length === 0);
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
  async linkedSince(moment: number): Promise<ReadonlySet<Digest>> {
    if (moment === Number.POSITIVE_INFINITY) return new Set();
    const ages = await mapConcurrently(this.revisions, READS_AT_ONCE, async (digest) => {
      const info = await statOrUndefined(this.#driver, revisionLink(this.name, digest));
      return info !== undefined && info.modifiedAt.getTime() >= moment ? digest : undefined;
    });
    return new Set(ages.filter((digest) => digest !== undefined));
  }

  /** Marks manifests and everything that they need. */
  async reach(roots: Iterable<Digest>): Promise<void> {
    for (const root of roots) {
      const waiting = [root];
      for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
        // What was reached as a plain blob may turn out to be the child of an index.
        if (this.reached.has(digest) && (this.manifests.has(digest) || !this.#loaded.has(digest))) continue;
        this.reached.add(digest);
        const facts = this.#loaded.has(digest) ? this.#facts.get(digest) : undefined;
        if (facts === undefined) {
          if (algorithmOf(digest) !== "sha256") addAll(waiting, await this.#aliasesOf(digest));
          continue;
        }
        this.manifests.add(digest);
        for (const blob of facts.blobs) waiting.push(blob);
        if (facts.children.length === 0) continue;
        // Also without a link of its own: the index shows that it is one of this repository's.
        await this.load(facts.children.filter((child) => child.isManifest && !this.manifests.has(child.digest)).map((child) => child.digest));
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

  /** What a manifest of the repository refers to. */
  subjectOf(digest: Digest): Digest | undefined {
    return this.#facts.get(digest)?.subject;
  }

  /** For each of these manifests the tags that it once had. */
  async formerTagsOf(manifests: readonly Digest[]): Promise<ReadonlyMap<Digest, readonly Tag[]>> {
    const tagsByDigest = new Map<Digest, Tag[]>(manifests.map((digest) => [digest, []]));
    if (manifests.length === 0) return tagsByDigest;
    const histories = await mapConcurrently(this.tags, READS_AT_ONCE, async (tag) => {
      const former = await linkedDigests(this.#driver, tagIndexFolder(this.name, tag));
      return { tag, digests: former.filter((digest) => tagsByDigest.has(digest)) };
    });
    for (const { tag, digests } of histories) for (const digest of digests) tagsByDigest.get(digest)?.push(tag);
    return tagsByDigest;
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
      if (facts === undefined) this.#hasMissed = true;
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
  async #aliasesOf(digest: Digest): Promise<readonly Digest[]> {
    const targets: Digest[] = [];
    // Not known by its digest: the link may come, or change.
    this.#hasMissed = true;
    await this.#readLinks([digest], {
      pathOf: (alias) => layerLink(this.name, alias),
      visit: (_, target) => {
        if (target !== undefined && isDigest(target)) targets.push(target);
      },
    });
    return targets;
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

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
