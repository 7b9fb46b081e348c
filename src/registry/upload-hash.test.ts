import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { SILENT_LOGGER } from "../telemetry/log.ts";
import { patternBytes } from "./testing/bodies.ts";
import { BULK_BYTES, UploadHasher } from "./upload-hash.ts";

const LARGE = patternBytes(BULK_BYTES * 3);

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

describe("RunningHash", () => {
  test.each(["sha256", "sha384", "sha512"] as const)("of %s is that of all bytes, on this thread and on another", async (algorithm) => {
    await using hasher = new UploadHasher(SILENT_LOGGER, 1);
    for (const [first, ...rest] of [
      [LARGE.subarray(0, 10), LARGE.subarray(10, 20), LARGE.subarray(20)],
      [shared(LARGE.subarray(0, BULK_BYTES)), shared(LARGE.subarray(BULK_BYTES, BULK_BYTES * 2)), LARGE.subarray(BULK_BYTES * 2)],
    ]) {
      using hash = hasher.begin(algorithm);
      for (const part of [first ?? new Uint8Array(), ...rest]) await hash.update(part);
      expect(hash.sizeBytes).toBe(LARGE.length);
      expect(await hash.digest()).toBe(digestOf(LARGE, algorithm));
    }
  });

  test("of nothing is that of nothing", async () => {
    await using hasher = new UploadHasher(SILENT_LOGGER, 1);
    using hash = hasher.begin("sha256");
    expect(await hash.digest()).toBe(digestOf(""));
  });

  test("many at once do not mix", async () => {
    await using hasher = new UploadHasher(SILENT_LOGGER, 2);
    const digests = await Promise.all(
      Array.from({ length: 8 }, async (_, seed) => {
        const bytes = patternBytes(BULK_BYTES, seed + 1);
        using hash = hasher.begin("sha256");
        await Promise.all([hash.update(shared(bytes)), hash.update(bytes), hash.update(bytes.subarray(5))]);
        return (await hash.digest()) === digestOf(Buffer.concat([bytes, bytes, bytes.subarray(5)]));
      }),
    );
    expect(digests).toEqual(Array.from({ length: 8 }, () => true));
  });

  test("is lost, not failed, when its thread ends, and the next has a thread again", async () => {
    const warnings: string[] = [];
    await using hasher = new UploadHasher({ ...SILENT_LOGGER, warn: (message) => void warnings.push(message) }, 1);
    using lost = hasher.begin("sha256");
    await lost.update(shared(LARGE));
    await hasher[Symbol.asyncDispose]();
    await lost.update(shared(LARGE));
    expect([lost.sizeBytes, await lost.digest(), warnings.length]).toEqual([-1, undefined, 1]);
    using next = hasher.begin("sha256");
    await next.update(shared(LARGE));
    expect(await next.digest()).toBe(digestOf(LARGE));
  });

  test("is of no use after its digest was given", async () => {
    await using hasher = new UploadHasher(SILENT_LOGGER, 1);
    using hash = hasher.begin("sha256");
    await hash.update(LARGE);
    await hash.digest();
    expect([hash.sizeBytes, await hash.digest()]).toEqual([-1, undefined]);
  });
});
