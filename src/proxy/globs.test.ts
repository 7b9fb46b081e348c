import { expect, test } from "bun:test";
import { compileGlob, matchesAny } from "./globs.ts";

test.each([
  ["team/app", "team/app", true],
  ["team/app", "team/app2", false],
  ["team/*", "team/app", true],
  ["team/*", "team/app/sub", false],
  ["team/**", "team/app/sub", true],
  ["team/**", "team", true],
  ["team/**", "teams/app", false],
  ["**", "a/b/c", true],
  ["**/app", "a/b/app", true],
  ["ap?", "app", true],
  ["ap?", "ap/", false],
  ["a.b+c", "aXb+c", false],
])("a glob %s and %s", (glob, name, fits) => {
  expect(matchesAny([compileGlob(glob)], name)).toBe(fits);
});
