import { describe, expect, test } from "bun:test";
import { firstAfter, pageOf } from "./list-page.ts";

const CHILDREN = ["a", "b", "b-1", "c"].map((name) => ({ name, isDirectory: false }));

describe("pageOf", () => {
  test("cuts pages that join without a gap", () => {
    expect(pageOf(CHILDREN, {})).toEqual({ entries: CHILDREN, next: undefined });
    expect(pageOf(CHILDREN, { limit: 3 })).toEqual({ entries: CHILDREN.slice(0, 3), next: "b-1" });
    expect(pageOf(CHILDREN, { limit: 3, startAfter: "b-1" })).toEqual({ entries: CHILDREN.slice(3), next: undefined });
    expect(pageOf(CHILDREN, { startAfter: "z" })).toEqual({ entries: [], next: undefined });
    expect(pageOf([], { limit: 3 })).toEqual({ entries: [], next: undefined });
  });

  test("gives at least one entry, that paging always ends", () => {
    expect(pageOf(CHILDREN, { limit: 0 })).toEqual({ entries: CHILDREN.slice(0, 1), next: "a" });
  });
});

test("firstAfter finds the place behind every name, existing or not", () => {
  expect(["", "a", "aa", "b", "b-", "b-1", "b0", "c", "d"].map((name) => firstAfter(CHILDREN, name))).toEqual([0, 1, 1, 2, 2, 3, 3, 4, 4]);
});
