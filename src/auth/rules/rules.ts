import { LruMap } from "../../lib/lru.ts";
import type { Access } from "../controller.ts";
import { compareSpecificity, compileGlob, type RepositoryGlob } from "./glob.ts";
import type { Groups } from "./groups.ts";

/** Who may do what where, as the configuration has it. */
export interface AccessRule {
  /** Globs of repositories; see {@link compileGlob}. */
  readonly repositories: readonly string[];
  /** User names; `*` is everybody with a login. */
  readonly users: readonly string[];
  readonly groups: readonly string[];
  /** Everybody, also the anonymous. */
  readonly anonymous: boolean;
  readonly actions: readonly ("pull" | "push" | "delete" | "catalog" | "*")[];
  /** Has a say also where rules with more specific globs decide. */
  readonly always: boolean;
}

/** A rule that has a say, and the glob by which it has. */
export interface DecidingRule {
  /** Position in the configuration, from 0. */
  readonly index: number;
  /** Undefined for the catalog, which lies in no repository. */
  readonly glob: string | undefined;
}

/** What was decided, and why. */
export interface RuleDecision {
  readonly allowed: boolean;
  /** When allowed the rule that allows; else those that had the say and do not name the user. Empty: no rule speaks of it. */
  readonly deciding: readonly DecidingRule[];
  /** The action that allowed a pull: whoever may push may pull too. */
  readonly through: Access["action"] | "catalog";
  /** Rules with less specific globs that would have allowed what was refused. */
  readonly overruled: readonly DecidingRule[];
}

interface CompiledRule {
  readonly index: number;
  readonly globs: readonly RepositoryGlob[];
  readonly users: ReadonlySet<string>;
  readonly groups: readonly string[];
  readonly anonymous: boolean;
  readonly actions: ReadonlySet<string>;
  readonly always: boolean;
}

interface Candidate {
  readonly rule: CompiledRule;
  readonly glob: RepositoryGlob;
}

/** Kept so that a busy repository's rules are matched once. */
const MAX_MATCHED = 10_000;

/**
 * Decides by rules. For one action on one repository
 * 1. the rules have a say that list the action (or `*`) and have a glob that matches the repository;
 * 2. of these, those with the most specific glob decide (see {@link compareSpecificity}; several when their globs are equally so), and
 *    with them those that are marked `always`: without it the administrators would have to be named in every rule;
 * 3. it is allowed when one of them names the user: by name, by a group, by `*` for everybody with a login, or as anonymous;
 * 4. and refused otherwise, also when a less specific rule names the user, and when no rule has a say.
 *
 * So a rule for `secret/**` closes it to all that it does not name, for the actions that it lists and no others: a rule that lets
 * `ci` push to `team-a/**` takes nobody's right to pull there. Who may push may also pull, as every push needs it.
 * A rule that names nobody closes. The catalog is for whom any rule names that lists `catalog` or `*`.
 */
export class AccessRules {
  readonly #rules: readonly CompiledRule[];
  readonly #groups: () => Groups;
  readonly #matched = new LruMap<string, readonly Candidate[]>(MAX_MATCHED);

  /** @param groups Asked at every decision: groups may change. */
  constructor(rules: readonly AccessRule[], groups: () => Groups) {
    this.#rules = rules.map((rule, index) => ({ ...rule, index, globs: rule.repositories.map(compileGlob), users: new Set(rule.users), actions: new Set(rule.actions) }));
    this.#groups = groups;
  }

  /** Whether there are none: then every user may do everything, and nobody else anything. */
  get isEmpty(): boolean {
    return this.#rules.length === 0;
  }

  /** Whether anything is allowed without a login. */
  get letInAnonymous(): boolean {
    return this.#rules.some((rule) => rule.anonymous && rule.actions.size > 0);
  }

  /** Whether a user may do something. @param user Undefined for the anonymous. */
  allows(user: string | undefined, access: Access): boolean {
    if (this.isEmpty) return user !== undefined;
    if (access.type === "registry") return access.name === "catalog" && this.#rules.some((rule) => this.#opensCatalog(rule, user));
    if (access.action === "*") return (["pull", "push", "delete"] as const).every((action) => this.#allows(user, action, access.name));
    return this.#allows(user, access.action, access.name) || (access.action === "pull" && this.#allows(user, "push", access.name));
  }

  /** Decides like {@link AccessRules.allows} for rules that are not empty, and says why. */
  explain(user: string | undefined, action: "pull" | "push" | "delete" | "catalog", name: string): RuleDecision {
    if (action === "catalog") return this.#explainCatalog(user);
    const decision = this.#explain(user, action, name);
    if (decision.allowed || action !== "pull") return decision;
    const push = this.#explain(user, "push", name);
    return push.allowed ? push : decision;
  }

  #allows(user: string | undefined, action: string, name: string): boolean {
    return this.#deciding(action, name).some(({ rule }) => this.#names(rule, user));
  }

  #explain(user: string | undefined, through: "pull" | "push" | "delete", name: string): RuleDecision {
    const deciding = this.#deciding(through, name);
    const allowing = deciding.find(({ rule }) => this.#names(rule, user));
    if (allowing !== undefined) return { allowed: true, through, deciding: [described(allowing)], overruled: [] };
    const overruled = this.#candidates(through, name).filter(({ rule }) => this.#names(rule, user));
    return { allowed: false, through, deciding: deciding.map(described), overruled: overruled.map(described) };
  }

  #explainCatalog(user: string | undefined): RuleDecision {
    const opening = this.#rules.find((rule) => this.#opensCatalog(rule, user));
    const listing = this.#rules.filter(({ actions }) => actions.has("catalog") || actions.has("*"));
    const deciding = opening === undefined ? listing : [opening];
    return { allowed: opening !== undefined, through: "catalog", deciding: deciding.map(({ index }) => ({ index, glob: undefined })), overruled: [] };
  }

  #opensCatalog(rule: CompiledRule, user: string | undefined): boolean {
    return (rule.actions.has("*") || rule.actions.has("catalog")) && this.#names(rule, user);
  }

  #deciding(action: string, name: string): readonly Candidate[] {
    const key = `${action} ${name}`;
    const known = this.#matched.get(key);
    if (known !== undefined) return known;
    const candidates = this.#candidates(action, name);
    const best = candidates[0];
    const deciding = best === undefined ? [] : candidates.filter(({ rule, glob }) => rule.always || compareSpecificity(glob, best.glob) === 0);
    this.#matched.set(key, deciding);
    return deciding;
  }

  /** The rules that have a say, each with its most specific glob, the most specific first. */
  #candidates(action: string, name: string): readonly Candidate[] {
    const candidates: Candidate[] = [];
    for (const rule of this.#rules) {
      if (!rule.actions.has(action) && !rule.actions.has("*")) continue;
      const glob = rule.globs.filter((each) => each.matches(name)).sort((a, b) => compareSpecificity(b, a))[0];
      if (glob !== undefined) candidates.push({ rule, glob });
    }
    return candidates.sort((a, b) => compareSpecificity(b.glob, a.glob));
  }

  #names(rule: CompiledRule, user: string | undefined): boolean {
    if (rule.anonymous) return true;
    if (user === undefined) return false;
    return rule.users.has(user) || rule.users.has("*") || rule.groups.some((group) => this.#groups().get(group)?.has(user) === true);
  }
}

function described({ rule, glob }: Candidate): DecidingRule {
  return { index: rule.index, glob: glob.text };
}
