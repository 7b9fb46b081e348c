import { yieldToEventLoop } from "../lib/concurrently.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { BlobStore } from "./blob-store.ts";
import type { ContentGate } from "./content-gate.ts";
import { layerLink } from "./layout.ts";
import type { LinkFiles } from "./link-files.ts";
import type { BlobContent, BlobInfo, Blobs, MountedBlob, OpenRequest } from "./registry.ts";
import { withStorageErrors } from "./storage-errors.ts";

/** How many repositories a mount looks in before other requests get their turn. */
const SOURCES_PER_TURN = 256;

/**
 * The blobs that repositories hold, by their links. A link may hold another digest than its path says (distribution stores what was
 * pushed under sha512 as sha256): the bytes are then those of the link's digest, and the answer names the digest that was asked for.
 */
export class BlobLinks implements Blobs {
  readonly #links: LinkFiles;
  readonly #store: BlobStore;
  readonly #gate: ContentGate;
  readonly #deleteEnabled: boolean;

  constructor(links: LinkFiles, store: BlobStore, options: { readonly gate: ContentGate; readonly deleteEnabled: boolean }) {
    this.#links = links;
    this.#store = store;
    this.#gate = options.gate;
    this.#deleteEnabled = options.deleteEnabled;
  }

  async stat(name: RepositoryName, digest: Digest): Promise<BlobInfo> {
    const stored = await this.#links.read(layerLink(name, digest));
    const sizeBytes = stored === undefined || !(await this.#keeps(stored)) ? undefined : await this.#store.sizeOf(stored);
    if (sizeBytes === undefined) throw new RegistryError("BLOB_UNKNOWN", { detail: digest });
    return { digest, sizeBytes };
  }

  async open(name: RepositoryName, digest: Digest, request: OpenRequest): Promise<BlobContent> {
    const stored = await this.#links.read(layerLink(name, digest));
    // Who asks whether a blob is there goes on without uploading it: what is being collected is not.
    const isThere = stored !== undefined && (request.method === "GET" || (await this.#keeps(stored)));
    const sizeBytes = isThere ? await this.#store.sizeOf(stored) : undefined;
    if (stored === undefined || sizeBytes === undefined) throw new RegistryError("BLOB_UNKNOWN", { detail: digest });
    return await this.#store.open({ stored, asked: digest, sizeBytes }, request);
  }

  async mount(name: RepositoryName, digest: Digest, from: Iterable<RepositoryName> | AsyncIterable<RepositoryName>): Promise<MountedBlob | undefined> {
    // Links never lead from sha256 elsewhere: without the bytes no repository can have it, and none needs to be asked.
    if (algorithmOf(digest) === "sha256" && (await this.#store.storedSize(digest)) === undefined) return undefined;
    let asked = 0;
    for await (const source of from) {
      if (++asked % SOURCES_PER_TURN === 0) await yieldToEventLoop();
      const stored = await this.#links.read(layerLink(source, digest));
      if (stored === undefined || !(await this.#keeps(stored))) continue;
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
    const stored = await this.#links.read(layerLink(name, digest));
    return stored !== undefined && (await this.#keeps(stored)) && (await this.#store.storedSize(stored)) !== undefined;
  }

  /** Makes a blob readable in a repository, durably. The caller has seen the bytes. */
  async link(name: RepositoryName, digest: Digest): Promise<void> {
    await this.#links.write(layerLink(name, digest), digest);
  }

  async #keeps(digest: Digest): Promise<boolean> {
    return this.#gate.isIdle || (await this.#gate.keep("blob", digest));
  }
}
