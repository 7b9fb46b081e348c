import type { RequestContext } from "../context.ts";
import { nextLink, parseCount } from "../pagination.ts";
import { jsonReply, type Reply } from "../reply.ts";

/** Lists the tags of a repository, sorted bytewise. @see OCI distribution-spec, "Listing Tags" */
export async function getTags(context: RequestContext): Promise<Reply> {
  const wanted = parseCount(context.query.get("n"));
  const name = context.repository;
  if (wanted === 0) return jsonReply(200, { name, tags: [] }, { withBody: context.withBody });
  const limit = wanted === undefined ? undefined : Math.min(wanted, context.parts.options.tagsMaxTags);
  const last = context.query.get("last") ?? "";
  const page = await context.registry.tags.list(name, { ...(limit === undefined ? {} : { limit }), ...(last === "" ? {} : { last }) });
  const headers: Record<string, string> = {};
  const end = page.items.at(-1);
  if (page.more && limit !== undefined && end !== undefined) headers["Link"] = nextLink(context.path, [["last", end], ["n", String(limit)]]);
  return jsonReply(200, { name, tags: page.items }, { headers, withBody: context.withBody });
}
