import { descriptorToJson } from "../../oci/descriptor.ts";
import { parseDigest } from "../../oci/digest.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import type { RequestContext } from "../context.ts";
import { nextLink, parseCount } from "../pagination.ts";
import { jsonReply, type Reply } from "../reply.ts";

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
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: page.items.map(descriptorToJson) };
  return jsonReply(200, index, { headers, withBody: context.withBody, mediaType: MEDIA_TYPES.ociIndex });
}
