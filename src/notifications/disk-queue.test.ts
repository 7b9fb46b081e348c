import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SILENT_LOGGER } from "../telemetry/log.ts";
import { DiskQueue } from "./disk-queue.ts";
import { numberedEvent } from "./testing/events.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "disk-queue-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function open(options: { readonly maxBytes?: number; readonly segmentBytes?: number } = {}): DiskQueue {
  return new DiskQueue({ folder, maxBytes: 1 << 30, segmentBytes: 2000, log: SILENT_LOGGER, ...options });
}

/** Takes and confirms events, `limit` at most. */
async function take(queue: DiskQueue, limit = Number.POSITIVE_INFINITY): Promise<number[]> {
  const ids: number[] = [];
  while (ids.length < limit) {
    const event = await queue.peek();
    if (event === undefined) break;
    ids.push(Number(event.id));
    queue.confirm();
  }
  return ids;
}

function fill(queue: DiskQueue, from: number, to: number): void {
  for (let i = from; i < to; i++) queue.push(numberedEvent(i));
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function segments(): string[] {
  return readdirSync(folder).filter((name) => name.endsWith(".log")).sort();
}

describe("DiskQueue", () => {
  test("gives events in order over many segments and deletes what is delivered", async () => {
    await using queue = open();
    fill(queue, 0, 50);
    expect(segments().length).toBeGreaterThan(5);
    expect(queue.size).toBe(50);
    expect(await take(queue, 20)).toEqual(range(0, 20));
    fill(queue, 50, 60);
    expect(await take(queue)).toEqual(range(20, 60));
    expect(queue.size).toBe(0);
    expect(segments().length).toBe(1);
  });

  test("goes on after a restart where it stood", async () => {
    for (let start = 0; start < 40; start += 10) {
      await using queue = open();
      fill(queue, start, start + 10);
      expect(await take(queue, 7)).toEqual(range((start / 10) * 7, (start / 10) * 7 + 7));
    }
    await using queue = open();
    expect(queue.size).toBe(12);
    expect(await take(queue)).toEqual(range(28, 40));
  });

  test("reads an event that is longer than a segment and than the read buffer", async () => {
    await using queue = open();
    queue.push(numberedEvent(0, "x".repeat(700_000)));
    queue.push(numberedEvent(1));
    expect(await take(queue)).toEqual([0, 1]);
  });

  test("leaves out a line torn by a power cut and what was damaged, and keeps the rest in order", async () => {
    {
      await using queue = open({ segmentBytes: 1 << 20 });
      fill(queue, 0, 5);
    }
    const file = join(folder, segments()[0] ?? "");
    const lines = readFileSync(file, "utf8").split("\n");
    lines[2] = (lines[2] ?? "").replace('"push"', '"pull"');
    writeFileSync(file, lines.join("\n"));
    truncateSync(file, readFileSync(file).length - 10);
    await using queue = open();
    fill(queue, 5, 7);
    expect(await take(queue)).toEqual([0, 1, 3, 5, 6]);
    expect(queue.size).toBe(0);
  });

  test("delivers again, and loses nothing, when the position is unreadable", async () => {
    {
      await using queue = open({ segmentBytes: 1 << 20 });
      fill(queue, 0, 5);
      await take(queue, 2);
    }
    writeFileSync(join(folder, "cursor"), "\0\0\0\0");
    await using queue = open();
    expect(await take(queue)).toEqual(range(0, 5));
  });

  test("starts anew when the position lies beyond what is left of a segment", async () => {
    {
      await using queue = open({ segmentBytes: 1 << 20 });
      fill(queue, 0, 5);
      await take(queue, 4);
    }
    truncateSync(join(folder, segments()[0] ?? ""), 10);
    await using queue = open();
    fill(queue, 5, 6);
    expect(await take(queue)).toEqual([5]);
  });

  test("gives up the oldest segments beyond its size, and an event in delivery with them", async () => {
    await using queue = open({ maxBytes: 6000 });
    fill(queue, 0, 2);
    expect((await queue.peek())?.id).toBe("0");
    let dropped = 0;
    for (let i = 2; i < 60; i++) dropped += queue.push(numberedEvent(i));
    expect(dropped).toBeGreaterThan(30);
    expect(queue.size).toBe(60 - dropped);
    queue.confirm();
    expect(queue.size).toBe(60 - dropped);
    expect(await take(queue)).toEqual(range(dropped, 60));
  });

  test("ignores files that are not its own", async () => {
    appendFileSync(join(folder, "notes.txt"), "x");
    await using queue = open();
    fill(queue, 0, 1);
    expect(await take(queue)).toEqual([0]);
  });

  test("is refused while another queue holds the folder, and taken over from a process that ended", async () => {
    {
      await using first = open();
      expect(first.size).toBe(0);
      expect(() => open()).toThrow(/in use by process/);
    }
    writeFileSync(join(folder, "lock"), `${process.pid} 1\n`);
    await using queue = open();
    expect(queue.size).toBe(0);
  });
});
