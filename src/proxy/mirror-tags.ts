import { addAll } from "../lib/add-all.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";
import type { Page, PageRequest, Tags } from "../registry/registry.ts";
import { askingUpstream, isUnknown, type Mirror, noteUpstreamError } from "./mirror.ts";
import type { MirrorRoute } from "./routes.ts";
import type { TagResolver } from "./tag-resolver.ts";
import { UpstreamError } from "./upstream-error.ts";

/** Tags that a list of all of them has at most. */
const MAX_TAGS = 100_000;

/** The tags of a mirror: upstream's, or those that were pulled before when upstream does not answer. */
export class MirrorTags implements Tags {
  readonly #mirror: Mirror;
  readonly #resolver: TagResolver;

  constructor(mirror: Mirror, resolver: TagResolver) {
    this.#mirror = mirror;
    this.#resolver = resolver;
  }

  async list(name: RepositoryName, page: PageRequest): Promise<Page<string>> {
    const { routes, local } = this.#mirror;
    const route = routes.route(name);
    if (route.kind === "local") return await local.tags.list(name, page);
    return await askingUpstream({ mirror: this.#mirror, route, missing: { code: "NAME_UNKNOWN", detail: { name } } }, () => this.#list(route, page));
  }

  async resolve(name: RepositoryName, tag: Tag): Promise<Digest> {
    const { routes, local } = this.#mirror;
    const route = routes.route(name);
    if (route.kind === "local") return await local.tags.resolve(name, tag);
    const missing = { code: "MANIFEST_UNKNOWN", detail: { tag } } as const;
    return await askingUpstream({ mirror: this.#mirror, route, missing }, async () => (await this.#resolver.resolve(route, tag)).digest);
  }

  async delete(name: RepositoryName, tag: Tag): Promise<void> {
    if (!this.#mirror.deleteEnabled || this.#mirror.routes.route(name).kind === "mirror") throw new RegistryError("UNSUPPORTED");
    await this.#mirror.local.tags.delete(name, tag);
  }

  async #list(route: MirrorRoute, page: PageRequest): Promise<Page<string>> {
    try {
      return await upstreamTags(route, page);
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      const known = await this.#known(route, page);
      if (known === undefined) throw error;
      noteUpstreamError(this.#mirror, route, error);
      return known;
    }
  }

  async #known(route: MirrorRoute, page: PageRequest): Promise<Page<string> | undefined> {
    try {
      return await this.#mirror.local.tags.list(route.repository, page);
    } catch (error) {
      if (isUnknown(error, "NAME_UNKNOWN")) return undefined;
      throw error;
    }
  }
}

/** Joins upstream's pages to the one that is wanted. */
async function upstreamTags(route: MirrorRoute, page: PageRequest): Promise<Page<string>> {
  const { limit = MAX_TAGS } = page;
  const items: Tag[] = [];
  let more = true;
  for (let { last } = page; more && items.length < limit; last = items.at(-1)) {
    const next = await route.remote.upstream.tags(route.upstreamName, { limit: limit - items.length, ...(last !== undefined && { last }) });
    addAll(items, next.more ? next.items : inOrder(next.items, last));
    // A page that brings nothing new would be asked for again for ever.
    more = next.more && next.items.length > 0;
  }
  return { items: items.slice(0, limit), more: more || items.length > limit };
}

/** A last page in the order that the specification wants: distribution 2.x knows no pages, and gives all tags in any order. */
function inOrder(tags: readonly Tag[], last: string | undefined): readonly Tag[] {
  return tags.filter((tag) => last === undefined || tag > last).sort();
}
