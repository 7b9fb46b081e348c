import { mapConcurrently } from "../lib/concurrently.ts";
import { KeyedLock } from "../lib/keyed-lock.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { isTag, type RepositoryName, type Tag } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { deleteTagIf } from "./gc/delete-tag.ts";
import { statOrUndefined } from "./gc/store-reader.ts";
import { tagCurrentLink, tagFolder, tagIndexLink, tagsFolder } from "./layout.ts";
import type { LinkFiles } from "./link-files.ts";
import { childPages } from "./list-children.ts";
import { ProvenReads, type Witness } from "./proven-reads.ts";
import type { Page, PageRequest, Tags } from "./registry.ts";

/** Children of the tags' folder asked for at once where all are wanted: every call to an object store would begin anew. */
const ALL = 100_000;
/** Pages that are remembered, and the tags on them: some 20 MiB. */
const MAX_PAGES = 10_000;
const MAX_PAGE_TAGS = 200_000;

/** How tags are treated. */
export interface TagStoreOptions {
  readonly deleteEnabled: boolean;
  /** How many tags are looked up at once where all of a repository must be. */
  readonly concurrency: number;
}

/** The tags of repositories. Every lookup asks the store: a tag is never stale, whoever moved it. */
export class TagStore implements Tags {
  readonly #driver: StorageDriver;
  readonly #links: LinkFiles;
  readonly #options: TagStoreOptions;
  /** By tag: that a tag which was moved on is not removed with what it pointed to before. */
  readonly #locks = new KeyedLock();
  readonly #pages: ProvenReads<Page<string>>;

  constructor(driver: StorageDriver, links: LinkFiles, options: TagStoreOptions) {
    this.#driver = driver;
    this.#pages = new ProvenReads(driver, { maxResults: MAX_PAGES, maxWeight: MAX_PAGE_TAGS });
    this.#links = links;
    this.#options = options;
  }

  // As in distribution a tag's folder is enough to be listed: looking into each would make the list many times dearer.
  async list(name: RepositoryName, page: PageRequest): Promise<Page<string>> {
    if (page.limit === 0) return { items: [], more: false };
    const key = `${name} ${page.limit ?? ""} ${page.last ?? ""}`;
    return this.#pages.peek(key) ?? (await this.#pages.read(key, (store) => this.#readPage(store, name, page), ({ items }) => items.length + 1));
  }

  async #readPage(store: Witness, name: RepositoryName, page: PageRequest): Promise<Page<string>> {
    const items: string[] = [];
    try {
      // One more than wanted tells whether the list goes on.
      const pageSize = page.limit === undefined ? ALL : page.limit + 1;
      for await (const entries of childPages(store, tagsFolder(name), { startAfter: page.last, pageSize })) {
        for (const entry of entries) {
          if (!entry.isDirectory || !isTag(entry.name)) continue;
          if (items.length === page.limit) return { items, more: true };
          items.push(entry.name);
        }
      }
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
      throw new RegistryError("NAME_UNKNOWN", { detail: { name }, cause: error });
    }
    return { items, more: false };
  }

  async resolve(name: RepositoryName, tag: Tag): Promise<Digest> {
    const digest = await this.find(name, tag);
    if (digest === undefined) throw unknownTag(tag);
    return digest;
  }

  async delete(name: RepositoryName, tag: Tag): Promise<void> {
    if (!this.#options.deleteEnabled) throw new RegistryError("UNSUPPORTED");
    if (!(await this.#remove(name, tag))) throw unknownTag(tag);
  }

  /** The digest that a tag points to; undefined when it points to none. */
  async find(name: RepositoryName, tag: Tag): Promise<Digest | undefined> {
    return await this.#links.read(tagCurrentLink(name, tag));
  }

  /** Notes durably that tags are about to point to a manifest; the collector keeps what a tag ever pointed to until it is told not to. */
  async announce(name: RepositoryName, tags: readonly Tag[], digest: Digest): Promise<void> {
    await mapConcurrently(tags, this.#options.concurrency, (tag) => this.#links.ensure(tagIndexLink(name, tag, digest), digest));
  }

  /** Points tags to a manifest, durably. The manifest and its link are durable already. */
  async point(name: RepositoryName, tags: readonly Tag[], digest: Digest): Promise<void> {
    await mapConcurrently(tags, this.#options.concurrency, async (tag) => {
      using _lock = await this.#locks.take(tagFolder(name, tag));
      await this.#links.write(tagCurrentLink(name, tag), digest);
    });
  }

  /** Removes every tag that points to a manifest. @returns Those tags, sorted. */
  async removeAll(name: RepositoryName, digest: Digest): Promise<readonly Tag[]> {
    const removed: Tag[] = [];
    await mapConcurrently(await this.tagsOf(name, digest), this.#options.concurrency, async (tag) => {
      using _lock = await this.#locks.take(tagFolder(name, tag));
      // Another process may just move it.
      if (!(await deleteTagIf(this.#driver, { name, tag, isDoomed: ({ target }) => target === digest }))) return;
      removed.push(tag);
      await this.#removeRest(name, tag);
    });
    return removed.sort();
  }

  /** Every tag that points to a manifest, sorted. */
  async tagsOf(name: RepositoryName, digest: Digest): Promise<readonly Tag[]> {
    const found: Tag[] = [];
    try {
      const { items } = await this.list(name, {});
      await mapConcurrently(items.filter(isTag), this.#options.concurrency, async (tag) => {
        if ((await this.find(name, tag)) === digest) found.push(tag);
      });
    } catch (error) {
      if (!(error instanceof RegistryError && error.code === "NAME_UNKNOWN")) throw error;
    }
    return found.sort();
  }

  // Others may have left something in the folder, by which the tag would still be listed.
  async #removeRest(name: RepositoryName, tag: Tag): Promise<void> {
    const isLeft = (await statOrUndefined(this.#driver, tagFolder(name, tag))) !== undefined;
    if (isLeft && (await statOrUndefined(this.#driver, tagCurrentLink(name, tag))) === undefined) await this.#remove(name, tag);
  }

  async #remove(name: RepositoryName, tag: Tag): Promise<boolean> {
    try {
      await this.#driver.delete(tagFolder(name, tag));
      return true;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
  }
}

/** What is said of a tag that points to nothing. */
export function unknownTag(tag: Tag): RegistryError {
  return new RegistryError("MANIFEST_UNKNOWN", { detail: `unknown tag=${tag}` });
}
