import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";

/** Which tags of which repositories are kept; everything that no rule matches is kept. */
export interface RetentionRule {
  /** Globs of repository names; `**` crosses slashes. */
  readonly repositories: readonly string[];
  /** Globs of tags. */
  readonly tags: readonly string[];
  /** A tag that any of these speaks for is kept. */
  readonly keep: {
    /** So many, the last pushed first. */
    readonly last?: number | undefined;
    /** Pushed within so many milliseconds. */
    readonly youngerthan?: number | undefined;
    /** Pulled within so many milliseconds. */
    readonly pulledwithin?: number | undefined;
    /** Globs of tags. */
    readonly always?: readonly string[] | undefined;
  };
  /** Manifests without a tag are deleted when they are older than so many milliseconds; undefined: never. */
  readonly untaggedafter?: number | undefined;
}

/** A tag as the rules look at it. Times are milliseconds since the epoch. */
export interface TagFacts {
  readonly tag: Tag;
  readonly digest: Digest;
  readonly pushedAt: number;
  /** Undefined when no pull is known. */
  readonly pulledAt: number | undefined;
  /** Whether its name says that it belongs to a manifest (`sha256-<hex>.sig` and the like), and that one is still held. */
  readonly isOfHeldManifest: boolean;
}

/** What is decided of a tag, and why. */
export interface TagDecision {
  readonly tag: TagFacts;
  readonly keep: boolean;
  readonly reason: string;
}

/** Whether any of the globs matches. */
export function matchesAny(globs: readonly string[], text: string): boolean {
  return globs.some((glob) => new Bun.Glob(glob).match(text));
}

/** The rules that speak for a repository, in their order. */
export function rulesFor(rules: readonly RetentionRule[], repository: string): readonly RetentionRule[] {
  return rules.filter((rule) => matchesAny(rule.repositories, repository));
}

/**
 * Decides which tags of a repository stay. The first rule that matches a tag decides it alone; `last` counts the tags of its own rule.
 * Signatures and the like under tags stay as long as what they belong to, and count for nothing.
 * @param now Milliseconds since the epoch.
 */
export function decideTags(rules: readonly RetentionRule[], tags: readonly TagFacts[], now: number): readonly TagDecision[] {
  const decisions: TagDecision[] = tags.filter((tag) => tag.isOfHeldManifest).map((tag) => ({ tag, keep: true, reason: "belongs to a manifest that is held" }));
  const left = new Set(tags.filter((tag) => !tag.isOfHeldManifest));
  for (const rule of rules) {
    const matched = [...left].filter((fact) => matchesAny(rule.tags, fact.tag));
    for (const fact of matched) left.delete(fact);
    const newest = matched.sort((a, b) => b.pushedAt - a.pushedAt || (a.tag < b.tag ? 1 : -1));
    for (const [rank, tag] of newest.entries()) decisions.push({ tag, ...decide(rule, tag, { rank, now }) });
  }
  for (const tag of left) decisions.push({ tag, keep: true, reason: "no rule matches" });
  return decisions;
}

function decide(rule: RetentionRule, tag: TagFacts, at: { readonly rank: number; readonly now: number }): { readonly keep: boolean; readonly reason: string } {
  const { last, youngerthan, pulledwithin, always } = rule.keep;
  if (always !== undefined && matchesAny(always, tag.tag)) return { keep: true, reason: "always kept" };
  if (last !== undefined && at.rank < last) return { keep: true, reason: `among the last ${last}` };
  if (youngerthan !== undefined && at.now - tag.pushedAt < youngerthan) return { keep: true, reason: "young enough" };
  if (pulledwithin !== undefined && tag.pulledAt !== undefined && at.now - tag.pulledAt < pulledwithin) return { keep: true, reason: "pulled lately" };
  // A rule that keeps nothing by any measure only looks after untagged manifests.
  if (last === undefined && youngerthan === undefined && pulledwithin === undefined && always === undefined) return { keep: true, reason: "the rule says nothing of tags" };
  return { keep: false, reason: "no reason to keep it" };
}
