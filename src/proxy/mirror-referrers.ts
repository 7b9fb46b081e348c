import { SingleFlight } from "../lib/single-flight.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { parseStoredManifest } from "../oci/manifest.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import { parseTag, type RepositoryName, type Tag } from "../oci/name.ts";
import type { Page, PageRequest, Referrers } from "../registry/registry.ts";
import { askingUpstream, type Mirror, noteUpstreamError } from "./mirror.ts";
import type { MirrorRoute } from "./routes.ts";
import { UpstreamError } from "./upstream-error.ts";

/** The referrers of a mirror: upstream's, or those that were pulled before when upstream does not answer. */
export class MirrorReferrers implements Referrers {
  readonly #mirror: Mirror;
  readonly #flights = new SingleFlight<readonly Descriptor[]>();

  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  async list(name: RepositoryName, subject: Digest, page: PageRequest & { readonly artifactType?: string }): Promise<Page<Descriptor>> {
    const { routes, local } = this.#mirror;
    const route = routes.route(name);
    if (route.kind === "local") return await local.referrers.list(name, subject, page);
    return await askingUpstream({ mirror: this.#mirror, route, missing: { code: "NAME_UNKNOWN", detail: { name } } }, async () => {
      try {
        return paged(await this.#flights.run(`${route.repository}@${subject}`, () => upstreamReferrers(route, subject)), page);
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error;
        noteUpstreamError(this.#mirror, route, error);
        return await local.referrers.list(route.repository, subject, page);
      }
    });
  }
}

async function upstreamReferrers(route: MirrorRoute, subject: Digest): Promise<readonly Descriptor[]> {
  const { upstream } = route.remote;
  const listed = await upstream.referrers(route.upstreamName, subject);
  if (listed !== undefined) return descriptorsOf(Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: listed })));
  // A registry from before referrers keeps them as an index under a tag made of the subject's digest.
  try {
    const { digest, bytes } = await upstream.resolveTag(route.upstreamName, referrersTag(subject));
    return descriptorsOf(bytes ?? (await upstream.manifest(route.upstreamName, digest)));
  } catch (error) {
    if (error instanceof UpstreamError && error.problem === "missing") return [];
    throw error;
  }
}

/** @see OCI distribution-spec, "Referrers Tag Schema" */
function referrersTag(subject: Digest): Tag {
  return parseTag(`${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}`);
}

function descriptorsOf(index: Uint8Array): readonly Descriptor[] {
  try {
    return [...parseStoredManifest(index).manifests].sort((a, b) => (a.digest < b.digest ? -1 : a.digest > b.digest ? 1 : 0));
  } catch (error) {
    if (error instanceof RegistryError) throw new UpstreamError("garbage", "the list of referrers cannot be understood", { cause: error });
    throw error;
  }
}

function paged(all: readonly Descriptor[], page: PageRequest & { readonly artifactType?: string }): Page<Descriptor> {
  const { last, limit = Number.POSITIVE_INFINITY, artifactType } = page;
  const wanted = all.filter((descriptor) => (last === undefined || descriptor.digest > last) && (artifactType === undefined || descriptor.artifactType === artifactType));
  return { items: wanted.slice(0, limit), more: wanted.length > limit };
}
