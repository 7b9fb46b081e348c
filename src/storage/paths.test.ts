import { describe, expect, test } from "bun:test";
import { InvalidPathError } from "./errors.ts";
import { checkDirectoryPath, checkPath, childPath, isPathName, parentPath } from "./paths.ts";

const VALID = ["/a", "/.abc", "/a.a", "/0-9/abcdefg", "/abcdefg/z.75", "/abc/1.2.3.4.5-6_zyx/123.z/4", "/a--b", "/a-.b", "/_.abc", "/Docker/docker-registry", "/...", "/..a", "/a..", "/-"];
const INVALID = [
  "", "a", "abc", "//", "//bcd", "/abc_123/", "/a//b", "/a/", "/.", "/..", "/../etc", "/a/..", "/a/../b", "/a/./b", "/./a", "a/b", "./a",
  "/a b", "/a\n", "/a\0", "/é", "/a+b", "/a:b", "/a\\b", "/%2e%2e", "/a\u{1F600}", " /a", "/a?", "/\u212A", "/\uFF0E\uFF0E",
];

describe("checkPath", () => {
  test.each(VALID)("takes %j", (path) => {
    checkPath("test", path);
    checkDirectoryPath("test", path);
  });

  test.each(INVALID)("refuses %j", (path) => {
    expect(() => checkPath("test", path)).toThrow(InvalidPathError);
    expect(() => checkDirectoryPath("test", path)).toThrow(InvalidPathError);
  });

  test("refuses the root, which checkDirectoryPath takes", () => {
    expect(() => checkPath("test", "/")).toThrow("test: invalid path: /");
    checkDirectoryPath("test", "/");
  });

  test("agrees with the expression of the grammar on every short text", () => {
    const alphabet = ["/", ".", "a", "-", "+", "Z"];
    const grammar = /^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)+$/;
    for (let number = 0; number < alphabet.length ** 5; number++) {
      let path = "";
      for (let rest = number; rest > 0; rest = Math.floor(rest / alphabet.length)) path += alphabet[rest % alphabet.length];
      let taken = true;
      try {
        checkPath("test", path);
      } catch {
        taken = false;
      }
      if (taken !== grammar.test(path)) throw new Error(`${JSON.stringify(path)}: ${taken ? "taken" : "refused"}`);
    }
  });
});

test("isPathName takes one component only", () => {
  expect(["a", ".hidden", "a.b_c-d"].map(isPathName)).toEqual([true, true, true]);
  expect(["", ".", "..", "a/b", "/a", "lost+found", "a b"].map(isPathName)).toEqual([false, false, false, false, false, false, false]);
});

test("childPath and parentPath are each other's reverse", () => {
  expect(childPath("/", "a")).toBe("/a");
  expect(childPath("/a", "b")).toBe("/a/b");
  expect(parentPath("/a/b")).toBe("/a");
  expect(parentPath("/a")).toBe("/");
});
