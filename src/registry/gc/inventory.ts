import { mapConcurrently } from "../../lib/concurrently.ts";
import { type Digest, DIGEST_ALGORITHMS, type DigestAlgorithm, makeDigest } from "../../oci/digest.ts";
import { isName, isTag, type RepositoryName, type Tag } from "../../oci/name.ts";
import type { DirectoryEntry, StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { BLOBS, layersFolder, REPOSITORIES, revisionsFolder, subjectFolder, referrersFolder, tagsFolder } from "../layout.ts";

/** What folders are listed by. */
export interface Lister extends Pick<StorageDriver, "list"> {
  /** The names of all children in order, where they can be had alone and at once. */
  namesNow?(path: string): readonly string[];
}

/** How many listings are under way at once: a store over a network answers each after some milliseconds. */
const LISTINGS_AT_ONCE = 16;

/** A listing ended before it was complete: what it did not show is not known to be absent. */
export class ListingEndedError extends Error {
  constructor(path: string, cause: unknown) {
    super(`${path}: the listing ended early: the folder went away while it was read`, { cause });
    this.name = "ListingEndedError";
  }
}

/** The children of a folder; none when it is missing. @throws ListingEndedError when it goes away half-way */
export async function childrenOf(driver: Lister, path: string): Promise<readonly DirectoryEntry[]> {
  const all: DirectoryEntry[] = [];
  let startAfter: string | undefined;
  for (;;) {
    try {
      const page = await driver.list(path, startAfter === undefined ? {} : { startAfter });
      if (startAfter === undefined && page.next === undefined) return page.entries;
      for (const entry of page.entries) all.push(entry);
      if (page.next === undefined) return all;
      startAfter = page.next;
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
      if (startAfter !== undefined) throw new ListingEndedError(path, error);
      return [];
    }
  }
}

/** The names of the children of a folder; none when it is missing. @throws ListingEndedError */
export async function childNames(driver: Lister, path: string): Promise<readonly string[]> {
  if (driver.namesNow === undefined) return (await childrenOf(driver, path)).map((entry) => entry.name);
  try {
    return driver.namesNow(path);
  } catch (error) {
    if (error instanceof PathNotFoundError) return [];
    throw error;
  }
}

/** A folder below that of the repositories which holds what repositories hold. */
export interface RepositoryFolder {
  /** Its path below the folder of all repositories: a repository's name where `isName` says so. */
  readonly path: string;
  /** The folders in it that begin with an underscore. */
  readonly parts: readonly string[];
}

/** Every folder that holds one beginning with an underscore, in component order, whether or not its path can be a repository's name. */
export async function repositoryFolders(driver: Lister): Promise<RepositoryFolder[]> {
  const found: RepositoryFolder[] = [];
  for (let level: readonly string[] = [""]; level.length > 0; ) {
    const below: string[] = [];
    await mapConcurrently(level, LISTINGS_AT_ONCE, async (path) => {
      const folders = (await childrenOf(driver, path === "" ? REPOSITORIES : `${REPOSITORIES}/${path}`)).filter((entry) => entry.isDirectory);
      const parts = folders.filter(({ name }) => name.startsWith("_")).map(({ name }) => name);
      if (parts.length > 0 && path !== "") found.push({ path, parts });
      for (const { name } of folders) if (!name.startsWith("_")) below.push(path === "" ? name : `${path}/${name}`);
    });
    level = below;
  }
  return found.sort((a, b) => (componentOrder(a.path) < componentOrder(b.path) ? -1 : 1));
}

// As a separator a character below all others makes the order of texts the order of components.
function componentOrder(path: string): string {
  return path.replaceAll("/", "\0");
}

/** Every folder that is a repository: one that holds a folder beginning with an underscore, also when nothing else is left of it. */
export async function* repositoryNames(driver: Lister): AsyncGenerator<RepositoryName> {
  for (const { path } of await repositoryFolders(driver)) if (isName(path)) yield path;
}

/** The digests of the folders `<alg>/<hex>` below a folder, whether their links are there or not. */
export async function linkedDigests(driver: Lister, folder: string): Promise<Digest[]> {
  const digests: Digest[] = [];
  // Most folders know one algorithm: asking which there are saves asking for those that are not.
  const algorithms = await childNames(driver, folder);
  for (const algorithm of DIGEST_ALGORITHMS) {
    if (!algorithms.includes(algorithm)) continue;
    for (const name of await childNames(driver, `${folder}/${algorithm}`)) {
      if (isHexOf(algorithm, name)) digests.push(makeDigest(algorithm, name));
    }
  }
  return digests;
}

/** The manifests that a repository has folders for. */
export async function revisionsOf(driver: Lister, name: RepositoryName): Promise<Digest[]> {
  return await linkedDigests(driver, revisionsFolder(name));
}

/** The blobs that a repository has folders for. */
export async function layersOf(driver: Lister, name: RepositoryName): Promise<Digest[]> {
  return await linkedDigests(driver, layersFolder(name));
}

/** The tags that a repository has folders for. */
export async function tagsOf(driver: Lister, name: RepositoryName): Promise<Tag[]> {
  return (await childrenOf(driver, tagsFolder(name))).filter((entry) => entry.isDirectory).map((entry) => entry.name).filter(isTag);
}

/** The links of a repository's referrer index. */
export async function referrerPairs(driver: Lister, name: RepositoryName): Promise<{ readonly subject: Digest; readonly referrer: Digest }[]> {
  const pairs: { subject: Digest; referrer: Digest }[] = [];
  for (const subject of await linkedDigests(driver, referrersFolder(name))) {
    for (const referrer of await linkedDigests(driver, subjectFolder(name, subject))) pairs.push({ subject, referrer });
  }
  return pairs;
}

/** A folder that holds the folders of blobs whose digests begin alike. */
export interface BlobShard {
  readonly algorithm: DigestAlgorithm;
  readonly prefix: string;
}

/** Every blob that the store has a folder for, in order of algorithms and then of hex. */
export async function* storedBlobs(driver: Lister): AsyncGenerator<Digest> {
  const shards = await blobShards(driver);
  for (let start = 0; start < shards.length; start += LISTINGS_AT_ONCE) {
    const lists = await mapConcurrently(shards.slice(start, start + LISTINGS_AT_ONCE), LISTINGS_AT_ONCE, (shard) => blobsInShard(driver, shard));
    for (const digests of lists) yield* digests;
  }
}

/** The folders in which the folders of blobs are. */
export async function blobShards(driver: Lister): Promise<readonly BlobShard[]> {
  const algorithms = await childNames(driver, BLOBS);
  const shards: BlobShard[] = [];
  for (const algorithm of DIGEST_ALGORITHMS) {
    if (!algorithms.includes(algorithm)) continue;
    for (const prefix of await childNames(driver, `${BLOBS}/${algorithm}`)) shards.push({ algorithm, prefix });
  }
  return shards;
}

/** The blobs in one of these folders. */
export async function blobsInShard(driver: Lister, { algorithm, prefix }: BlobShard): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (const name of await childNames(driver, `${BLOBS}/${algorithm}/${prefix}`)) {
    if (isHexOf(algorithm, name) && name.startsWith(prefix)) digests.push(makeDigest(algorithm, name));
  }
  return digests;
}

const HEX: Readonly<Record<DigestAlgorithm, RegExp>> = { sha256: /^[0-9a-f]{64}$/, sha384: /^[0-9a-f]{96}$/, sha512: /^[0-9a-f]{128}$/ };

function isHexOf(algorithm: DigestAlgorithm, name: string): boolean {
  return HEX[algorithm].test(name);
}
