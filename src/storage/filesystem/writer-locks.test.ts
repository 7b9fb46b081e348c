import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isNamed, WriterLocks } from "./writer-locks.ts";

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "writer-locks-"));
  file = join(folder, "data");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("WriterLocks", () => {
  test("opens a file for one at a time, and leaves nothing beside it", () => {
    const locks = new WriterLocks();
    const fd = locks.open(file);
    expect(locks.open(file)).toBeUndefined();
    expect(new WriterLocks().open(file)).toBeUndefined();
    expect(readdirSync(folder)).toEqual(["data"]);
    if (fd !== undefined) closeSync(fd);
    const next = new WriterLocks().open(file);
    expect(next).toBeNumber();
    if (next !== undefined) closeSync(next);
  });

  test("fails where the folder is missing", () => {
    expect(() => new WriterLocks().open(join(folder, "missing/data"))).toThrow("ENOENT");
  });

  test("locks a file that is open already", () => {
    const fd = openSync(file, "a");
    expect(new WriterLocks().lock(fd, file)).toBe(true);
    expect(new WriterLocks().open(file)).toBeUndefined();
    closeSync(fd);
  });
});

describe("isNamed", () => {
  test("tells a file from one that took its name, and from none", () => {
    const fd = openSync(file, "a");
    expect(isNamed(fd, file)).toBe(true);
    writeFileSync(`${file}.new`, "");
    renameSync(`${file}.new`, file);
    expect(isNamed(fd, file)).toBe(false);
    rmSync(file);
    expect(isNamed(fd, file)).toBe(false);
    closeSync(fd);
  });
});
