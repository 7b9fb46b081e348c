import { describe, expect, test } from "bun:test";
import { digestOf } from "../../oci/digest.ts";
import { parseTag } from "../../oci/name.ts";
import { decideTags, type RetentionRule, rulesFor, type TagFacts } from "./rules.ts";

const HOUR = 3_600_000;
const NOW = 1_000 * HOUR;
const fact = (tag: string, hoursAgo: number, pulledHoursAgo?: number): TagFacts => ({
  tag: parseTag(tag),
  digest: digestOf(tag),
  pushedAt: NOW - hoursAgo * HOUR,
  pulledAt: pulledHoursAgo === undefined ? undefined : NOW - pulledHoursAgo * HOUR,
  isOfHeldManifest: false,
});
const rule = (keep: RetentionRule["keep"], tags = ["*"]): RetentionRule => ({ repositories: ["**"], tags, keep });
const kept = (rules: readonly RetentionRule[], tags: readonly TagFacts[]): string[] =>
  decideTags(rules, tags, NOW).filter((decision) => decision.keep).map((decision) => decision.tag.tag as string).sort();

describe("decideTags", () => {
  const tags = [fact("v1", 40), fact("v2", 30), fact("v3", 20), fact("latest", 100)];
  test("keeps the last pushed", () => expect(kept([rule({ last: 2 })], tags)).toEqual(["v2", "v3"]));
  test("keeps the young", () => expect(kept([rule({ youngerthan: 35 * HOUR })], tags)).toEqual(["v2", "v3"]));
  test("keeps what was pulled lately", () => expect(kept([rule({ pulledwithin: 5 * HOUR })], [fact("a", 50, 4), fact("b", 50, 6), fact("c", 50)])).toEqual(["a"]));
  test("keeps what is always kept, beside the count", () => expect(kept([rule({ last: 1, always: ["latest"] })], tags)).toEqual(["latest", "v3"]));
  test("the first rule that matches a tag decides alone, and counts alone", () => {
    expect(kept([rule({ last: 1 }, ["v*"]), rule({ last: 1 })], tags)).toEqual(["latest", "v3"]);
  });
  test("keeps what no rule matches", () => expect(kept([rule({ last: 0 }, ["v*"])], tags)).toEqual(["latest"]));
  test("keeps what belongs to a manifest that is held, and does not count it", () => {
    const signature = { ...fact("sha256-abc.sig", 1), isOfHeldManifest: true };
    expect(kept([rule({ last: 1 })], [...tags, signature])).toEqual(["sha256-abc.sig", "v3"]);
  });
  test("a rule that says nothing of tags keeps them", () => expect(kept([rule({})], tags).length).toBe(4));
});

test("rulesFor takes the rules of a repository in order", () => {
  const rules = [{ ...rule({}), repositories: ["team-a/**"] }, { ...rule({}), repositories: ["team-b/*", "x"] }];
  expect(rulesFor(rules, "team-a/b/c")).toEqual([rules[0] as RetentionRule]);
  expect(rulesFor(rules, "team-b/x/y")).toEqual([]);
  expect(rulesFor(rules, "x")).toEqual([rules[1] as RetentionRule]);
});
