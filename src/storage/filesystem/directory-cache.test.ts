import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DirectoryCache } from "./directory-cache.ts";
import { FileStates } from "./file-state.ts";

let folder: string;
let nowMs: number;
let cache: DirectoryCache;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "directory-cache-"));
  nowMs = 0;
  cache = new DirectoryCache(new FileStates(() => nowMs));
});
afterEach(() => rmSync(folder, { recursive: true }));

function namesOf(listing = cache.list(folder)): string[] | undefined {
  return listing?.entries.map(({ name, isDirectory }) => (isDirectory ? `${name}/` : name));
}

/** Lists until the listing is kept. */
function warm(): void {
  cache.list(folder);
  nowMs += 10_000;
  cache.list(folder);
}

describe("DirectoryCache", () => {
  test("sorts names bytewise, and tells directories", async () => {
    for (const name of ["v1", "v1-rc", "V1", "_v", "a.b", "a-b", "10", "9"]) mkdirSync(join(folder, name));
    writeFileSync(join(folder, "file"), "");
    const expected = ["10/", "9/", "V1/", "_v/", "a-b/", "a.b/", "file", "v1/", "v1-rc/"];
    expect(namesOf()).toEqual(expected);
    expect(namesOf(await cache.listInPool(folder))).toEqual(expected);
  });

  test("uses a listing again only when it was read some time after the folder's state was first seen", () => {
    writeFileSync(join(folder, "a"), "");
    const first = cache.list(folder);
    nowMs += 49;
    const second = cache.list(folder);
    expect(second).not.toBe(first);
    nowMs += 5_000;
    const third = cache.list(folder);
    expect(third).not.toBe(second);
    expect(cache.list(folder)).toBe(third);
  });

  test("sees every change, also when the folder's time is set back", () => {
    writeFileSync(join(folder, "a"), "");
    utimesSync(folder, 1_000_000_000.5, 1_000_000_000.5);
    warm();
    writeFileSync(join(folder, "b"), "");
    utimesSync(folder, 1_000_000_000.5, 1_000_000_000.5);
    expect(namesOf()).toEqual(["a", "b"]);
    warm();
    unlinkSync(join(folder, "a"));
    expect(namesOf()).toEqual(["b"]);
    warm();
    unlinkSync(join(folder, "b"));
    mkdirSync(join(folder, "b"));
    expect(namesOf()).toEqual(["b/"]);
  });

  test("sees every one of many quick changes", async () => {
    const real = new DirectoryCache(new FileStates());
    for (let round = 0; round < 300; round++) {
      writeFileSync(join(folder, `n${round}`), "");
      const listing = round % 2 === 0 ? real.list(folder) : await real.listInPool(folder);
      expect(listing?.entries.length).toBe(round + 1);
      if (round % 50 === 0) await Bun.sleep(60);
    }
  });

  test("sees a folder that was replaced by another", () => {
    writeFileSync(join(folder, "a"), "");
    warm();
    rmSync(folder, { recursive: true });
    expect(() => cache.list(folder)).toThrow("ENOENT");
    mkdirSync(folder);
    expect(namesOf()).toEqual([]);
  });

  test("follows links, each time anew, and shows those that lead nowhere", () => {
    mkdirSync(join(folder, "target"));
    symlinkSync("target", join(folder, "link"));
    symlinkSync("nowhere", join(folder, "dangling"));
    symlinkSync("loop", join(folder, "loop"));
    warm();
    expect(namesOf()).toEqual(["dangling", "link/", "loop", "target/"]);
    mkdirSync(join(folder, "target", "deeper"));
    rmSync(join(folder, "target"), { recursive: true });
    writeFileSync(join(folder, "target"), "");
    warm();
    expect(namesOf()).toEqual(["dangling", "link", "loop", "target"]);
  });

  test("leaves out names that no driver could have stored", () => {
    mkdirSync(join(folder, "lost+found"));
    for (const name of ["with space", "größe", "name:1", "good"]) writeFileSync(join(folder, name), "");
    expect(namesOf()).toEqual(["good"]);
  });

  test("leaves a folder with very many names to the thread pool, unless it knows them", async () => {
    // The folder's own size is what tells; long names make it large quickly.
    const large = join(folder, "large");
    mkdirSync(large);
    for (let index = 0; index < 1_400; index++) writeFileSync(join(large, `${"x".repeat(200)}${index}`), "");
    if (cache.list(large) !== undefined) return;
    expect((await cache.listInPool(large)).entries.length).toBe(1_400);
    nowMs += 10_000;
    const listing = await cache.listInPool(large);
    expect(cache.list(large)).toBe(listing);
  });
});
