import { describe, expect, test } from "bun:test";
import { editEntry, hasEntry } from "./password-edit.ts";

describe("editEntry", () => {
  test.each([
    ["", "alice:new\n"],
    ["bob:x", "bob:x\nalice:new\n"],
    ["bob:x\n", "bob:x\nalice:new\n"],
    ["bob:x\r\n", "bob:x\r\nalice:new\r\n"],
    ["alice:old\nbob:x\n", "alice:new\nbob:x\n"],
    ["# c\n\nalice:old\nalice:older\nbob:x", "# c\n\nalice:new\nbob:x\n"],
    ["# alice:no\nalice2:x\n", "# alice:no\nalice2:x\nalice:new\n"],
    ["a.ice:x\n", "a.ice:x\nalice:new\n"],
  ])("puts alice into %p", (before, after) => expect(editEntry(before, "alice", "alice:new")).toBe(after));

  test.each([
    ["alice:old\n", ""],
    ["# c\nalice:old\nbob:x\nalice:older\n", "# c\nbob:x\n"],
    ["bob:x\n", "bob:x\n"],
  ])("takes alice out of %p", (before, after) => expect(editEntry(before, "alice", undefined)).toBe(after));
});

test("hasEntry finds whole names only", () => {
  expect(hasEntry("bob:x\r\n alice:x\r\n", "alice")).toBe(true);
  expect(hasEntry("alice2:x\n#alice:x\n", "alice")).toBe(false);
});
