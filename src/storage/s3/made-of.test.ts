import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { isMadeOf } from "./made-of.ts";

const md5 = (text: string): string => createHash("md5").update(text).digest("hex");
const PARTS = ["hello", "world!"].map((text, index) => ({ number: index + 1, etag: `"${md5(text)}"`, sizeBytes: text.length }));
const ETAG = `"${createHash("md5").update(Buffer.from(md5("hello") + md5("world!"), "hex")).digest("hex")}-2"`;

test.each([
  ["size and tag fit", { sizeBytes: 11, etag: ETAG }, PARTS, true],
  ["the tag is written otherwise", { sizeBytes: 11, etag: ETAG.toUpperCase().replaceAll('"', "") }, PARTS, true],
  ["the size is another", { sizeBytes: 12, etag: ETAG }, PARTS, false],
  ["the tag is another", { sizeBytes: 11, etag: `"${md5("x")}-2"` }, PARTS, false],
  ["tags tell nothing, as of objects encrypted by KMS", { sizeBytes: 11, etag: '"x"' }, PARTS.map((part) => ({ ...part, etag: '"of KMS"' })), true],
])("isMadeOf, where %s", (_what, object, parts, expected) => {
  expect(isMadeOf(object, parts)).toBe(expected);
});
