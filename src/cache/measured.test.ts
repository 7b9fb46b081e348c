import { expect, test } from "bun:test";
import { parseDigest } from "../oci/digest.ts";
import { MeasuredCache } from "./measured.ts";
import { MemoryDescriptorCache } from "./memory.ts";

const DIGEST = parseDigest(`sha256:${"0".repeat(64)}`);

test("MeasuredCache counts hits, misses and failures, and hands on what it is told", async () => {
  const counted: string[] = [];
  const inner = new MemoryDescriptorCache(10);
  await using cache = new MeasuredCache(inner, { request: (outcome) => void counted.push(outcome) });
  expect(await cache.get(DIGEST)).toBeUndefined();
  await cache.set(DIGEST, { sizeBytes: 5, mediaType: "a/b" });
  expect(await cache.get(DIGEST)).toEqual({ sizeBytes: 5, mediaType: "a/b" });
  await cache.delete(DIGEST);
  expect(await inner.get(DIGEST)).toBeUndefined();
  inner.get = async () => await Promise.reject(new Error("away"));
  expect(await cache.get(DIGEST).catch((error: unknown) => String(error))).toBe("Error: away");
  expect(counted).toEqual(["miss", "hit", "error"]);
});
