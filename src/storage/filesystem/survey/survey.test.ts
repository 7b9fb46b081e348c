import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StorageDriver, StoreSurvey } from "../../driver.ts";
import { InvalidPathError, PathNotFoundError } from "../../errors.ts";
import { openFilesystemDriver } from "../driver.ts";

let root: string;
let driver: StorageDriver;
let survey: StoreSurvey;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "survey-"));
  driver = openFilesystemDriver({ rootdirectory: root });
  const opened = driver.survey?.();
  if (opened === undefined) throw new Error("the driver has no survey");
  survey = opened;
});
afterEach(async () => {
  await survey[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

/** What a promise is rejected with. */
async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(() => undefined, (error: unknown) => error);
}

describe("a survey of local files", () => {
  test("reads what the driver reads, files of every size, many at once", async () => {
    const sizes = [0, 1, 71, 65_535, 65_536, 65_537, 3_000_000];
    for (const size of sizes) writeFileSync(join(root, `file-${size}`), new Uint8Array(size).fill(size % 251));
    const read = await Promise.all(sizes.map((size) => survey.getContent(`/file-${size}`)));
    for (const [index, size] of sizes.entries()) expect(Buffer.compare(read[index] ?? new Uint8Array(1), await driver.getContent(`/file-${size}`))).toBe(0);
    const many = await Promise.all(Array.from({ length: 1000 }, () => survey.getContent("/file-71")));
    expect(new Set(many.map((bytes) => bytes.length))).toEqual(new Set([71]));
  });

  test("stats and lists as the driver does, links and what has no name in the store included", async () => {
    mkdirSync(join(root, "a/b"), { recursive: true });
    for (const name of ["a/file", "a/.hidden", "a/lost+found", "a/new\nline"]) writeFileSync(join(root, name), "x");
    symlinkSync("b", join(root, "a/to-folder"));
    symlinkSync("nowhere", join(root, "a/to-nothing"));
    symlinkSync("loop", join(root, "a/loop"));
    for (const path of ["/", "/a", "/a/b"]) expect(await survey.list(path)).toEqual(await driver.list(path));
    expect(await survey.list("/a", { startAfter: "b", limit: 1 })).toEqual(await driver.list("/a", { startAfter: "b", limit: 1 }));
    for (const path of ["/a", "/a/file", "/a/to-folder"]) expect(await survey.stat(path)).toEqual(await driver.stat(path));
  });

  test("fails as the driver does", async () => {
    writeFileSync(join(root, "file"), "12345");
    mkdirSync(join(root, "folder"));
    for (const call of [() => survey.getContent("/missing"), () => survey.stat("/missing"), () => survey.list("/missing"), () => survey.getContent("/file/below"), () => survey.list("/file/below")]) {
      expect(await errorOf(call())).toBeInstanceOf(PathNotFoundError);
    }
    expect(await errorOf(survey.getContent("/../file"))).toBeInstanceOf(InvalidPathError);
    expect(String(await errorOf(survey.getContent("/folder")))).toContain("EISDIR");
    expect(String(await errorOf(survey.getContent("/file", 4)))).toContain("more than the 4 bytes allowed");
    expect((await survey.getContent("/file", 5)).length).toBe(5);
    // One failure in the middle of many takes nothing from the others.
    const outcomes = await Promise.all(Array.from({ length: 200 }, async (_, index) => (index % 3 === 0 ? await errorOf(survey.getContent("/missing")) : await survey.getContent("/file"))));
    expect(outcomes.every((outcome, index) => (index % 3 === 0 ? outcome instanceof PathNotFoundError : outcome instanceof Uint8Array && outcome.length === 5))).toBe(true);
  });

  test("removes files, and their folders only when nothing else is in them", async () => {
    for (const folder of ["alone", "together"]) mkdirSync(join(root, folder));
    for (const file of ["alone/link", "together/link", "together/other"]) writeFileSync(join(root, file), "x");
    const options = { deadlineMs: Date.now() + 60_000, unlessChangedAfterMs: undefined };
    expect(await survey.removeFiles([["/alone/link", "/together/link"], [], ["/nowhere/link", "/together/other/below"]], options)).toEqual([[true, true], [], [false, false]]);
    expect(["alone", "together/link", "together/other"].map((name) => existsSync(join(root, name)))).toEqual([false, false, true]);
    expect(await survey.removeFiles([], options)).toEqual([]);
  });

  test("removes nothing after a failure, after the deadline, and of a group whose last file is too young", async () => {
    mkdirSync(join(root, "folder/below"), { recursive: true });
    for (const file of ["a", "b", "c"]) writeFileSync(join(root, file), "x");
    const options = { deadlineMs: Date.now() + 60_000, unlessChangedAfterMs: undefined };
    expect(String(await errorOf(survey.removeFiles([["/a"], ["/folder", "/b"], ["/c"]], options)))).toMatch(/EISDIR|EPERM/);
    expect(["a", "b", "c"].map((name) => existsSync(join(root, name)))).toEqual([false, true, true]);
    expect(String(await errorOf(survey.removeFiles([["/b"]], { ...options, deadlineMs: Date.now() })))).toContain("the time for deleting is over");
    expect(existsSync(join(root, "b"))).toBe(true);
    utimesSync(join(root, "b"), 1000, 1000);
    expect(await survey.removeFiles([["/b", "/c"], ["/c", "/b"], ["/missing"]], { ...options, unlessChangedAfterMs: 1_000_000 })).toEqual([undefined, [true, true], [false]]);
  });

  test("is over when it is disposed of", async () => {
    const pending = errorOf(survey.getContent("/file"));
    await survey[Symbol.asyncDispose]();
    expect(await pending).toBeInstanceOf(Error);
    expect(await errorOf(survey.getContent("/file"))).toBeInstanceOf(Error);
  });
});

describe("removeIfEmpty", () => {
  test("removes an empty folder, and nothing else", async () => {
    mkdirSync(join(root, "empty"));
    mkdirSync(join(root, "full/folder"), { recursive: true });
    writeFileSync(join(root, "file"), "");
    expect(await Promise.all(["/empty", "/full", "/file", "/missing"].map((path) => driver.removeIfEmpty?.(path)))).toEqual([true, false, false, true]);
    expect(["empty", "full/folder", "file"].map((name) => existsSync(join(root, name)))).toEqual([false, true, true]);
  });
});
