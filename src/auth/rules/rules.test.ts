import { describe, expect, test } from "bun:test";
import type { Access } from "../controller.ts";
import { configuredGroups, type Groups } from "./groups.ts";
import { type AccessRule, AccessRules } from "./rules.ts";

const GROUPS = configuredGroups({ admins: ["root"] });
const CATALOG: Access = { type: "registry", name: "catalog", action: "*" };

function rulesOf(...rules: readonly Partial<AccessRule>[]): AccessRules {
  return new AccessRules(rules.map((rule) => ({ repositories: ["**"], users: [], groups: [], anonymous: false, actions: ["pull"], always: false, ...rule })), () => GROUPS);
}

function may(rules: AccessRules, user: string | undefined, action: Access["action"], name: string): boolean {
  return rules.allows(user, { type: "repository", name, action });
}

describe("AccessRules.allows", () => {
  test("without rules allows every user everything and the anonymous nothing", () => {
    const rules = rulesOf();
    expect(rules.isEmpty).toBe(true);
    for (const action of ["pull", "push", "delete"] as const) expect(may(rules, "alice", action, "a")).toBe(true);
    expect(rules.allows("alice", CATALOG)).toBe(true);
    expect(may(rules, undefined, "pull", "a")).toBe(false);
    expect(rules.allows(undefined, CATALOG)).toBe(false);
  });

  describe("with: anyone may pull, CI pushes to team-a/**, admins delete", () => {
    const rules = rulesOf({ anonymous: true, actions: ["pull"] }, { repositories: ["team-a/**"], users: ["ci"], actions: ["push"] }, { groups: ["admins"], actions: ["delete", "catalog"] });
    const cases: readonly (readonly [string | undefined, Access["action"], string, boolean])[] = [
      [undefined, "pull", "x/y", true],
      [undefined, "pull", "team-a/app", true],
      [undefined, "push", "team-a/app", false],
      [undefined, "delete", "team-a/app", false],
      ["ci", "pull", "team-a/app", true],
      ["ci", "push", "team-a/app", true],
      ["ci", "push", "team-a/deep/app", true],
      ["ci", "push", "team-a", true],
      ["ci", "push", "team-ab/app", false],
      ["ci", "push", "team-b/app", false],
      ["ci", "delete", "team-a/app", false],
      ["root", "delete", "team-a/app", true],
      ["root", "push", "team-a/app", false],
      ["stranger", "pull", "team-a/app", true],
    ];
    test.each(cases)("%p may %s %s: %p", (user, action, name, allowed) => expect(may(rules, user, action, name)).toBe(allowed));
    test("the catalog is for admins", () => {
      expect(rules.allows("root", CATALOG)).toBe(true);
      expect(rules.allows("ci", CATALOG)).toBe(false);
      expect(rules.allows(undefined, CATALOG)).toBe(false);
    });
  });

  test("a more specific rule closes what a wider one opens", () => {
    const rules = rulesOf({ anonymous: true }, { repositories: ["secret/**"], users: ["alice"] });
    expect(may(rules, undefined, "pull", "public")).toBe(true);
    expect(may(rules, undefined, "pull", "secret/x")).toBe(false);
    expect(may(rules, undefined, "pull", "secret")).toBe(false);
    expect(may(rules, "bob", "pull", "secret/x")).toBe(false);
    expect(may(rules, "alice", "pull", "secret/x")).toBe(true);
  });

  test("a more specific rule opens what a wider one closes", () => {
    const rules = rulesOf({ repositories: ["team/**"], users: ["alice"] }, { repositories: ["team/public"], anonymous: true });
    expect(may(rules, undefined, "pull", "team/public")).toBe(true);
    expect(may(rules, undefined, "pull", "team/other")).toBe(false);
  });

  test("rules with equally specific globs add up", () => {
    const rules = rulesOf({ repositories: ["team/**"], users: ["alice"] }, { repositories: ["team/**"], groups: ["admins"] });
    expect(may(rules, "alice", "pull", "team/x")).toBe(true);
    expect(may(rules, "root", "pull", "team/x")).toBe(true);
    expect(may(rules, "bob", "pull", "team/x")).toBe(false);
  });

  test("the order of rules does not count", () => {
    const rules = rulesOf({ repositories: ["secret/**"], users: ["alice"] }, { anonymous: true });
    expect(may(rules, undefined, "pull", "secret/x")).toBe(false);
  });

  test("a rule that names nobody closes", () => {
    const rules = rulesOf({ users: ["*"], actions: ["push"] }, { repositories: ["archive/**"], actions: ["push"] });
    expect(may(rules, "alice", "push", "archive/x")).toBe(false);
    expect(may(rules, "alice", "push", "other")).toBe(true);
  });

  test("the user * is everybody with a login", () => {
    const rules = rulesOf({ users: ["*"] });
    expect(may(rules, "anybody", "pull", "x")).toBe(true);
    expect(may(rules, undefined, "pull", "x")).toBe(false);
  });

  test("the action * is every action and the catalog", () => {
    const rules = rulesOf({ users: ["alice"], actions: ["*"] });
    for (const action of ["pull", "push", "delete", "*"] as const) expect(may(rules, "alice", action, "x")).toBe(true);
    expect(rules.allows("alice", CATALOG)).toBe(true);
  });

  test("what rules exist for but none allows is refused", () => {
    expect(may(rulesOf({ repositories: ["a"], users: ["alice"] }), "alice", "pull", "b")).toBe(false);
    expect(rulesOf({ anonymous: true, actions: ["*"] }).allows("alice", { type: "registry", name: "other", action: "*" })).toBe(false);
  });

  test("a rule that always counts is not closed by a more specific one, nor does it open it to others", () => {
    const rules = rulesOf({ groups: ["admins"], actions: ["*"], always: true }, { repositories: ["secret/**"], users: ["alice"] }, { anonymous: true });
    expect(may(rules, "root", "pull", "secret/x")).toBe(true);
    expect(may(rules, "alice", "pull", "secret/x")).toBe(true);
    expect(may(rules, "bob", "pull", "secret/x")).toBe(false);
    expect(rules.explain("root", "pull", "secret/x").deciding).toEqual([{ index: 0, glob: "**" }]);
  });

  test("groups that change count at once", () => {
    let groups: Groups = new Map();
    const rules = new AccessRules([{ repositories: ["**"], users: [], groups: ["team"], anonymous: false, actions: ["pull"], always: false }], () => groups);
    expect(may(rules, "alice", "pull", "x")).toBe(false);
    groups = configuredGroups({ team: ["alice"] });
    expect(may(rules, "alice", "pull", "x")).toBe(true);
  });

  test("lets in the anonymous only by a rule that allows them something", () => {
    expect(rulesOf({ anonymous: true }).letInAnonymous).toBe(true);
    expect(rulesOf({ anonymous: true, actions: [] }).letInAnonymous).toBe(false);
    expect(rulesOf({ users: ["*"] }).letInAnonymous).toBe(false);
  });
});

