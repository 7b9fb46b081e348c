import { mapConcurrently, waitForAll } from "../lib/concurrently.ts";
import { KeyedLock } from "../lib/keyed-lock.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { type Manifest, parsePushedManifest, parseStoredManifest, referencesOf } from "../oci/manifest.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import type { BlobLinks } from "./blob-links.ts";
import type { BlobStore } from "./blob-store.ts";
import type { ContentGate } from "./content-gate.ts";
import { revisionLink, tagCurrentLink } from "./layout.ts";
import type { LinkFiles } from "./link-files.ts";
import type { ManifestContents } from "./manifest-contents.ts";
import { checkClass, checkUrls, type ManifestValidation, missingContent, type RequiredChild, requirementsOf } from "./manifest-rules.ts";
import { ProvenReads, type Witness } from "./proven-reads.ts";
import type { ReferrerIndex } from "./referrer-index.ts";
import type { ManifestReference, Manifests, PushedManifest, PutManifest, StoredManifest } from "./registry.ts";
import { withStorageErrors } from "./storage-errors.ts";
import { type TagStore, unknownTag } from "./tag-store.ts";

/** How many blobs and children of a manifest are looked for at once. */
const LOOKUPS_AT_ONCE = 16;
/** How often a push looks whether all is there that it was told of, when others push the same while it is collected. */
const MAX_LOOKS = 3;
/** Beyond so many that are missing no more are looked for: a refusal need not be longer than the manifest. */
const MAX_MISSING = 1000;
/** References whose manifests are at hand, and what they take; the bytes themselves are mostly those that `ManifestContents` holds. */
const MAX_READS = 20_000;
const MAX_READ_BYTES = 32 * 1024 * 1024;
const READ_OVERHEAD_BYTES = 1024;

/** What the manifest store is made of. */
export interface ManifestStoreParts {
  readonly driver: StorageDriver;
  readonly links: LinkFiles;
  readonly blobs: BlobLinks;
  readonly store: BlobStore;
  readonly contents: ManifestContents;
  readonly tags: TagStore;
  readonly referrers: ReferrerIndex;
  readonly gate: ContentGate;
}

/** What may be stored, and deleted. */
export interface ManifestStoreOptions {
  readonly deleteEnabled: boolean;
  readonly validation: ManifestValidation;
  /** Empty when all classes are allowed. */
  readonly policyClasses: readonly string[];
}

/** The manifests that repositories hold. */
export class ManifestStore implements Manifests {
  readonly #parts: ManifestStoreParts;
  readonly #options: ManifestStoreOptions;
  /** By repository and digest: a delete never takes the link of a push that was told that all is well. */
  readonly #locks = new KeyedLock();
  /** By repository and reference. */
  readonly #reads: ProvenReads<StoredManifest>;

  constructor(parts: ManifestStoreParts, options: ManifestStoreOptions) {
    this.#parts = parts;
    this.#reads = new ProvenReads(parts.driver, { maxResults: MAX_READS, maxWeight: MAX_READ_BYTES });
    this.#options = options;
  }

  get(name: RepositoryName, reference: ManifestReference): Promise<StoredManifest> {
    const key = "digest" in reference ? `${name}@${reference.digest}` : `${name}:${reference.tag}`;
    const known = this.#reads.peek(key);
    if (known !== undefined) return Promise.resolve(known);
    return this.#reads.read(key, (witness) => this.#read(name, reference, witness), ({ bytes }) => bytes.length + READ_OVERHEAD_BYTES);
  }

  async #read(name: RepositoryName, reference: ManifestReference, witness: Witness): Promise<StoredManifest> {
    if ("tag" in reference && !witness.relyOn(tagCurrentLink(name, reference.tag))) throw unknownTag(reference.tag);
    const digest = "digest" in reference ? reference.digest : await this.#parts.tags.resolve(name, reference.tag);
    const link = revisionLink(name, digest);
    if (witness.relyOn(link) && (await this.#parts.links.has(link, digest))) {
      const manifest = this.#parts.contents.peek(digest) ?? (await this.#parts.contents.load(digest));
      if (manifest !== undefined) return manifest;
    }
    throw new RegistryError("MANIFEST_UNKNOWN", { detail: `unknown manifest name=${name} revision=${digest}` });
  }

