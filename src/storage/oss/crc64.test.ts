import { expect, test } from "bun:test";
import { combinedCrc64 } from "./crc64.ts";

// CRC-64/XZ of "123456789", which the catalogue of checksums gives as 995DC9BBDF1939FA, of "1234", of "56789", and of "".
const WHOLE = String(0x995dc9bbdf1939fan);
const FIRST = { checksum: "14865968487149912872", sizeBytes: 4 };
const SECOND = { checksum: "7598038797645275211", sizeBytes: 5 };
const NOTHING = { checksum: "0", sizeBytes: 0 };

test("combinedCrc64 gives the checksum of all bytes", () => {
  expect(combinedCrc64([{ checksum: WHOLE, sizeBytes: 9 }])).toBe(WHOLE);
  expect(combinedCrc64([FIRST, SECOND])).toBe(WHOLE);
  expect(combinedCrc64([NOTHING, FIRST, NOTHING, SECOND, NOTHING])).toBe(WHOLE);
});

test("combinedCrc64 minds the order, and knows the checksum of nothing", () => {
  expect(combinedCrc64([SECOND, FIRST])).not.toBe(WHOLE);
  expect(combinedCrc64([])).toBe("0");
});
