import type { Access } from "../controller.ts";

/** Who may do what where. */
export interface AccessRule {
  /** Globs of repositories: `*` within a part of a name, `**` across slashes. `team/**` is also `team` itself. */
  readonly repositories: readonly string[];
  readonly users: readonly string[];
  readonly groups: readonly string[];
  /** Everybody, also the anonymous. */
  readonly anonymous: boolean;
  /** pull, push, delete, or `*` for all of them and the catalog. */
  readonly actions: readonly string[];
}

/** Rules and the groups that they name. */
export interface RuleSet {
  readonly rules: readonly AccessRule[];
  readonly groups: ReadonlyMap<string, ReadonlySet<string>>;
}

/** What was decided, and by which rule: its position, undefined when none speaks for the request. */
export interface RuleDecision {
  readonly allowed: boolean;
  readonly rule: number | undefined;
}

/**
 * Decides one access. Of the rules that match the repository and the user, those with the most specific glob decide, and any of
 * them that lists the action allows it; where none matches, it is denied.
 *
 * Specific is: more literal characters before the first wildcard; then more literal characters in all; then a rule that names the user before one that
 * names a group, and that before one for everybody.
 * @param user Undefined for the anonymous.
 */
export function decide(set: RuleSet, user: string | undefined, access: Pick<Access, "type" | "name" | "action">): RuleDecision {
  if (access.type === "registry") return decideCatalog(set, user);
  let best: { readonly rank: readonly number[]; readonly index: number; readonly allowed: boolean } | undefined;
  for (const [index, rule] of set.rules.entries()) {
    const who = matchUser(set, rule, user);
    if (who === 0) continue;
    for (const glob of rule.repositories) {
      if (!matchesGlob(glob, access.name)) continue;
      const rank = [...specificity(glob), who];
      const allowed = rule.actions.includes("*") || rule.actions.includes(access.action);
      const order = best === undefined ? 1 : compare(rank, best.rank);
      if (order > 0 || (order === 0 && allowed && best?.allowed === false)) best = { rank, index, allowed };
    }
  }
  return best === undefined ? { allowed: false, rule: undefined } : { allowed: best.allowed, rule: best.index };
}

/** Whether anybody may do anything without a login. */
export function hasAnonymousRules(set: RuleSet): boolean {
  return set.rules.some((rule) => rule.anonymous);
}

// The catalog shows each caller what it may pull, so whoever may do anything at all may ask for it.
function decideCatalog(set: RuleSet, user: string | undefined): RuleDecision {
  const index = set.rules.findIndex((rule) => matchUser(set, rule, user) > 0);
  return index < 0 ? { allowed: false, rule: undefined } : { allowed: true, rule: index };
}

/** 0: the rule is not for this user; else the more the closer. */
function matchUser(set: RuleSet, rule: AccessRule, user: string | undefined): number {
  if (user !== undefined && rule.users.includes(user)) return 3;
  if (user !== undefined && rule.groups.some((group) => set.groups.get(group)?.has(user) === true)) return 2;
  return rule.anonymous ? 1 : 0;
}

/** Whether a repository's name matches a glob. */
export function matchesGlob(glob: string, name: string): boolean {
  if (glob.endsWith("/**") && glob.slice(0, -3) === name) return true;
  return new Bun.Glob(glob).match(name);
}

function specificity(glob: string): readonly [number, number] {
  const wildcard = glob.search(/[*?[{]/);
  return [wildcard < 0 ? glob.length + 1 : wildcard, glob.replace(/[*?[\]{}]/g, "").length];
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const difference = value - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
