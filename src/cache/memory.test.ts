import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { MemoryDescriptorCache } from "./memory.ts";

describe("MemoryDescriptorCache", () => {
  test("remembers, replaces and forgets", async () => {
    await using cache = new MemoryDescriptorCache(10);
    const digest = digestOf("a");
    expect(await cache.get(digest)).toBeUndefined();
    await cache.set(digest, { sizeBytes: 1, mediaType: "a/b" });
    await cache.set(digest, { sizeBytes: 2, mediaType: "a/b" });
    expect(await cache.get(digest)).toEqual({ sizeBytes: 2, mediaType: "a/b" });
    await cache.delete(digest);
    await cache.delete(digest);
    expect(await cache.get(digest)).toBeUndefined();
  });

  test("drops what was used longest ago", async () => {
    await using cache = new MemoryDescriptorCache(2);
    const [a, b, c] = [digestOf("a"), digestOf("b"), digestOf("c")];
    for (const digest of [a, b]) await cache.set(digest, { sizeBytes: 1, mediaType: "" });
    await cache.get(a);
    await cache.set(c, { sizeBytes: 1, mediaType: "" });
    expect([await cache.get(a), await cache.get(b), await cache.get(c)].map((found) => found !== undefined)).toEqual([true, false, true]);
  });
});
