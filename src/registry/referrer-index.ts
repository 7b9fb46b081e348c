import { mapConcurrently, yieldToEventLoop } from "../lib/concurrently.ts";
import { LruMap } from "../lib/lru.ts";
import { SingleFlight } from "../lib/single-flight.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, DIGEST_ALGORITHMS, hexOf, isDigest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { parseStoredManifest } from "../oci/manifest.ts";
import { isIndexMediaType } from "../oci/media-types.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import type { Logger } from "../telemetry/log.ts";
import { blobData, referrerLink, referrersIndexed, repositoryFolder, revisionLink, revisionsFolder, subjectFolder, tagCurrentLink } from "./layout.ts";
import type { LinkFiles } from "./link-files.ts";
import { childPagesIfAny } from "./list-children.ts";
import type { ManifestContents } from "./manifest-contents.ts";
import { ProvenReads, type Witness } from "./proven-reads.ts";
import type { Page, PageRequest, Referrers } from "./registry.ts";
import type { TagStore } from "./tag-store.ts";

const FACTS_MAX_ENTRIES = 50_000;
const FACTS_MAX_BYTES = 16 * 1024 * 1024;
/** What an entry costs beyond its annotations. */
const FACTS_OVERHEAD_BYTES = 512;
/** A page ends early when the annotations on it have so many characters; a manifest may hold as many by itself. */
const PAGE_MAX_CHARACTERS = 4 * 1024 * 1024;
/** How many candidates are looked at before other requests get their turn. */
const CANDIDATES_PER_TURN = 64;
/** Pages that are remembered, and what they take. */
const MAX_PAGES = 1000;
const MAX_PAGES_BYTES = 16 * 1024 * 1024;
/** What a descriptor on a page costs beyond its annotations, and its share of the proof. */
const ITEM_OVERHEAD_BYTES = 768;
/** Manifests read at once when a repository is looked through. */
const READS_AT_ONCE = 8;

/** What the index is made of. */
export interface ReferrerIndexParts {
  readonly driver: StorageDriver;
  readonly links: LinkFiles;
  readonly tags: TagStore;
  readonly contents: ManifestContents;
  readonly log: Logger;
}

/** What a manifest says of itself as a referrer; undefined for one that refers to nothing. */
type ReferrerFacts = { readonly subject: Digest; readonly descriptor: Descriptor } | undefined;

/** Which referrers are wanted. */
type ReferrersRequest = PageRequest & { readonly artifactType?: string };

/** Whose referrers are looked for, and in what. */
interface Place {
  readonly store: Witness;
  readonly name: RepositoryName;
  readonly subject: Digest;
}

/**
 * Which manifests refer to which others. A link is written with every manifest that has a subject; a repository that was there
 * before is looked through once, when somebody first asks. Lists that clients of distribution keep under tags are read along.
 * The index only says where to look: what is listed exists in the repository and names the subject. A page is used again for as long as
 * nothing that it was made of has changed, each manifest's link in the repository included, which distribution deletes alone.
 * @see OCI distribution-spec, "Listing Referrers", "Enabling the Referrers API"
 */
export class ReferrerIndex implements Referrers {
  readonly #driver: StorageDriver;
  readonly #links: LinkFiles;
  readonly #tags: TagStore;
  readonly #contents: ManifestContents;
  readonly #log: Logger;
  readonly #facts = new LruMap<Digest, { readonly facts: ReferrerFacts }>(FACTS_MAX_ENTRIES, FACTS_MAX_BYTES);
  readonly #scans = new SingleFlight<ReadonlyMap<Digest, readonly Digest[]>>();
  readonly #pages: ProvenReads<Page<Descriptor>>;

  constructor(parts: ReferrerIndexParts) {
    this.#driver = parts.driver;
    this.#pages = new ProvenReads(parts.driver, { maxResults: MAX_PAGES, maxWeight: MAX_PAGES_BYTES });
    this.#links = parts.links;
    this.#tags = parts.tags;
    this.#contents = parts.contents;
    this.#log = parts.log;
  }

  async list(name: RepositoryName, subject: Digest, page: ReferrersRequest): Promise<Page<Descriptor>> {
    if (page.limit === 0) return { items: [], more: false };
    const key = JSON.stringify([name, subject, page.limit, page.last, page.artifactType]);
    return this.#pages.peek(key) ?? (await this.#pages.read(key, (store) => this.#readPage({ store, name, subject }, page), weightOf));
  }