describe("AccessRules.explain", () => {
  const rules = rulesOf({ anonymous: true }, { repositories: ["secret/**", "hidden"], users: ["alice"] }, { repositories: ["team/*"], users: ["ci"], actions: ["push"] });

  test("names the rule and the glob that allow", () => {
    expect(rules.explain("alice", "pull", "secret/x")).toEqual({ allowed: true, through: "pull", deciding: [{ index: 1, glob: "secret/**" }], overruled: [] });
  });
  test("names who had the say, and who was overruled, when it refuses", () => {
    expect(rules.explain("bob", "pull", "hidden")).toEqual({ allowed: false, through: "pull", deciding: [{ index: 1, glob: "hidden" }], overruled: [{ index: 0, glob: "**" }] });
  });
  test("names no rule when none has a say", () => {
    expect(rules.explain("ci", "delete", "x")).toEqual({ allowed: false, through: "delete", deciding: [], overruled: [] });
  });
  test("tells that who may push may pull", () => {
    const closed = rulesOf({ repositories: ["team/*"], users: ["ci"], actions: ["push"] });
    expect(closed.explain("ci", "pull", "team/x")).toEqual({ allowed: true, through: "push", deciding: [{ index: 0, glob: "team/*" }], overruled: [] });
  });
  test("agrees with allows", () => {
    for (const user of [undefined, "alice", "bob", "ci", "root"]) {
      for (const action of ["pull", "push", "delete"] as const) {
        for (const name of ["hidden", "secret/x", "team/x", "team/x/y", "other"]) expect(rules.explain(user, action, name).allowed).toBe(may(rules, user, action, name));
      }
    }
  });
});
