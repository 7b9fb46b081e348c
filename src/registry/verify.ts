import { release } from "../lib/release.ts";
import { algorithmOf, type Digest, isDigest, makeDigest } from "../oci/digest.ts";
import { type Manifest, MAX_MANIFEST_BYTES, parseStoredManifest, referencesOf } from "../oci/manifest.ts";
import { isForeignLayerMediaType, isManifestMediaType } from "../oci/media-types.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { layersOf, linkedDigests, referrerPairs, repositoryNames, revisionsOf, storedBlobs, tagsOf } from "./gc/inventory.ts";
import { readLink, statOrUndefined } from "./gc/store-reader.ts";
import { blobData, layerLink, referrerLink, revisionLink, ROOT, tagCurrentLink, tagIndexFolder, tagIndexLink } from "./layout.ts";

/** What is wrong with one path of a store. */
export interface Finding {
  /**
   * `corrupt`: bytes that do not hash to their name. `missing`: something that a manifest needs is not there. `dangling`: a link to
   * nothing. `broken-link`: a link file that does not hold what it must. `wrong-size`: a descriptor and its blob differ.
   * `unreadable`: a manifest that cannot be understood.
   */
  readonly kind: "corrupt" | "missing" | "dangling" | "broken-link" | "wrong-size" | "unreadable";
  readonly path: string;
  readonly problem: string;
  /** What a repair did about it. */
  readonly repaired?: string;
}

/** How to verify. */
export interface VerifyOptions {
  /** Move corrupt blobs aside, write links that can be derived. */
  readonly repair: boolean;
  /** Go on where an interrupted run stopped, instead of hashing all blobs again. */
  readonly resume: boolean;
  readonly signal?: AbortSignal;
  readonly listener?: VerifyListener;
}

/** What is told of a verification while it goes on. */
export interface VerifyListener {
  found(finding: Finding): void;
  hashed(blobs: number, bytes: number): void;
  repository(name: RepositoryName): void;
}

/** What a verification came to. */
export interface VerifyResult {
  readonly blobs: number;
  readonly bytes: number;
  readonly repositories: number;
  /** How much was found to be wrong, and how much of that was repaired; what it was, the listener was told. */
  readonly findings: number;
  readonly repaired: number;
}

/** What an interrupted run had done. */
interface Progress {
  /** The last blob that was hashed. */
  readonly after: string;
  readonly blobs: number;
  readonly bytes: number;
  readonly findings: number;
  readonly repaired: number;
}

const PROGRESS = `${ROOT}/_verify/progress`;
const CORRUPT = `${ROOT}/_corrupt`;
/** Progress is written after so many bytes were hashed, or so many blobs. */
const PROGRESS_BYTES = 1024 * 1024 * 1024;
const PROGRESS_BLOBS = 10_000;

/**
 * Hashes every blob and checks every link of a store, with bounded memory.
 * Rejects when the store cannot be read, or when the signal aborts; a later run with `resume` goes on from there.
 */
export async function verifyStore(driver: StorageDriver, options: VerifyOptions): Promise<VerifyResult> {
  const run = new Verification(driver, options);
  return await run.run();
}

class Verification {
  readonly #driver: StorageDriver;
  readonly #options: VerifyOptions;
  #findings = 0;
  #repaired = 0;
  #blobs = 0;
  #bytes = 0;
  #repositories = 0;

  constructor(driver: StorageDriver, options: VerifyOptions) {
    this.#driver = driver;
    this.#options = options;
  }