  async #readPage(place: Place, page: ReferrersRequest): Promise<Page<Descriptor>> {
    const { store, name } = place;
    const items: Descriptor[] = [];
    let characters = 0;
    for await (const digests of inTurns(this.#candidates(place, page.last))) {
      store.relyOnAll(commonFolder(name, digests), digests.map((digest) => revisionLink(name, digest)));
      for (const digest of digests) {
        const descriptor = await this.#describe(place, digest);
        if (descriptor === undefined || (page.artifactType !== undefined && descriptor.artifactType !== page.artifactType)) continue;
        characters += charactersOf(descriptor);
        if (items.length === page.limit || (items.length > 0 && characters > PAGE_MAX_CHARACTERS)) return { items, more: true };
        items.push(descriptor);
      }
    }
    return { items, more: false };
  }

  /** Notes durably that a manifest refers to another. */
  async add(name: RepositoryName, subject: Digest, referrer: Digest): Promise<void> {
    await this.#links.ensure(referrerLink(name, subject, referrer), referrer);
  }

  /** Forgets that a manifest refers to another. */
  async remove(name: RepositoryName, subject: Digest, referrer: Digest): Promise<void> {
    await this.#links.delete(referrerLink(name, subject, referrer));
  }

  /** Every digest that may be a referrer, sorted, each once, page by page. */
  async *#candidates(place: Place, last: string | undefined): AsyncGenerator<readonly Digest[]> {
    const unlinked = [...(await this.#unlinked(place)), ...(await this.#taggedList(place))];
    let others = [...new Set(unlinked)].filter((digest) => last === undefined || digest > last).sort();
    for await (const page of this.#linked(place, last)) {
      const end = page.at(-1);
      if (end === undefined) continue;
      yield [...new Set([...page, ...others.filter((digest) => digest <= end)])].sort();
      others = others.filter((digest) => digest > end);
    }
    yield others;
  }

  async *#linked({ store, name, subject }: Place, last: string | undefined): AsyncGenerator<readonly Digest[]> {
    const folder = subjectFolder(name, subject);
    store.relyOnAll(repositoryFolder(name), [folder]);
    if (!(await this.#exists(folder))) return;
    const algorithms = new Set<string>();
    for await (const entries of childPagesIfAny(store, folder)) for (const entry of entries) algorithms.add(entry.name);
    for (const algorithm of DIGEST_ALGORITHMS) {
      if (!algorithms.has(algorithm)) continue;
      const prefix = `${algorithm}:`;
      const isWithin = last?.startsWith(prefix) === true;
      if (last !== undefined && !isWithin && last > prefix) continue;
      const startAfter = isWithin ? last?.slice(prefix.length) : undefined;
      for await (const entries of childPagesIfAny(store, `${folder}/${algorithm}`, { startAfter })) {
        yield entries.map((entry) => `${prefix}${entry.name}`).filter(isDigest);
      }
    }
  }

  /** What clients that knew of no referrers API have written under the subject's tag. @see OCI distribution-spec, "Referrers Tag Schema" */
  async #taggedList({ store, name, subject }: Place): Promise<readonly Digest[]> {
    const tag = `${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}` as Tag;
    store.relyOnAll(repositoryFolder(name), [tagCurrentLink(name, tag)]);
    const digest = await this.#tags.find(name, tag);
    if (digest === undefined) return [];
    store.relyOn(revisionLink(name, digest));
    if (!(await this.#links.has(revisionLink(name, digest), digest))) return [];
    const stored = await this.#ifServable(() => this.#contents.load(digest));
    if (stored === undefined) store.relyOn(blobData(digest));
    if (stored === undefined || !isIndexMediaType(stored.mediaType)) return [];
    return parseStoredManifest(stored.bytes).manifests.map((child) => child.digest);
  }

  async #describe({ store, name, subject }: Place, digest: Digest): Promise<Descriptor | undefined> {
    if (!(await this.#links.has(revisionLink(name, digest), digest))) return undefined;
    const facts = await this.#factsOf(digest, store);
    return facts?.subject === subject ? facts.descriptor : undefined;
  }

  /** @param store Is told of bytes that are missing or damaged, and may be pushed again. */
  async #factsOf(digest: Digest, store?: Witness): Promise<ReferrerFacts> {
    const known = this.#facts.get(digest);
    if (known !== undefined) return known.facts;
    const stored = this.#contents.peek(digest) ?? (await this.#ifServable(() => this.#contents.read(digest)));
    if (stored === undefined) {
      store?.relyOn(blobData(digest));
      return undefined;
    }
    const { subject, artifactType, annotations } = parseStoredManifest(stored.bytes);
    const descriptor: Descriptor = {
      mediaType: stored.mediaType,
      digest,
      sizeBytes: stored.bytes.length,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(annotations === undefined ? {} : { annotations }),
    };
    const facts = subject === undefined ? undefined : { subject: subject.digest, descriptor };
    this.#facts.set(digest, { facts }, FACTS_OVERHEAD_BYTES + (facts === undefined ? 0 : stored.bytes.length));
    return facts;
  }

  /**
   * Referrers of a repository that have no link yet, and cannot be given one because the store cannot be written. Otherwise none:
   * the first call for a repository looks through all its manifests and writes the links.
   */
  async #unlinked({ store, name, subject }: Place): Promise<readonly Digest[]> {
    // Without an index nothing proves what is found by looking through everything.
    if (store.relyOn(referrersIndexed(name)) && (await this.#exists(referrersIndexed(name)))) return [];
    return (await this.#scans.run(name, () => this.#scan(name))).get(subject) ?? [];
  }

  async #exists(path: string): Promise<boolean> {
    try {
      await this.#driver.stat(path);
      return true;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
  }

  async #scan(name: RepositoryName): Promise<ReadonlyMap<Digest, readonly Digest[]>> {
    const found = new Map<Digest, Digest[]>();
    let manifests = 0;
    for await (const digests of this.#revisions(name)) {
      manifests += digests.length;
      await mapConcurrently(digests, READS_AT_ONCE, async (digest) => {
        const subject = (await this.#factsOf(digest))?.subject;
        if (subject === undefined) return;
        const referrers = found.get(subject);
        if (referrers === undefined) found.set(subject, [digest]);
        else referrers.push(digest);
      });
    }
    // Nobody makes folders by asking about repositories that do not exist.
    if (manifests > 0) await this.#writeIndex(name, found);
    return found;
  }

  async *#revisions(name: RepositoryName): AsyncGenerator<readonly Digest[]> {
    for (const algorithm of DIGEST_ALGORITHMS) {
      for await (const entries of childPagesIfAny(this.#driver, `${revisionsFolder(name)}/${algorithm}`)) {
        yield entries.map((entry) => `${algorithm}:${entry.name}`).filter(isDigest);
      }
    }
  }

  async #writeIndex(name: RepositoryName, found: ReadonlyMap<Digest, readonly Digest[]>): Promise<void> {
    try {
      for (const [subject, referrers] of found) {
        await mapConcurrently(referrers, READS_AT_ONCE, (referrer) => this.add(name, subject, referrer));
      }
      await this.#driver.putContent(referrersIndexed(name), "");
    } catch (error) {
      // A store that is mounted read-only, or full, still answers: by looking through the repository every time.
      this.#log.warn("referrer index could not be written", { "vars.name": name, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }

  // A damaged manifest was logged where it was read, and one that is not served cannot refer to anything.
  async #ifServable<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof RegistryError) return undefined;
      throw error;
    }
  }
}

/** Cuts lists into pieces, and lets other requests have their turn between them. */
async function* inTurns(lists: AsyncIterable<readonly Digest[]>): AsyncGenerator<readonly Digest[]> {
  for await (const list of lists) {
    for (let start = 0; start < list.length; start += CANDIDATES_PER_TURN) {
      yield list.slice(start, start + CANDIDATES_PER_TURN);
      await yieldToEventLoop();
    }
  }
}

/** The folder that the links of manifests have in common. */
function commonFolder(name: RepositoryName, digests: readonly Digest[]): string {
  const [algorithm, other] = new Set(digests.map(algorithmOf));
  return algorithm === undefined || other !== undefined ? revisionsFolder(name) : `${revisionsFolder(name)}/${algorithm}`;
}

function weightOf({ items }: Page<Descriptor>): number {
  return items.reduce((bytes, descriptor) => bytes + ITEM_OVERHEAD_BYTES + charactersOf(descriptor), ITEM_OVERHEAD_BYTES);
}

/** How long the parts of a descriptor are that may be of any length. */
function charactersOf({ artifactType = "", annotations = {} }: Descriptor): number {
  let characters = artifactType.length;
  for (const [key, value] of Object.entries(annotations)) characters += key.length + value.length;
  return characters;
}
