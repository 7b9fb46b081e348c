import { describe, expect, test } from "bun:test";
import { type AccessRule, decide, type RuleSet } from "./rules.ts";

const rule = (part: Partial<AccessRule>): AccessRule => ({ repositories: ["**"], users: [], groups: [], anonymous: false, actions: ["pull"], ...part });
const set = (...rules: Partial<AccessRule>[]): RuleSet => ({ rules: rules.map(rule), groups: new Map([["admins", new Set(["root"])]]) });
const may = (rules: RuleSet, user: string | undefined, action: "pull" | "push" | "delete", name: string): boolean => decide(rules, user, { type: "repository", name, action }).allowed;

describe("decide", () => {
  const typical = set({ anonymous: true }, { repositories: ["team-a/**"], users: ["ci"], actions: ["pull", "push"] }, { groups: ["admins"], actions: ["*"] });
  test("anyone may pull, CI pushes to team-a/**, admins delete", () => {
    expect(may(typical, undefined, "pull", "x/y")).toBe(true);
    expect(may(typical, undefined, "push", "x/y")).toBe(false);
    expect(may(typical, "ci", "push", "team-a/app")).toBe(true);
    expect(may(typical, "ci", "push", "team-a/deep/app")).toBe(true);
    expect(may(typical, "ci", "push", "team-a")).toBe(true);
    expect(may(typical, "ci", "push", "team-b/app")).toBe(false);
    expect(may(typical, "ci", "delete", "team-a/app")).toBe(false);
    expect(may(typical, "root", "delete", "team-b/app")).toBe(true);
  });
  test("the most specific wins, also when it takes away", () => {
    const rules = set({ anonymous: true }, { repositories: ["secret/**"], users: ["ci"], actions: ["pull"] }, { repositories: ["secret/vault"], anonymous: true, actions: [] });
    expect(may(rules, undefined, "pull", "secret/x")).toBe(true);
    expect(may(rules, undefined, "pull", "secret/vault")).toBe(false);
    expect(may(rules, "ci", "pull", "secret/vault")).toBe(false);
    expect(decide(rules, "ci", { type: "repository", name: "secret/vault", action: "pull" }).rule).toBe(2);
  });
  test("a user's rule beats a group's, and that everybody's, for the same repositories", () => {
    const rules = set({ anonymous: true, actions: ["pull", "push"] }, { users: ["mallory"], actions: [] });
    expect(may(rules, "mallory", "pull", "a")).toBe(false);
    expect(may(rules, "alice", "push", "a")).toBe(true);
  });
  test("what no rule allows is denied", () => expect(decide(set(), "root", { type: "repository", name: "a", action: "pull" })).toEqual({ allowed: false, rule: undefined }));
  test("a single star stays within a part of the name", () => {
    const rules = set({ repositories: ["team/*"], anonymous: true });
    expect(may(rules, undefined, "pull", "team/a")).toBe(true);
    expect(may(rules, undefined, "pull", "team/a/b")).toBe(false);
  });
  test("the catalog is for whoever may do anything", () => {
    const rules = set({ users: ["ci"] });
    expect(decide(rules, "ci", { type: "registry", name: "catalog", action: "*" }).allowed).toBe(true);
    expect(decide(rules, "other", { type: "registry", name: "catalog", action: "*" }).allowed).toBe(false);
  });
});
