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

  test("gives nobody a file while locks that worked before fail, and lets everybody write where they never did", () => {
    let works = true;
    const locks = new WriterLocks(() => works);
    const fd = locks.open(file);
    works = false;
    expect(locks.open(file)).toBeUndefined();
    const without = new WriterLocks(() => false);
    const [first, second] = [without.open(file), without.open(file)];
    expect([first, second]).toEqual([expect.any(Number), expect.any(Number)]);
    for (const each of [fd, first, second]) if (each !== undefined) closeSync(each);
    expect(readdirSync(folder)).toEqual(["data"]);
  });

  test("notices locks that begin to work", () => {
    let works = false;
    const locks = new WriterLocks(() => works);
    const first = locks.open(file);
    works = true;
    const second = locks.open(file);
    works = false;
    expect(locks.open(file)).toBeUndefined();
    for (const each of [first, second]) if (each !== undefined) closeSync(each);
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
