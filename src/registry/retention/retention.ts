import { isDigest } from "../../oci/digest.ts";
import type { RepositoryName, Tag } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import type { Logger } from "../../telemetry/log.ts";
import { deleteTagIf } from "../gc/delete-tag.ts";
import { repositoryNames, tagsOf } from "../gc/inventory.ts";
import { readLink, statOrUndefined } from "../gc/store-reader.ts";
import { revisionLink, tagCurrentLink } from "../layout.ts";
import { readPullTimes } from "./pull-times.ts";
import { decideTags, type RetentionRule, rulesFor, type TagDecision, type TagFacts } from "./rules.ts";

const OF_MANIFEST = /^(sha\d+)-([0-9a-f]+)(?:\.[\w.-]+)?$/;

/** How to apply rules. */
export interface RetentionOptions {
  readonly rules: readonly RetentionRule[];
  readonly dryRun: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly log: Logger;
  readonly signal?: AbortSignal;
  /** Told of every decision on a tag. */
  readonly onDecision?: (name: RepositoryName, decision: TagDecision) => void;
}

/** What retention came to. */
export interface RetentionResult {
  readonly repositories: number;
  readonly keptTags: number;
  readonly deletedTags: number;
}

/**
 * Deletes the tags that no rule keeps. Manifests and bytes that lose their last tag are the collector's, see {@link untaggedAge}.
 * Rejects, having deleted nothing of that repository, when a tag of it cannot be read or understood.
 */
export async function applyRetention(driver: StorageDriver, options: RetentionOptions): Promise<RetentionResult> {
  const result = { repositories: 0, keptTags: 0, deletedTags: 0 };
  for await (const name of repositoryNames(driver)) {
    options.signal?.throwIfAborted();
    const rules = rulesFor(options.rules, name);
    if (rules.length === 0) continue;
    result.repositories++;
    for (const decision of decideTags(rules, await tagFacts(driver, name), options.now)) {
      options.onDecision?.(name, decision);
      if (decision.keep) result.keptTags++;
      else if (await deleteTag(driver, name, { decision, options })) result.deletedTags++;
    }
  }
  return result;
}

async function tagFacts(driver: StorageDriver, name: RepositoryName): Promise<TagFacts[]> {
  const pulls = await readPullTimes(driver, name);
  const facts: TagFacts[] = [];
  for (const tag of await tagsOf(driver, name)) {
    const path = tagCurrentLink(name, tag);
    const digest = await readLink(driver, path);
    if (digest === undefined) continue;
    if (!isDigest(digest)) throw new Error(`${path}: the link does not hold a digest; 'registry verify --repair' may mend it`);
    const info = await statOrUndefined(driver, path);
    if (info === undefined) continue;
    const pulled = Math.max(pulls.get(tag) ?? 0, pulls.get(digest) ?? 0);
    facts.push({ tag, digest, pushedAt: info.modifiedAt.getTime(), pulledAt: pulled === 0 ? undefined : pulled, isOfHeldManifest: await isOfHeldManifest(driver, name, tag) });
  }
  return facts;
}

// cosign and others keep signatures, SBOMs and attestations under tags named for the digest of what they belong to.
async function isOfHeldManifest(driver: StorageDriver, name: RepositoryName, tag: Tag): Promise<boolean> {
  const [, algorithm, hex] = OF_MANIFEST.exec(tag) ?? [];
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) && (await statOrUndefined(driver, revisionLink(name, digest))) !== undefined;
}

async function deleteTag(driver: StorageDriver, name: RepositoryName, what: { readonly decision: TagDecision; readonly options: RetentionOptions }): Promise<boolean> {
  const { tag } = what.decision.tag;
  if (what.options.dryRun) return true;
  const { digest, pushedAt } = what.decision.tag;
  // Looked at again: a push may have moved the tag since.
  const isDeleted = await deleteTagIf(driver, { name, tag, isDoomed: ({ target, modifiedAt }) => target === digest && modifiedAt.getTime() === pushedAt });
  if (isDeleted) what.options.log.info("retention deletes tag", { repository: name, tag, digest });
  return isDeleted;
}

/** How old a repository's untagged manifests must be to be collected, by the rules; undefined where they stay. */
export function untaggedAge(rules: readonly RetentionRule[], name: RepositoryName): number | undefined {
  const ages = rulesFor(rules, name).map((rule) => rule.untaggedafter).filter((age): age is number => age !== undefined);
  return ages.length === 0 ? undefined : Math.min(...ages);
}
