import type { Access } from "./controller.ts";

/** One entry of a token's `access` claim. */
export interface TokenResource {
  readonly type: string;
  readonly name: string;
  readonly class: string;
  readonly actions: readonly string[];
}

/** What a token allows. */
export class TokenAccess {
  readonly #resources = new Map<string, TokenResource[]>();

  constructor(resources: readonly TokenResource[]) {
    for (const resource of resources) {
      const key = `${resource.type}:${resource.name}`;
      const known = this.#resources.get(key);
      if (known === undefined) this.#resources.set(key, [resource]);
      else known.push(resource);
    }
  }

  /** Whether it allows something: the action itself, or `*`, for just that type and name; the class does not count. */
  allows(access: Pick<Access, "type" | "name" | "action">): boolean {
    return this.of(access.type, access.name).some(({ actions }) => actions.includes(access.action) || actions.includes("*"));
  }

  /** The entries for a resource. */
  of(type: string, name: string): readonly TokenResource[] {
    return this.#resources.get(`${type}:${name}`) ?? [];
  }
}

/**
 * Reads the `access` claim of a token.
 * @returns Undefined when it has another form than the specification's.
 * @see https://distribution.github.io/distribution/spec/auth/jwt/
 */
export function parseTokenAccess(claim: unknown): TokenAccess | undefined {
  if (claim === undefined || claim === null) return new TokenAccess([]);
  if (!Array.isArray(claim)) return undefined;
  const resources = claim.map(parseResource);
  return resources.includes(undefined) ? undefined : new TokenAccess(resources.filter((resource) => resource !== undefined));
}

function parseResource(value: unknown): TokenResource | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { type = "", name = "", class: kind = "", actions = [] } = value as Record<string, unknown>;
  if (typeof type !== "string" || typeof name !== "string" || typeof kind !== "string") return undefined;
  if (actions === null) return { type, name, class: kind, actions: [] };
  if (!Array.isArray(actions) || !actions.every((action) => typeof action === "string")) return undefined;
  return { type, name, class: kind, actions };
}

/** The most scopes that one token is asked for; nobody needs nearly as many. */
const MAX_SCOPES = 64;

/**
 * Reads the scopes of a request for a token: `repository:team/app:pull,push`, several in a parameter with blanks between them, or in
 * several parameters. What has another form is left out, as the specification wants it.
 * @see https://distribution.github.io/distribution/spec/auth/scope/
 */
export function parseScopes(scopes: readonly string[]): readonly TokenResource[] {
  const texts = scopes.flatMap((text) => text.split(" ")).filter((text) => text !== "");
  return texts.slice(0, MAX_SCOPES).flatMap((text) => {
    // A name may hold a colon (a host's port): the type ends at the first, the actions begin after the last.
    const match = /^([a-z]+)(?:\(([a-z]*)\))?:(.+):([a-z*,]*)$/.exec(text);
    if (match === null) return [];
    const [, type = "", kind = "", name = "", actions = ""] = match;
    return [{ type, name, class: kind, actions: actions.split(",").filter((action) => action !== "") }];
  });
}
