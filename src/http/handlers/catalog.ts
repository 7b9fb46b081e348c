import { RegistryError } from "../../oci/errors.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { RequestContext } from "../context.ts";
import { nextLink, parseCount } from "../pagination.ts";
import { jsonReply, type Reply } from "../reply.ts";

const DEFAULT_COUNT = 100;
/** So many are looked through at once where some are left out, however short the page is to be. */
const FILTERED_COUNT = 500;

/** Lists the repositories that the caller may pull from, page by page. */
export async function getCatalog(context: RequestContext): Promise<Reply> {
  const { catalogMaxEntries } = context.parts.options;
  const wanted = parseCount(context.query.get("n"));
  if (wanted !== undefined && wanted > catalogMaxEntries) throw new RegistryError("PAGINATION_NUMBER_INVALID", { detail: { n: wanted } });
  const limit = wanted ?? Math.min(DEFAULT_COUNT, catalogMaxEntries);
  const page = await readPage(context, limit);
  const last = page.items.at(-1);
  const headers: Record<string, string> = {};
  if (page.more && last !== undefined) headers["Link"] = nextLink(context.path, [["last", last], ["n", String(limit)]]);
  return jsonReply(200, { repositories: page.items }, { headers, withBody: context.withBody });
}

async function readPage(context: RequestContext, limit: number): Promise<{ readonly items: readonly RepositoryName[]; readonly more: boolean }> {
  let last = context.query.get("last") ?? "";
  const { mayPull } = context.grant;
  const request = (count: number): { limit: number; last?: string } => (last === "" ? { limit: count } : { limit: count, last });
  if (mayPull === undefined || limit === 0) return await context.registry.catalog.list(request(limit));
  const items: RepositoryName[] = [];
  for (;;) {
    const page = await context.registry.catalog.list(request(Math.max(limit, FILTERED_COUNT)));
    for (const [index, name] of page.items.entries()) {
      if (!mayPull(name)) continue;
      items.push(name);
      if (items.length === limit) return { items, more: page.more || index < page.items.length - 1 };
    }
    const end = page.items.at(-1);
    if (!page.more || end === undefined) return { items, more: false };
    last = end;
  }
}
