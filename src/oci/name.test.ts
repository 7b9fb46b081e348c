import { describe, expect, test } from "bun:test";
import { hasNameForm, isName, isTag, parseName } from "./name.ts";

describe("isName", () => {
  for (const name of ["a", "a/b", "a-b", "a--b", "a__b", "a.b", "a_b", "Foo/bar", "docker.com/foo", "0/1", `${"a/".repeat(127)}a`, "a".repeat(255)]) {
    test(`${name.slice(0, 20)} is one`, () => expect(isName(name)).toBe(true));
  }
  for (const name of ["", "Foo", "a..b", "_a", "a_", "a___b", "a/", "/a", "a//b", "a/../b", "a/B", "a b", "é", "a".repeat(256), "localhost:5000/foo", 'a"b', "a\nb"]) {
    test(`${JSON.stringify(name.slice(0, 20))} is none`, () => expect(isName(name)).toBe(false));
  }
  test("a long or ported name has the form and is refused with a reason", () => {
    expect(hasNameForm("a".repeat(256))).toBe(true);
    expect(() => parseName("a".repeat(256))).toThrow(expect.objectContaining({ code: "NAME_INVALID", status: 400 }));
    expect(() => parseName("localhost:5000/foo")).toThrow(expect.objectContaining({ code: "NAME_INVALID" }));
  });
  test("a hostile name is refused in linear time", () => {
    const started = performance.now();
    expect(isName(`${"a-".repeat(100)}!`)).toBe(false);
    expect(isName(`${"a.".repeat(120)}/`)).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

test("isTag", () => {
  for (const tag of ["a", "_a", "A.b-c_d", "1", "x".repeat(128)]) expect(isTag(tag)).toBe(true);
  for (const tag of ["", ".a", "-a", "x".repeat(129), "a/b", "a:b", "é", "a b"]) expect(isTag(tag)).toBe(false);
});
