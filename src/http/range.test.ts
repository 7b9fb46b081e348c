import { describe, expect, test } from "bun:test";
import { parseContentRange, resolveRange } from "./range.ts";

describe("resolveRange", () => {
  const cases: [string, ReturnType<typeof resolveRange>][] = [
    ["bytes=500-1499", { start: 500, end: 1499 }],
    ["bytes=500-", { start: 500, end: 2047 }],
    ["bytes=-500", { start: 1548, end: 2047 }],
    ["bytes=-5000", { start: 0, end: 2047 }],
    ["bytes=2000-5000", { start: 2000, end: 2047 }],
    ["bytes=500-0", "unsatisfiable"],
    ["bytes=5000-10000", "unsatisfiable"],
    ["bytes=2048-", "unsatisfiable"],
    ["bytes=-0", "unsatisfiable"],
    ["bytes=-", "unsatisfiable"],
    ["bytes=a-b", "unsatisfiable"],
    ["bytes=0-1,3-4", undefined],
    ["items=0-1", undefined],
  ];
  for (const [header, expected] of cases) test(header, () => expect(resolveRange(header, 2048)).toEqual(expected));
  test("nothing of an empty blob can be had", () => expect(resolveRange("bytes=0-0", 0)).toBe("unsatisfiable"));
});

describe("parseContentRange", () => {
  for (const header of ["0-4", "bytes 0-4", "bytes=0-4", "bytes 0-4/5", "0-4/*"]) {
    test(header, () => expect(parseContentRange(header)).toEqual({ start: 0, end: 4 }));
  }
  for (const header of ["", "junk", "0", "-4", "0-", "bytes */5", "0-4-5"]) test(`${JSON.stringify(header)} is malformed`, () => expect(parseContentRange(header)).toBeUndefined());
});

test("resolveRange: a long row of blanks takes no time", () => {
  const startedAt = performance.now();
  for (const blank of [" ", "\t"]) {
    const blanks = blank.repeat(100_000);
    for (const header of [`bytes=${blanks}x`, `bytes=1${blanks}x`, `bytes=1-${blanks}x`, `bytes=-1${blanks}x`]) expect(resolveRange(header, 10)).toBe("unsatisfiable");
    expect(resolveRange(`bytes=${blanks}1${blanks}-${blanks}2${blanks}`, 10)).toEqual({ start: 1, end: 2 });
  }
  // Tried in every split, each would take seconds.
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});
