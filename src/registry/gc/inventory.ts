import { type Digest, DIGEST_ALGORITHMS, isDigest, makeDigest } from "../../oci/digest.ts";
import { isName, isTag, type RepositoryName, type Tag } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { listAll } from "../../storage/walk.ts";
import { BLOBS, layersFolder, REPOSITORIES, revisionsFolder, subjectFolder, referrersFolder, tagsFolder } from "../layout.ts";

/** The names of the children of a folder; none when it is missing. */
export async function childNames(driver: StorageDriver, path: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of listAll(driver, path)) names.push(entry.name);
  } catch (error) {
    if (!(error instanceof PathNotFoundError)) throw error;
  }
  return names;
}

/** Every folder that is a repository: one that holds a folder beginning with an underscore, also when nothing else is left of it. */
export async function* repositoryNames(driver: StorageDriver, below = ""): AsyncGenerator<RepositoryName> {
  const children = await childNames(driver, below === "" ? REPOSITORIES : `${REPOSITORIES}/${below}`);
  if (children.some((child) => child.startsWith("_")) && isName(below)) yield below;
  for (const child of children) {
    if (!child.startsWith("_")) yield* repositoryNames(driver, below === "" ? child : `${below}/${child}`);
  }
}

/** The digests of the folders `<alg>/<hex>` below a folder, whether their links are there or not. */
export async function linkedDigests(driver: StorageDriver, folder: string): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (const algorithm of DIGEST_ALGORITHMS) {
    for (const hex of await childNames(driver, `${folder}/${algorithm}`)) {
      const digest = makeDigest(algorithm, hex);
      if (isDigest(digest)) digests.push(digest);
    }
  }
  return digests;
}

/** The manifests that a repository has folders for. */
export async function revisionsOf(driver: StorageDriver, name: RepositoryName): Promise<Digest[]> {
  return await linkedDigests(driver, revisionsFolder(name));
}

/** The blobs that a repository has folders for. */
export async function layersOf(driver: StorageDriver, name: RepositoryName): Promise<Digest[]> {
  return await linkedDigests(driver, layersFolder(name));
}

/** The tags that a repository has folders for. */
export async function tagsOf(driver: StorageDriver, name: RepositoryName): Promise<Tag[]> {
  return (await childNames(driver, tagsFolder(name))).filter(isTag);
}

/** The links of a repository's referrer index. */
export async function referrerPairs(driver: StorageDriver, name: RepositoryName): Promise<{ readonly subject: Digest; readonly referrer: Digest }[]> {
  const pairs: { subject: Digest; referrer: Digest }[] = [];
  for (const subject of await linkedDigests(driver, referrersFolder(name))) {
    for (const referrer of await linkedDigests(driver, subjectFolder(name, subject))) pairs.push({ subject, referrer });
  }
  return pairs;
}

/** Every blob of the store. */
export async function* storedBlobs(driver: StorageDriver): AsyncGenerator<Digest> {
  for (const algorithm of DIGEST_ALGORITHMS) {
    for (const shard of await childNames(driver, `${BLOBS}/${algorithm}`)) {
      for (const hex of await childNames(driver, `${BLOBS}/${algorithm}/${shard}`)) {
        const digest = makeDigest(algorithm, hex);
        if (isDigest(digest) && hex.startsWith(shard)) yield digest;
      }
    }
  }
}