  async run(): Promise<VerifyResult> {
    await this.#verifyBlobs();
    for await (const name of repositoryNames(this.#driver)) {
      this.#options.signal?.throwIfAborted();
      this.#repositories++;
      this.#options.listener?.repository(name);
      await this.#verifyRepository(name);
    }
    await this.#forgetProgress();
    return { blobs: this.#blobs, bytes: this.#bytes, repositories: this.#repositories, findings: this.#findings, repaired: this.#repaired };
  }

  async #verifyBlobs(): Promise<void> {
    let after = this.#options.resume ? await this.#takeUp() : "";
    let saved = { blobs: this.#blobs, bytes: this.#bytes };
    try {
      for await (const digest of storedBlobs(this.#driver)) {
        this.#options.signal?.throwIfAborted();
        // Algorithms come in a fixed order and digests in bytewise order within one, so a text comparison tells what was done.
        if (digest <= after) continue;
        const sizeBytes = await this.#verifyBlob(digest);
        after = digest;
        if (sizeBytes === undefined) continue;
        this.#blobs++;
        this.#bytes += sizeBytes;
        this.#options.listener?.hashed(this.#blobs, this.#bytes);
        if (this.#bytes - saved.bytes < PROGRESS_BYTES && this.#blobs - saved.blobs < PROGRESS_BLOBS) continue;
        saved = { blobs: this.#blobs, bytes: this.#bytes };
        await this.#saveProgress(after);
      }
    } catch (error) {
      if (this.#options.signal?.aborted === true) await this.#saveProgress(after);
      throw error;
    }
  }

  async #saveProgress(after: string): Promise<void> {
    const progress: Progress = { after, blobs: this.#blobs, bytes: this.#bytes, findings: this.#findings, repaired: this.#repaired };
    await this.#driver.putContent(PROGRESS, JSON.stringify(progress));
  }

  /** Takes over what an interrupted run had counted. @returns The last blob that it hashed; empty where there was no such run */
  async #takeUp(): Promise<string> {
    const text = await readLink(this.#driver, PROGRESS);
    if (text === undefined) return "";
    const progress = JSON.parse(text) as Progress;
    this.#blobs = progress.blobs;
    this.#bytes = progress.bytes;
    this.#findings = progress.findings;
    this.#repaired = progress.repaired;
    return progress.after;
  }

  async #verifyBlob(digest: Digest): Promise<number | undefined> {
    const path = blobData(digest);
    const hash = new Bun.CryptoHasher(algorithmOf(digest));
    let sizeBytes = 0;
    try {
      for await (const chunk of await this.#driver.reader(path)) {
        hash.update(chunk);
        sizeBytes += chunk.length;
        release(chunk);
        this.#options.signal?.throwIfAborted();
      }
    } catch (error) {
      // Collected while we walked, or an empty folder that a collection left.
      if (error instanceof PathNotFoundError) return undefined;
      throw error;
    }
    const actual = makeDigest(algorithmOf(digest), hash.digest("hex"));
    if (actual !== digest) {
      await this.#report({ kind: "corrupt", path, problem: `the bytes hash to ${actual}` }, async () => {
        await this.#driver.move(path, `${CORRUPT}/${digest.replace(":", "/")}/data`);
        return `moved to ${CORRUPT}; a new push of the blob heals it`;
      });
    }
    return sizeBytes;
  }

  async #verifyRepository(name: RepositoryName): Promise<void> {
    await this.#verifyLayers(name);
    for (const digest of await revisionsOf(this.#driver, name)) await this.#verifyRevision(name, digest);
    for (const tag of await tagsOf(this.#driver, name)) await this.#verifyTag(name, tag);
    for (const { subject, referrer } of await referrerPairs(this.#driver, name)) {
      if (!(await this.#exists(revisionLink(name, referrer)))) await this.#report({ kind: "dangling", path: referrerLink(name, subject, referrer), problem: "the manifest that refers is not in the repository" });
    }
  }

  async #verifyLayers(name: RepositoryName): Promise<void> {
    for (const digest of await layersOf(this.#driver, name)) {
      const path = layerLink(name, digest);
      const target = await readLink(this.#driver, path);
      if (target === undefined) continue;
      const stored = isDigest(target) ? target : digest;
      const there = await this.#exists(blobData(stored));
      if (!isDigest(target)) await this.#report({ kind: "broken-link", path, problem: describeLink(target) }, there ? async () => await this.#relink(path, digest) : undefined);
      else if (!there) await this.#report({ kind: "dangling", path, problem: `no bytes are stored for ${target}` });
    }
  }

  async #verifyRevision(name: RepositoryName, digest: Digest): Promise<void> {
    const path = revisionLink(name, digest);
    const target = await readLink(this.#driver, path);
    if (target === undefined) return;
    if (target !== digest) await this.#report({ kind: "broken-link", path, problem: describeLink(target) }, async () => await this.#relink(path, digest));
    const manifest = await this.#readManifest(digest, path);
    if (manifest === undefined) return;
    await this.#verifyReferences(name, manifest, digest);
    const subject = manifest.subject?.digest;
    if (subject === undefined) return;
    const link = referrerLink(name, subject, digest);
    if (!(await this.#exists(link))) await this.#report({ kind: "missing", path: link, problem: "the manifest is not in the list of referrers" }, async () => await this.#relink(link, digest));
  }

  async #readManifest(digest: Digest, link: string): Promise<Manifest | undefined> {
    const path = blobData(digest);
    try {
      return parseStoredManifest(await this.#driver.getContent(path, MAX_MANIFEST_BYTES));
    } catch (error) {
      if (error instanceof PathNotFoundError) await this.#report({ kind: "dangling", path: link, problem: `no bytes are stored for ${digest}` });
      else if (error instanceof Error && error.name === "RegistryError") await this.#report({ kind: "unreadable", path, problem: "not a manifest that this registry serves (schema 1, or of an unknown type)" });
      else throw error;
      return undefined;
    }
  }

  async #verifyReferences(name: RepositoryName, manifest: Manifest, digest: Digest): Promise<void> {
    for (const item of referencesOf(manifest)) {
      // BuildKit's old caches are indexes of plain blobs.
      const isChild = manifest.kind === "index" && (isManifestMediaType(item.mediaType) || (await this.#exists(revisionLink(name, item.digest))));
      const link = isChild ? revisionLink(name, item.digest) : layerLink(name, item.digest);
      const alias = isChild ? undefined : await readLink(this.#driver, link);
      const stored = alias !== undefined && isDigest(alias) ? alias : item.digest;
      const info = await statOrUndefined(this.#driver, blobData(stored));
      if (info === undefined) {
        if (isForeignLayerMediaType(item.mediaType) && item.urls !== undefined) continue;
        await this.#report({ kind: "missing", path: blobData(stored), problem: `${name}@${digest} needs it` });
        continue;
      }
      if (info.sizeBytes !== item.sizeBytes && item.sizeBytes !== 0) {
        await this.#report({ kind: "wrong-size", path: blobData(stored), problem: `${info.sizeBytes} bytes are stored, ${name}@${digest} says ${item.sizeBytes}` });
      }
      if (!(await this.#exists(link))) await this.#report({ kind: "missing", path: link, problem: `${name}@${digest} needs it, and its bytes are stored` }, async () => (isChild ? await this.#relinkManifest(name, item.digest) : await this.#relink(link, item.digest)));
    }
  }

  async #verifyTag(name: RepositoryName, tag: Tag): Promise<void> {
    const path = tagCurrentLink(name, tag);
    const target = await readLink(this.#driver, path);
    const history = await linkedDigests(this.#driver, tagIndexFolder(name, tag));
    if (target === undefined || !isDigest(target)) {
      const [only] = history;
      // What a tag last pointed to can only be derived when it has pointed to one thing.
      const repair = history.length === 1 && only !== undefined ? async () => await this.#relink(path, only) : undefined;
      await this.#report({ kind: "broken-link", path, problem: target === undefined ? "the tag has no current link" : describeLink(target) }, repair);
      return;
    }
    if (!(await this.#exists(revisionLink(name, target)))) return await this.#verifyUnlinkedTarget(name, { tag, target });
    if (!history.includes(target)) {
      const link = tagIndexLink(name, tag, target);
      await this.#report({ kind: "missing", path: link, problem: "the tag's history lacks what it points to" }, async () => await this.#relink(link, target));
    }
  }

  // A manifest that lost its link, but not its bytes, nor its tag.
  async #verifyUnlinkedTarget(name: RepositoryName, { tag, target }: { readonly tag: Tag; readonly target: Digest }): Promise<void> {
    const path = tagCurrentLink(name, tag);
    if (!(await this.#exists(blobData(target)))) return await this.#report({ kind: "dangling", path, problem: `the repository does not hold ${target}` });
    const link = revisionLink(name, target);
    if ((await this.#readManifest(target, path)) === undefined) return;
    await this.#report({ kind: "missing", path: link, problem: `the tag ${tag} points to it, and its bytes are stored` }, async () => await this.#relinkManifest(name, target));
  }

  /** Links a manifest again, and looks at what it needs: it was not in the list of those to be looked at. */
  async #relinkManifest(name: RepositoryName, digest: Digest): Promise<string> {
    const done = await this.#relink(revisionLink(name, digest), digest);
    await this.#verifyRevision(name, digest);
    return done;
  }

  async #relink(path: string, digest: Digest): Promise<string> {
    await this.#driver.putContent(path, digest);
    return "the link was written anew";
  }

  async #exists(path: string): Promise<boolean> {
    return (await statOrUndefined(this.#driver, path)) !== undefined;
  }

  async #report(finding: Finding, repair?: () => Promise<string>): Promise<void> {
    const done = this.#options.repair && repair !== undefined ? { ...finding, repaired: await repair() } : finding;
    this.#findings++;
    if (done.repaired !== undefined) this.#repaired++;
    this.#options.listener?.found(done);
  }

  async #forgetProgress(): Promise<void> {
    try {
      await this.#driver.delete(PROGRESS, { durable: false });
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
    }
  }
}

function describeLink(target: string): string {
  return target === "" ? "the link is empty" : "the link does not hold the digest that it must";
}
