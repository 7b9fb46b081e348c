import { describe, expect, test } from "bun:test";
import { EMPTY_CRC32C, formatCrc32c, parseCrc32c, updateCrc32c } from "./crc32c.ts";

describe("updateCrc32c", () => {
  // RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
  test.each([
    ["nothing", new Uint8Array(), 0],
    ["the digits", new TextEncoder().encode("123456789"), 0xe3069283],
    ["32 bytes of zeros", new Uint8Array(32), 0x8a9136aa],
    ["32 bytes of ones", new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ["32 bytes that count up", Uint8Array.from({ length: 32 }, (_, index) => index), 0x46dd794e],
    ["32 bytes that count down", Uint8Array.from({ length: 32 }, (_, index) => 31 - index), 0x113fdb5c],
  ])("takes %s", (_, bytes, expected) => {
    expect(updateCrc32c(EMPTY_CRC32C, bytes)).toBe(expected);
  });

  test("goes on from every place", () => {
    const bytes = Uint8Array.from({ length: 41 }, (_, index) => (index * 37) % 256);
    const whole = updateCrc32c(EMPTY_CRC32C, bytes);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(updateCrc32c(updateCrc32c(EMPTY_CRC32C, bytes.subarray(0, cut)), bytes.subarray(cut))).toBe(whole);
    }
  });
});

test("formatCrc32c and parseCrc32c are each other's reverse", () => {
  expect(formatCrc32c(0xe3069283)).toBe("4waSgw==");
  for (const crc of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) expect(parseCrc32c(formatCrc32c(crc))).toBe(crc);
  for (const text of [undefined, "", "AA==", "not one"]) expect(parseCrc32c(text)).toBeUndefined();
});
