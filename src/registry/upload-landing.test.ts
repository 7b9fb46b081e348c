import { describe, expect, test } from "bun:test";
import { readHead, UploadBody } from "./upload-body.ts";
import { SharedBuffers } from "./shared-buffers.ts";
import { landBody } from "./upload-landing.ts";
import { bodyOf, brokenBody, patternBytes } from "./testing/bodies.ts";
import type { ByteSource } from "./registry.ts";

const BYTES = patternBytes(3_500_000);

/** Lands a body in copies of what the sink is given, as those may be overwritten when it resolves. */
async function land(source: ByteSource, buffers: SharedBuffers): Promise<{ readonly landed: Buffer; readonly largest: number; readonly failure: unknown }> {
  const pieces: Buffer[] = [];
  const body = new UploadBody(source);
  const sink = async (bytes: Uint8Array): Promise<void> => {
    await Bun.sleep(0);
    pieces.push(Buffer.from(bytes));
  };
  const failure = await landBody(await readHead(body), body, { sink, buffers }).then(
    () => undefined,
    (error: unknown) => error,
  );
  return { landed: Buffer.concat(pieces), largest: Math.max(...pieces.map((piece) => piece.length)), failure };
}

describe.each([0, 1, 2, 128])("landBody with %p buffers left", (count) => {
  test("lands every byte in its order", async () => {
    for (const chunkBytes of [1000, 65_536, 3_000_000]) {
      const { landed, failure } = await land(bodyOf(BYTES, chunkBytes), new SharedBuffers(count));
      expect(failure).toBeUndefined();
      expect(landed.equals(BYTES)).toBe(true);
    }
  });

  test("lands what came before a failure, and throws it", async () => {
    const failure = new Error("the client went away");
    const result = await land(brokenBody(BYTES, failure), new SharedBuffers(count));
    expect(result.failure).toBe(failure);
    expect(result.landed.equals(BYTES)).toBe(true);
  });

  test("gives all buffers back", async () => {
    const buffers = new SharedBuffers(count);
    for (let round = 0; round < 3; round++) await land(brokenBody(BYTES), buffers);
    const taken = Array.from({ length: count }, () => buffers.takeIfFree());
    expect(taken.every((buffer) => buffer !== undefined)).toBe(true);
    expect(buffers.takeIfFree()).toBeUndefined();
  });
});

test("landBody gathers while there are buffers, and no more than that", async () => {
  const buffers = new SharedBuffers(2);
  expect((await land(bodyOf(BYTES), buffers)).largest).toBe(1024 * 1024);
  buffers.take();
  expect((await land(bodyOf(BYTES), buffers)).largest).toBe(1024 * 1024);
  buffers.take();
  expect((await land(bodyOf(BYTES), buffers)).largest).toBeLessThan(1024 * 1024);
});
