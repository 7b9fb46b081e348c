import { yieldToEventLoop } from "../lib/concurrently.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import type { BlobStore } from "./blob-store.ts";
import type { ContentGate } from "./content-gate.ts";
import { blobData, layerLink } from "./layout.ts";
import type { LinkFiles } from "./link-files.ts";
import { ProvenReads, type Witness } from "./proven-reads.ts";
import type { BlobContent, BlobInfo, Blobs, MountedBlob, OpenRequest } from "./registry.ts";
import { withStorageErrors } from "./storage-errors.ts";

/** How many repositories a mount looks in before other requests get their turn. */
const SOURCES_PER_TURN = 256;

/** Blobs whose links were read and whose bytes were seen: some 10 MiB. */
const MAX_READS = 20_000;

/** What the links of blobs are made of. */
export interface BlobLinksParts {
  readonly driver: StorageDriver;
  readonly links: LinkFiles;
  readonly store: BlobStore;
  readonly gate: ContentGate;
}

interface LinkedBlob {
  /** What the link holds. */
  readonly stored: Digest;
  readonly sizeBytes: number;
}

/**
 * The blobs that repositories hold, by their links. A link may hold another digest than its path says (distribution stores what was
 * pushed under sha512 as sha256): the bytes are then those of the link's digest, and the answer names the digest that was asked for.
 */
export class BlobLinks implements Blobs {
  readonly #links: LinkFiles;
  readonly #store: BlobStore;
  readonly #gate: ContentGate;
  readonly #deleteEnabled: boolean;
  /** By repository and digest. */
  readonly #reads: ProvenReads<LinkedBlob | undefined>;

  constructor({ driver, links, store, gate }: BlobLinksParts, options: { readonly deleteEnabled: boolean }) {
    this.#links = links;
    this.#store = store;
    this.#gate = gate;
    this.#deleteEnabled = options.deleteEnabled;
    this.#reads = new ProvenReads(driver, { maxResults: MAX_READS, maxWeight: MAX_READS });
  }

  async stat(name: RepositoryName, digest: Digest): Promise<BlobInfo> {
    const blob = await this.#findKept(name, digest);
    if (blob === undefined) throw new RegistryError("BLOB_UNKNOWN", { detail: digest });
    return { digest, sizeBytes: blob.sizeBytes };
  }

  async open(name: RepositoryName, digest: Digest, request: OpenRequest): Promise<BlobContent> {
    // Who asks whether a blob is there goes on without uploading it: what is being collected is not.
    const blob = await (request.method === "GET" ? this.#find(name, digest) : this.#findKept(name, digest));
    if (blob === undefined) throw new RegistryError("BLOB_UNKNOWN", { detail: digest });
    return await this.#store.open({ ...blob, asked: digest }, request);
  }

  async mount(name: RepositoryName, digest: Digest, from: Iterable<RepositoryName> | AsyncIterable<RepositoryName>): Promise<MountedBlob | undefined> {
    // Links never lead from sha256 elsewhere: without the bytes no repository can have it, and none needs to be asked.
    if (algorithmOf(digest) === "sha256" && (await this.#store.storedSize(digest)) === undefined) return undefined;
    let asked = 0;
    for await (const source of from) {
      if (++asked % SOURCES_PER_TURN === 0) await yieldToEventLoop();
      const stored = await this.#links.read(layerLink(source, digest));
      if (stored === undefined || !(await this.#keeps(digest, stored))) continue;
      const sizeBytes = await this.#store.storedSize(stored);
      if (sizeBytes === undefined) continue;
      await withStorageErrors(() => this.#links.write(layerLink(name, digest), stored));
      return { digest, sizeBytes, from: source };
    }
    return undefined;
  }

  async delete(name: RepositoryName, digest: Digest): Promise<void> {
    if (!this.#deleteEnabled) throw new RegistryError("UNSUPPORTED");
    if (!(await this.#links.delete(layerLink(name, digest)))) throw new RegistryError("BLOB_UNKNOWN");
  }

  /** Whether the repository has the link and the store has the bytes, asked now, and both will stay. */
  async has(name: RepositoryName, digest: Digest): Promise<boolean> {
    // The link goes by its own digest, and is looked at when it is kept.
    if (!(await this.#keeps(digest))) return false;
    const stored = await this.#links.read(layerLink(name, digest));
    if (stored === undefined || (stored !== digest && !(await this.#keeps(stored)))) return false;
    return (await this.#store.storedSize(stored)) !== undefined;
  }

  /** Makes a blob readable in a repository, durably. The caller has seen the bytes. */
  async link(name: RepositoryName, digest: Digest): Promise<void> {
    await this.#links.write(layerLink(name, digest), digest);
  }

  /** A blob that will stay. */
  #findKept(name: RepositoryName, digest: Digest): LinkedBlob | Promise<LinkedBlob | undefined> {
    const found = this.#find(name, digest);
    return this.#gate.isIdle && !(found instanceof Promise) ? found : this.#keep(name, digest, found);
  }

  async #keep(name: RepositoryName, digest: Digest, found: LinkedBlob | Promise<LinkedBlob | undefined>): Promise<LinkedBlob | undefined> {
    const blob = await found;
    if (blob === undefined || this.#gate.isIdle) return blob;
    // Kept from now on; until now it may have been taken.
    return (await this.#keeps(digest, blob.stored)) ? await this.#find(name, digest) : undefined;
  }

  #find(name: RepositoryName, digest: Digest): LinkedBlob | Promise<LinkedBlob | undefined> {
    const key = `${name}@${digest}`;
    return this.#reads.peek(key) ?? this.#reads.read(key, (witness) => this.#read(name, digest, witness), () => 1);
  }

  async #read(name: RepositoryName, digest: Digest, witness: Witness): Promise<LinkedBlob | undefined> {
    const link = layerLink(name, digest);
    const stored = witness.relyOn(link) ? await this.#links.read(link) : undefined;
    if (stored === undefined || !witness.relyOn(blobData(stored))) return undefined;
    const sizeBytes = await this.#store.sizeOf(stored);
    return sizeBytes === undefined ? undefined : { stored, sizeBytes };
  }

  async #keeps(...digests: readonly Digest[]): Promise<boolean> {
    for (const digest of new Set(digests)) if (!this.#gate.isIdle && !(await this.#gate.keep("blob", digest))) return false;
    return true;
  }
}
