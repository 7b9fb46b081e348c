import { describe, expect, test } from "bun:test";
import { patternBytes } from "../registry/testing/bodies.ts";
import { BUFFER_BYTES, SharedBuffers } from "../registry/shared-buffers.ts";
import { RecentBytes } from "./recent-bytes.ts";

const BYTES = patternBytes(BUFFER_BYTES * 3 + 1000);

function filled(chunkBytes: number, buffers = new SharedBuffers()): RecentBytes {
  const recent = new RecentBytes(buffers);
  for (let at = 0; at < BYTES.length; at += chunkBytes) recent.append(BYTES.slice(at, at + chunkBytes));
  return recent;
}

describe("RecentBytes", () => {
  test.each([1000, 65_536, BUFFER_BYTES, BUFFER_BYTES * 2 + 1])("gives every byte that came in chunks of %p, in its place", (chunkBytes) => {
    const recent = filled(chunkBytes);
    expect([recent.start, recent.end]).toEqual([0, BYTES.length]);
    for (let position = 0; position < BYTES.length; ) {
      const view = recent.view(position, position + 300_000) ?? new Uint8Array();
      expect(view.length).toBeGreaterThan(0);
      expect(Buffer.compare(view, BYTES.subarray(position, position + view.length))).toBe(0);
      position += view.length;
    }
  });

  test("gives a view up to the end that was asked for, of the block, or of what came", () => {
    const recent = filled(65_536);
    expect(recent.view(10, 20)?.length).toBe(10);
    expect(recent.view(BUFFER_BYTES - 5, BYTES.length)?.length).toBe(5);
    expect(recent.view(BYTES.length - 5, BYTES.length + 5)?.length).toBe(5);
    expect(recent.view(BYTES.length, BYTES.length + 5)).toBeUndefined();
  });

  test("drops whole blocks, and uses their memory again", () => {
    const buffers = new SharedBuffers(4);
    const recent = filled(65_536, buffers);
    expect(buffers.takeIfFree()).toBeUndefined();
    recent.dropBefore(BUFFER_BYTES * 2 - 1);
    expect([recent.start, recent.view(BUFFER_BYTES - 1, BYTES.length)]).toEqual([BUFFER_BYTES, undefined]);
    expect(buffers.takeIfFree()).toBeDefined();
    expect(buffers.takeIfFree()).toBeUndefined();
    recent.dropBefore(recent.end);
    expect([recent.start, recent.end]).toEqual([BYTES.length, BYTES.length]);
    recent.append(BYTES.slice(0, 10));
    expect(Buffer.compare(recent.view(BYTES.length, BYTES.length + 10) ?? new Uint8Array(), BYTES.subarray(0, 10))).toBe(0);
  });

  test("frees the memory of a chunk", () => {
    const chunk = patternBytes(1000);
    new RecentBytes(new SharedBuffers()).append(chunk);
    expect(chunk.length).toBe(0);
  });
});
