import { describe, expect, test } from "bun:test";
import { compareSpecificity, compileGlob } from "./glob.ts";

describe("compileGlob", () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ["app", "app", true],
    ["app", "apps", false],
    ["app", "team/app", false],
    ["*", "app", true],
    ["*", "team/app", false],
    ["**", "team/deep/app", true],
    ["team/*", "team/app", true],
    ["team/*", "team", false],
    ["team/*", "team/deep/app", false],
    ["team/**", "team/deep/app", true],
    ["team/**", "team", true],
    ["team/**", "teams/app", false],
    ["**/app", "team/deep/app", true],
    ["**/app", "app", false],
    ["te?m", "team", true],
    ["te?m", "te/m", false],
    ["a.b", "axb", false],
    ["a.b", "a.b", true],
    ["a__b-*", "a__b-c", true],
  ];
  test.each(cases)("%s and %s: %p", (glob, name, matches) => expect(compileGlob(glob).matches(name)).toBe(matches));
});

describe("compareSpecificity", () => {
  test("orders from the whole name to everything", () => {
    const ordered = ["team-a/app", "team-a/app-*", "team-a/*-app", "team-a/*", "team-a/**", "team-*", "**/app", "*", "**"];
    const shuffled = [...ordered].reverse().map(compileGlob).sort((a, b) => compareSpecificity(b, a));
    expect(shuffled.map(({ text }) => text)).toEqual(ordered);
  });
  test("a whole name goes before a glob with a longer beginning", () => {
    expect(compareSpecificity(compileGlob("a"), compileGlob("a/very/long/beginning/**"))).toBeGreaterThan(0);
  });
  test("sees no difference between globs of the same kind", () => expect(compareSpecificity(compileGlob("a/*b"), compileGlob("b/*a"))).toBe(0));
});
