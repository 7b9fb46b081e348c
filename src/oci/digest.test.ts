import { describe, expect, test } from "bun:test";
import { algorithmOf, digestOf, hexOf, isDigest, parseDigest } from "./digest.ts";
import { RegistryError } from "./errors.ts";

describe("parseDigest", () => {
  test("accepts each algorithm at its length", () => {
    for (const [algorithm, length] of [["sha256", 64], ["sha384", 96], ["sha512", 128]] as const) {
      const text = `${algorithm}:${"0f".repeat(length / 2)}`;
      const digest = parseDigest(text);
      expect(algorithmOf(digest)).toBe(algorithm);
      expect(hexOf(digest)).toBe("0f".repeat(length / 2));
    }
  });

  const bad: [string, string][] = [
    ["", "invalid checksum digest format"],
    ["sha256", "invalid checksum digest format"],
    [":abc", "invalid checksum digest format"],
    ["sha256:baddigeststring", "invalid checksum digest length"],
    [`sha256:${"0".repeat(63)}`, "invalid checksum digest length"],
    [`sha256:${"F".repeat(64)}`, "invalid checksum digest format"],
    [`sha256:${"g".repeat(64)}`, "invalid checksum digest format"],
    [`sha256:../${"0".repeat(61)}`, "invalid checksum digest format"],
    [`md5:${"0".repeat(32)}`, "unsupported digest algorithm"],
    ["toString:00", "unsupported digest algorithm"],
  ];
  for (const [text, detail] of bad) {
    test(`${JSON.stringify(text.slice(0, 24))}: ${detail}`, () => {
      expect(isDigest(text)).toBe(false);
      expect(() => parseDigest(text)).toThrow(RegistryError);
      try {
        parseDigest(text);
      } catch (error) {
        expect(error).toMatchObject({ code: "DIGEST_INVALID", status: 400, entries: [{ detail }] });
      }
    });
  }
});

test("digestOf hashes with the algorithm that is asked for", () => {
  expect(digestOf("")).toBe(parseDigest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
  expect(algorithmOf(digestOf("x", "sha512"))).toBe("sha512");
});
