import { type Descriptor, descriptorToJson } from "../../oci/descriptor.ts";
import { parseDigest } from "../../oci/digest.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import type { Page } from "../../registry/registry.ts";
import type { RequestContext } from "../context.ts";
import { nextLink, parseCount } from "../pagination.ts";
import { bytesReply, type Reply } from "../reply.ts";

/** The longest page; a descriptor with its annotations may be long itself. */
const MAX_REFERRERS = 1000;

/** Lists the manifests that name a digest as their subject. @see OCI distribution-spec, "Listing Referrers" */
export async function getReferrers(context: RequestContext): Promise<Reply> {
  const subject = parseDigest(context.argument);
  const limit = Math.min(parseCount(context.query.get("n")) ?? MAX_REFERRERS, MAX_REFERRERS);
  const artifactType = context.query.get("artifactType") ?? "";
  const last = context.query.get("last") ?? "";
  const page = await context.registry.referrers.list(context.repository, subject, {
    limit,
    ...(last === "" ? {} : { last }),
    ...(artifactType === "" ? {} : { artifactType }),
  });
  const headers: Record<string, string> = {};
  if (artifactType !== "") headers["OCI-Filters-Applied"] = "artifactType";
  const end = page.items.at(-1);
  if (page.more && end !== undefined) {
    const filter: [string, string][] = artifactType === "" ? [] : [["artifactType", artifactType]];
    headers["Link"] = nextLink(context.path, [...filter, ["last", end.digest], ["n", String(limit)]]);
  }
  return bytesReply(200, indexOf(page), { headers, withBody: context.withBody, mediaType: MEDIA_TYPES.ociIndex });
}

// A page that the registry gives again need not be written again: that takes as long as all else.
const written = new WeakMap<Page<Descriptor>, Uint8Array>();

function indexOf(page: Page<Descriptor>): Uint8Array {
  const known = written.get(page);
  if (known !== undefined) return known;
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: page.items.map(descriptorToJson) };
  const bytes = new TextEncoder().encode(`${JSON.stringify(index)}\n`);
  written.set(page, bytes);
  return bytes;
}
