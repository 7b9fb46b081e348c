import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Folders } from "./folders.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "folders-"));
});
afterEach(() => rmSync(root, { recursive: true }));

describe("Folders.within", () => {
  test("makes the folder with its parents only when it is missing", async () => {
    const folders = new Folders();
    const folder = join(root, "a/b/c");
    let tries = 0;
    const write = (): string => {
      tries++;
      writeFileSync(join(folder, "file"), "x");
      return "written";
    };
    expect(await folders.within(folder, write)).toBe("written");
    expect(tries).toBe(2);
    expect(await folders.within(folder, write)).toBe("written");
    expect(tries).toBe(3);
  });

  test("makes it again when somebody removes it before it is used", async () => {
    const folder = join(root, "a/b");
    let removals = 3;
    await new Folders().within(folder, () => {
      if (existsSync(folder) && removals-- > 0) rmSync(join(root, "a"), { recursive: true });
      writeFileSync(join(folder, "file"), "x");
    });
    expect(existsSync(join(folder, "file"))).toBe(true);
  });

  test("gives up when it is removed again and again", async () => {
    const folder = join(root, "a");
    const action = (): void => {
      if (existsSync(folder)) rmdirSync(folder);
      writeFileSync(join(folder, "file"), "x");
    };
    await expect(new Folders().within(folder, action)).rejects.toThrow("ENOENT");
  });

  test("hands on other failures at once", async () => {
    writeFileSync(join(root, "file"), "");
    const folder = join(root, "file/under");
    await expect(new Folders().within(folder, () => writeFileSync(join(folder, "x"), ""))).rejects.toThrow("ENOTDIR");
  });
});

describe("Folders.sync", () => {
  test.each([false, true])("resolves for folders that are there, and for one that was removed meanwhile (one journal: %p)", async (isOrdered) => {
    const folders = new Folders(isOrdered);
    await folders.sync(root);
    const folder = join(root, "a/b");
    await folders.within(folder, () => writeFileSync(join(folder, "x"), ""));
    await folders.sync(folder);
    rmSync(join(root, "a"), { recursive: true });
    await folders.sync(folder);
    await folders.syncMove(folder, folder);
  });

  test.each([false, true])("serves many at once (one journal: %p)", async (isOrdered) => {
    const folders = new Folders(isOrdered);
    mkdirSync(join(root, "a"));
    await Promise.all(Array.from({ length: 50 }, (_, index) => folders.sync(index % 2 === 0 ? root : join(root, "a"))));
  });
});
