import type { Access } from "./controller.ts";

const GO_ESCAPES: Readonly<Record<string, string>> = { "\x07": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\" };

/**
 * Quotes a text for a challenge, the way Go's `%q` does for distribution: nothing in it can end the string or the header.
 * @returns Text whose characters are the bytes of UTF-8, as headers are written.
 */
export function quote(text: string): string {
  const escaped = text.replace(/["\\]|(?! )[\p{C}\p{Z}]/gu, (character) => GO_ESCAPES[character] ?? escapeCodePoint(character.codePointAt(0) ?? 0));
  return `"${Buffer.from(escaped, "utf8").toString("latin1")}"`;
}

function escapeCodePoint(code: number): string {
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

/** What a Bearer challenge says. */
export interface BearerChallenge {
  /** URL of the token server. */
  readonly realm: string;
  readonly service: string;
  /** What a token is needed for; empty: for being somebody. */
  readonly scope: string;
  /** Why the token that came was not enough. */
  readonly error?: "invalid_token" | "insufficient_scope";
}

/** The challenge that sends clients for a token. @see https://distribution.github.io/distribution/spec/auth/token/ */
export function bearerChallenge(challenge: BearerChallenge): string {
  const scope = challenge.scope === "" ? "" : `,scope=${quote(challenge.scope)}`;
  const error = challenge.error === undefined ? "" : `,error=${quote(challenge.error)}`;
  return `Bearer realm=${quote(challenge.realm)},service=${quote(challenge.service)}${scope}${error}`;
}

/** The challenge that asks for a password. */
export function basicChallenge(realm: string): string {
  return `Basic realm=${quote(realm)}`;
}

/** `repository:foo:pull,push repository:bar:pull`: one entry for each resource, in the order that they are needed. */
export function scopeOf(required: readonly Access[]): string {
  const actions = new Map<string, string[]>();
  for (const access of required) {
    const resource = `${access.type}:${access.name}`;
    const known = actions.get(resource);
    if (known === undefined) actions.set(resource, [access.action]);
    else if (!known.includes(access.action)) known.push(access.action);
  }
  return [...actions].map(([resource, list]) => `${resource}:${list.join(",")}`).join(" ");
}
