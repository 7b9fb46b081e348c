import { describe, expect, test } from "bun:test";
import { configuredGroups, mergeGroups, parseGroups } from "./groups.ts";

describe("parseGroups", () => {
  test("reads a group a line", () => {
    const groups = parseGroups("# people\n\nadmins: root alice\r\n dev :bob,carol\nadmins: dave\nempty:\n");
    expect(Object.fromEntries([...groups].map(([name, users]) => [name, [...users]]))).toEqual({ admins: ["root", "alice", "dave"], dev: ["bob", "carol"], empty: [] });
  });
  test.each(["admins root", ": root"])("refuses %p by its line", (line) => expect(() => parseGroups(`# first\n${line}`)).toThrow(/^line 2: /));
});

test("mergeGroups adds up", () => {
  const merged = mergeGroups(configuredGroups({ a: ["x"], b: ["y"] }), configuredGroups({ a: ["z"], constructor: ["w"] }));
  expect([...(merged.get("a") ?? [])]).toEqual(["x", "z"]);
  expect([...(merged.get("b") ?? [])]).toEqual(["y"]);
  expect([...(merged.get("constructor") ?? [])]).toEqual(["w"]);
});
