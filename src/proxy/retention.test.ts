import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { parseName } from "../oci/name.ts";
import { type ContentKind, type MirroredContent, Retention } from "./retention.ts";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 0, 1);

function content(repository: string, text: string, kind: ContentKind = "blob"): MirroredContent {
  return { repository: parseName(repository), digest: digestOf(text), kind };
}

function use(at: number, sizeBytes = 10, ttlMs = 100 * HOUR): { at: number; ttlMs: number; sizeBytes: number } {
  return { at, ttlMs, sizeBytes };
}

describe("Retention", () => {
  test("lets go what was not used for its time, manifests first, and nothing that stays for ever", () => {
    const retention = new Retention();
    retention.touch(content("a", "blob"), use(NOW));
    retention.touch(content("a", "manifest", "manifest"), use(NOW));
    retention.touch(content("a", "fresh"), use(NOW + HOUR));
    retention.touch(content("a", "eternal"), use(NOW, 10, 0));
    expect(retention.expired(NOW + 100 * HOUR - 1)).toEqual([]);
    expect(retention.expired(NOW + 100 * HOUR).map(({ digest }) => digest)).toEqual([digestOf("manifest"), digestOf("blob")]);
  });

  test("notes a use only when the last one was noted a while ago", () => {
    const retention = new Retention();
    const blob = content("a", "x");
    expect(retention.isStale(blob, NOW)).toBe(true);
    retention.touch(blob, use(NOW));
    expect(retention.isStale(blob, NOW + HOUR)).toBe(false);
    expect(retention.isStale(blob, NOW + HOUR + 1)).toBe(true);
    retention.touch(blob, use(NOW, 10, HOUR));
    expect(retention.isStale(blob, NOW + HOUR / 20 + 1)).toBe(true);
  });

  test("refreshes what is known, and only that", () => {
    const retention = new Retention();
    const blob = content("a", "x");
    retention.touch(blob, use(NOW));
    retention.refresh(blob.repository, blob.digest, NOW + 50 * HOUR);
    retention.refresh(blob.repository, digestOf("unknown"), NOW);
    expect(retention.size).toBe(1);
    expect(retention.expired(NOW + 120 * HOUR)).toEqual([]);
  });

  test("lets go what was used longest ago until the rest is small enough; a shared blob counts once and goes from everywhere", () => {
    const retention = new Retention();
    retention.touch(content("a", "shared"), use(NOW, 100));
    retention.touch(content("b", "shared"), use(NOW + HOUR, 100));
    retention.touch(content("a", "middle"), use(NOW + 2 * HOUR, 100));
    retention.touch(content("a", "new"), use(NOW + 3 * HOUR, 100));
    expect(retention.excess(300)).toEqual([]);
    expect(retention.excess(250).map(({ repository, digest }) => [repository as string, digest])).toEqual([
      ["a", digestOf("shared")],
      ["b", digestOf("shared")],
    ]);
    expect(retention.excess(100).length).toBe(3);
  });

  test("writes distribution's form and reads it again", () => {
    const retention = new Retention();
    const blob = content("a/b", "x");
    retention.touch(blob, use(NOW));
    retention.touch(content("c", "m", "manifest"), use(NOW, 7, 0));
    const text = retention.serialize();
    expect(retention.isChanged).toBe(false);
    expect(JSON.parse(text)[`a/b@${blob.digest}`]).toEqual({ Key: `a/b@${blob.digest}`, ExpiryData: new Date(NOW + 100 * HOUR).toISOString(), EntryType: 0, LastUse: "2026-01-01T00:00:00.000Z", Size: 10 });
    const restored = new Retention();
    restored.restore(text, (repository) => (repository === "c" ? 0 : 100 * HOUR));
    expect(restored.serialize()).toBe(text);
  });

  test("takes over what distribution wrote, past and future entries, and leaves out what is not mirrored or is no entry", () => {
    const retention = new Retention();
    const entry = (key: string, expiry: string, kind: number): object => ({ Key: key, ExpiryData: expiry, EntryType: kind });
    const past = `a@${digestOf("past")}`;
    const future = `a@${digestOf("future")}`;
    const state = {
      [past]: entry(past, "2025-12-31T23:00:00.123456789Z", 1),
      [future]: entry(future, "2026-01-01T01:00:00+00:00", 0),
      foreign: entry(`foreign@${digestOf("x")}`, "2025-12-31T23:00:00Z", 0),
      bad: entry("no digest", "2025-12-31T23:00:00Z", 0),
      worse: 5,
      worst: null,
    };
    retention.restore(JSON.stringify(state), (repository) => (repository === "a" ? 168 * HOUR : undefined));
    expect(retention.size).toBe(2);
    expect(retention.expired(NOW)).toMatchObject([{ repository: "a", digest: digestOf("past"), kind: "manifest" }]);
    expect(retention.expired(NOW + HOUR).length).toBe(2);
  });

  test("refuses a state that is none", () => {
    for (const text of ["", "[]", "null", "{"]) expect(() => new Retention().restore(text, () => 1)).toThrow();
  });
});
