import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { sizeOf } from "./bucket.ts";
import { contentTag, isTagOf, tailKey } from "./unfinished.ts";

const part = (number: number, etag: string, sizeBytes: number): { number: number; etag: string; sizeBytes: number } => ({ number, etag, sizeBytes });

describe("isTagOf", () => {
  const bytes = Buffer.from("hello");
  const md5 = createHash("md5").update(bytes).digest("hex");

  test.each([md5, `"${md5}"`, md5.toUpperCase()])("knows %p for the tag of the bytes", (etag) => {
    expect(isTagOf(etag, bytes)).toBe(true);
  });

  test.each([`"${md5}-1"`, "", '"00000000000000000000000000000000"', "something of KMS"])("does not take %p for it", (etag) => {
    expect(isTagOf(etag, bytes)).toBe(false);
  });
});

test("sizeOf adds parts up", () => {
  expect([sizeOf([]), sizeOf([part(1, "a", 5), part(2, "b", 7)])]).toEqual([0, 12]);
});

test("contentTag is another one for another upload, part, size, order or object, and the same for the same", () => {
  const [a, b] = [part(1, '"a"', 5), part(2, '"b"', 5)];
  const tags = [
    contentTag({}),
    contentTag({ uploadId: "u", parts: [a, b] }),
    contentTag({ uploadId: "v", parts: [a, b] }),
    contentTag({ uploadId: "u", parts: [b, a] }),
    contentTag({ uploadId: "u", parts: [a] }),
    contentTag({ uploadId: "u", parts: [a, part(2, '"b"', 6)] }),
    contentTag({ objectTag: '"a"' }),
  ];
  expect(new Set(tags).size).toBe(tags.length);
  expect(contentTag({ uploadId: "u", parts: [part(1, '"a"', 5), b] })).toBe(contentTag({ uploadId: "u", parts: [a, b] }));
});

test("tailKey names an object that no path has", () => {
  expect(tailKey("docker/registry/v2/repositories/a/_uploads/u/data")).toBe("docker/registry/v2/repositories/a/_uploads/u/data~tail");
});
