import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SmallFileCache } from "./small-file-cache.ts";

describe("SmallFileCache", () => {
  let folder = "";
  let now = 0;
  let reads = 0;
  let cache = new SmallFileCache();
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "small-file-cache-"));
    now = 0;
    reads = 0;
    cache = new SmallFileCache(() => now);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const get = (name: string): string | undefined => {
    const path = join(folder, name);
    const bytes = cache.get(path, () => {
      reads++;
      return readFileSync(path);
    });
    return bytes === undefined ? undefined : Buffer.from(bytes).toString();
  };
  const replace = (name: string, text: string): void => {
    writeFileSync(join(folder, `${name}.tmp`), text);
    renameSync(join(folder, `${name}.tmp`), join(folder, name));
  };

  test("reads a file anew until its times are old enough, and then no more", () => {
    replace("a", "one");
    for (let i = 0; i < 3; i++) expect(get("a")).toBe("one");
    expect(reads).toBe(3);
    now = 3_000;
    for (let i = 0; i < 3; i++) expect(get("a")).toBe("one");
    expect(reads).toBe(4);
  });
  test("sees a replacement and a change in place, of the same length too", () => {
    replace("a", "one");
    get("a");
    now = 3_000;
    get("a");
    replace("a", "two");
    expect(get("a")).toBe("two");
    now = 6_000;
    expect(get("a")).toBe("two");
    writeFileSync(join(folder, "a"), "six");
    expect(get("a")).toBe("six");
  });
  test("sees a change whose time was set back", () => {
    replace("a", "one");
    const time = new Date(1_700_000_000_123);
    utimesSync(join(folder, "a"), time, time);
    get("a");
    now = 3_000;
    get("a");
    replace("a", "two");
    utimesSync(join(folder, "a"), time, time);
    expect(get("a")).toBe("two");
  });
  test("sees a deletion", () => {
    replace("a", "one");
    get("a");
    now = 3_000;
    get("a");
    rmSync(join(folder, "a"));
    expect(() => get("a")).toThrow("ENOENT");
  });
  test("does not keep large files", () => {
    writeFileSync(join(folder, "large"), "x".repeat(2000));
    get("large");
    now = 3_000;
    get("large");
    get("large");
    expect(reads).toBe(3);
  });
});
