import { SingleFlight } from "../lib/single-flight.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { type Manifest, parseStoredManifest } from "../oci/manifest.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";
import type { ManifestReference, Manifests, PushedManifest, PutManifest, StoredManifest } from "../registry/registry.ts";
import { askingUpstream, isUnknown, type Mirror, noteUpstreamError } from "./mirror.ts";
import type { MirrorRoute } from "./routes.ts";
import type { ResolvedTag, TagResolver } from "./tag-resolver.ts";
import { UpstreamError } from "./upstream-error.ts";

/** The manifests of a mirror. One that is kept is never asked for upstream by its digest; a tag is, as often as its freshness demands. */
export class MirrorManifests implements Manifests {
  readonly #mirror: Mirror;
  readonly #tags: TagResolver;
  readonly #flights = new SingleFlight<FetchedManifest>();

  constructor(mirror: Mirror, tags: TagResolver) {
    this.#mirror = mirror;
    this.#tags = tags;
  }

  async get(name: RepositoryName, reference: ManifestReference): Promise<StoredManifest> {
    const { routes, local } = this.#mirror;
    const route = routes.route(name);
    if (route.kind === "local") return await local.manifests.get(name, reference);
    const missing = { code: "MANIFEST_UNKNOWN", detail: "tag" in reference ? { tag: reference.tag } : { digest: reference.digest } } as const;
    return await askingUpstream({ mirror: this.#mirror, route, missing }, async () =>
      "tag" in reference ? await this.#byTag(route, reference.tag) : (await this.#byDigest(route, reference.digest)).manifest,
    );
  }

  async put(name: RepositoryName, pushed: PushedManifest): Promise<PutManifest> {
    if (this.#mirror.routes.route(name).kind === "mirror") throw new RegistryError("UNSUPPORTED");
    return await this.#mirror.local.manifests.put(name, pushed);
  }

  async delete(name: RepositoryName, digest: Digest): Promise<readonly Tag[]> {
    if (!this.#mirror.deleteEnabled || this.#mirror.routes.route(name).kind === "mirror") throw new RegistryError("UNSUPPORTED");
    return await this.#mirror.local.manifests.delete(name, digest);
  }

  async #byTag(route: MirrorRoute, tag: Tag): Promise<StoredManifest> {
    const resolved = await this.#tags.resolve(route, tag);
    const { manifest, state } = await this.#newOrKnown(route, resolved);
    // When a manifest expired its tags went with it.
    const isNews = state === "fetched" || (state === "kept" && resolved.digest !== resolved.known);
    if (isNews && manifest.digest === resolved.digest) await this.#noteTag(route, tag, resolved);
    return manifest;
  }

  /** What a tag points to now; what it pointed to before, when only that can be had. */
  async #newOrKnown(route: MirrorRoute, { digest, bytes, known }: ResolvedTag): Promise<FetchedManifest> {
    try {
      return await this.#byDigest(route, digest, bytes);
    } catch (error) {
      if (known === undefined || known === digest || !(error instanceof UpstreamError)) throw error;
      noteUpstreamError(this.#mirror, route, error);
      return await this.#byDigest(route, known);
    }
  }

  async #byDigest(route: MirrorRoute, digest: Digest, bytes?: Uint8Array): Promise<FetchedManifest> {
    const { local, traffic, usage } = this.#mirror;
    try {
      const manifest = await local.manifests.get(route.repository, { digest });
      traffic.hit("manifest", manifest.bytes.length);
      usage.manifest(route, manifest);
      return { manifest, state: "kept" };
    } catch (error) {
      if (!isUnknown(error, "MANIFEST_UNKNOWN")) throw error;
    }
    const fetched = await this.#flights.run(`${route.repository}@${digest}`, () => this.#fetch(route, digest, bytes));
    traffic.miss("manifest", fetched.manifest.bytes.length);
    return fetched;
  }

  async #fetch(route: MirrorRoute, digest: Digest, known: Uint8Array | undefined): Promise<FetchedManifest> {
    const { missing, traffic, usage } = this.#mirror;
    const bytes = known ?? (await missing.ask(`manifest ${route.repository}@${digest}`, () => route.remote.upstream.manifest(route.upstreamName, digest)));
    traffic.pulled("manifest", bytes.length);
    const parsed = understood(bytes, digest);
    const manifest: StoredManifest = { digest, mediaType: parsed.mediaType, bytes };
    if (!(await this.#store(route, manifest, parsed.subject?.digest))) return { manifest, state: "passed on" };
    usage.manifest(route, manifest);
    return { manifest, state: "fetched" };
  }

  /** Keeps a manifest. A store that fails does not keep it from the client. */
  async #store(route: MirrorRoute, manifest: StoredManifest, subject: Digest | undefined): Promise<boolean> {
    try {
      await this.#mirror.store.putManifest(route.repository, manifest.digest, { bytes: manifest.bytes, subject });
      return true;
    } catch (error) {
      this.#noteStoreFailure("mirrored manifest cannot be stored", route, error);
      return false;
    }
  }

  async #noteTag(route: MirrorRoute, tag: Tag, resolved: ResolvedTag): Promise<void> {
    try {
      await this.#tags.confirm(route, tag, resolved);
    } catch (error) {
      this.#noteStoreFailure("mirrored tag cannot be stored", route, error);
    }
  }

  #noteStoreFailure(message: string, route: MirrorRoute, error: unknown): void {
    this.#mirror.log.error(message, { repository: route.repository, "err.message": error instanceof Error ? error.message : String(error) });
  }
}

interface FetchedManifest {
  readonly manifest: StoredManifest;
  /** Whether it was there already, has been stored now, or could not be stored. */
  readonly state: "kept" | "fetched" | "passed on";
}

/** @throws UpstreamError `garbage` for what is no manifest, or one of a kind that we do not serve. */
function understood(bytes: Uint8Array, digest: Digest): Manifest {
  try {
    return parseStoredManifest(bytes);
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    throw new UpstreamError("garbage", `the manifest ${digest} cannot be understood: ${JSON.stringify(error.entries[0]?.detail)}`, { cause: error });
  }
}