  async put(name: RepositoryName, pushed: PushedManifest): Promise<PutManifest> {
    const manifest = parsePushedManifest(pushed.bytes, pushed.contentType);
    const digest = digestOf(pushed.bytes, pushed.digest === undefined ? "sha256" : algorithmOf(pushed.digest));
    if (pushed.digest !== undefined && pushed.digest !== digest) throw new RegistryError("DIGEST_INVALID");
    checkClass(manifest, this.#options.policyClasses, pushed.grantedClasses);
    checkUrls(manifest, this.#options.validation);
    using _lock = await this.#locks.take(`${name}@${digest}`);
    // Its own place may just be collected: when that is over, this push makes it anew.
    if (!this.#parts.gate.isIdle) await this.#parts.gate.keepOrWait(digest, "revision");
    // Last of all checks, right before the links that show a collector what is needed.
    const missing = await this.#missing(name, manifest, digest);
    if (missing.length > 0) throw missingContent(missing);
    await withStorageErrors(() => this.#save(name, { manifest, digest, bytes: pushed.bytes, tags: pushed.tags }));
    return { digest, mediaType: manifest.mediaType, sizeBytes: pushed.bytes.length, subject: manifest.subject?.digest, references: referencesOf(manifest) };
  }

  async delete(name: RepositoryName, digest: Digest): Promise<readonly Tag[]> {
    if (!this.#options.deleteEnabled) throw new RegistryError("UNSUPPORTED");
    const { links, tags, referrers } = this.#parts;
    using _lock = await this.#locks.take(`${name}@${digest}`);
    if (!(await links.has(revisionLink(name, digest), digest))) throw new RegistryError("MANIFEST_UNKNOWN");
    const subject = await this.#subjectOf(digest);
    // The manifest's own link goes last: a delete that failed on its way can be sent again.
    const removed = await tags.removeAll(name, digest);
    if (subject !== undefined) await referrers.remove(name, subject, digest);
    await links.delete(revisionLink(name, digest));
    return removed;
  }

  /** Everything but the tags becomes durable side by side: without the rest, each part is a 404 or is not looked at. */
  async #save(name: RepositoryName, saved: { readonly manifest: Manifest; readonly digest: Digest; readonly bytes: Uint8Array; readonly tags: readonly Tag[] }): Promise<void> {
    const { contents, links, tags, referrers, gate } = this.#parts;
    const { manifest, digest, bytes } = saved;
    await gate.keepOrWait(digest);
    await waitForAll(
      contents.save({ digest, mediaType: manifest.mediaType, bytes }),
      links.write(revisionLink(name, digest), digest),
      manifest.subject === undefined ? Promise.resolve() : referrers.add(name, manifest.subject.digest, digest),
      tags.announce(name, saved.tags, digest),
    );
    if (!gate.isIdle) await this.#checkAgain(name, manifest, digest);
    await tags.point(name, saved.tags, digest);
  }

  /** A collector that did not see the link may have taken what was there before it, or the link: look once more, now that it is there. */
  async #checkAgain(name: RepositoryName, manifest: Manifest, digest: Digest): Promise<void> {
    const { links, referrers } = this.#parts;
    const link = revisionLink(name, digest);
    const subject = manifest.subject?.digest;
    for (let look = 1; ; look++) {
      const missing = await this.#missing(name, manifest, digest);
      if (!(await this.#areBytesKept(digest)) || !(await links.has(link, digest))) missing.push(digest);
      if (missing.length === 0) {
        // Tidying up may just have taken the old entry of a list for one that leads nowhere.
        if (subject !== undefined) await referrers.add(name, subject, digest);
        return;
      }
      await links.delete(link);
      if (subject !== undefined) await referrers.remove(name, subject, digest);
      const isComplete = (await this.#areBytesKept(digest)) && (await this.#missing(name, manifest, digest)).length === 0;
      if (!isComplete || look === MAX_LOOKS) throw missingContent(missing);
      // By now it is all there: somebody else pushed it, and the link that was taken back may have been theirs.
      await links.write(link, digest);
      if (subject !== undefined) await referrers.add(name, subject, digest);
    }
  }

  async #areBytesKept(digest: Digest): Promise<boolean> {
    return (await this.#keeps("blob", digest)) && (await this.#parts.store.storedSize(digest)) !== undefined;
  }

  /** What is not there, or will not stay, of a manifest and all that it needs. */
  async #missing(name: RepositoryName, manifest: Manifest, digest: Digest): Promise<Digest[]> {
    const { blobs, children } = requirementsOf(manifest, this.#options.validation);
    const missing: Digest[] = [];
    if (!(await this.#keeps("revision", digest))) missing.push(digest);
    if (!this.#parts.gate.isIdle) await this.#keepOptional(manifest, new Set([...blobs, ...children.map((child) => child.digest)]));
    const absent = new Set<Digest>();
    const lookFor = async (each: Digest, isThere: () => Promise<boolean>): Promise<void> => {
      if (absent.size < MAX_MISSING && !(await isThere())) absent.add(each);
    };
    await mapConcurrently(blobs, LOOKUPS_AT_ONCE, (blob) => lookFor(blob, () => this.#parts.blobs.has(name, blob)));
    await mapConcurrently(children, LOOKUPS_AT_ONCE, (child) => lookFor(child.digest, () => this.#hasChild(name, child)));
    for (const each of [...blobs, ...children.map((child) => child.digest)]) if (absent.has(each)) missing.push(each);
    return missing;
  }

  /** What need not be there, and is needed if it is, must not be collected any more either. */
  async #keepOptional(manifest: Manifest, required: ReadonlySet<Digest>): Promise<void> {
    const optional = referencesOf(manifest).filter(({ digest }) => !required.has(digest));
    await mapConcurrently(optional, LOOKUPS_AT_ONCE, async ({ digest }) => {
      if (manifest.kind === "index") await this.#keeps("revision", digest);
      await this.#keeps("blob", digest);
    });
  }

  async #hasChild(name: RepositoryName, { digest, mayBeBlob }: RequiredChild): Promise<boolean> {
    const { links, blobs } = this.#parts;
    if ((await this.#keeps("revision", digest)) && (await this.#areBytesKept(digest)) && (await links.has(revisionLink(name, digest), digest))) return true;
    return mayBeBlob && (await blobs.has(name, digest));
  }

  async #keeps(kind: "blob" | "revision", digest: Digest): Promise<boolean> {
    return this.#parts.gate.isIdle || (await this.#parts.gate.keep(kind, digest));
  }

  // A damaged manifest, or one of a kind that we do not serve, can be deleted like any other.
  async #subjectOf(digest: Digest): Promise<Digest | undefined> {
    try {
      const stored = await this.#parts.contents.load(digest);
      return stored === undefined ? undefined : parseStoredManifest(stored.bytes).subject?.digest;
    } catch (error) {
      if (error instanceof RegistryError) return undefined;
      throw error;
    }
  }
}
