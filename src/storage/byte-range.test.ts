import { describe, expect, test } from "bun:test";
import { checkRange } from "./byte-range.ts";
import { InvalidOffsetError } from "./errors.ts";

describe("checkRange", () => {
  test("fills in the defaults", () => {
    expect(checkRange("test", "/a", undefined)).toEqual({ startByte: 0, endByte: Number.POSITIVE_INFINITY });
    expect(checkRange("test", "/a", { offset: 5 })).toEqual({ startByte: 5, endByte: Number.POSITIVE_INFINITY });
    expect(checkRange("test", "/a", { length: 7 })).toEqual({ startByte: 0, endByte: 7 });
    expect(checkRange("test", "/a", { offset: 5, length: 0 })).toEqual({ startByte: 5, endByte: 5 });
  });

  test("refuses what is no count of bytes, naming it", () => {
    expect(() => checkRange("test", "/a", { offset: -1 })).toThrow("test: invalid offset: -1 for path: /a");
    for (const range of [{ offset: 0.5 }, { offset: Number.NaN }, { offset: Number.POSITIVE_INFINITY }, { length: -1 }, { length: 1.5 }]) {
      expect(() => checkRange("test", "/a", range)).toThrow(InvalidOffsetError);
    }
  });
});
