import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TempFolder, tempFolder } from "../../test/support/temp-folder.ts";
import { testParts } from "./testing/parts.ts";
import { WatchedFile, type WatchedFileOptions } from "./watched-file.ts";

let folder: TempFolder;
beforeAll(async () => void (folder = await tempFolder()));
afterAll(async () => await folder[Symbol.asyncDispose]());

function parse(text: string): string {
  if (text.includes("broken")) throw new Error("line 1: found nothing good");
  return text;
}

let files = 0;
async function openFile(text: string): Promise<{ readonly file: WatchedFile<string>; readonly path: string; readonly parts: ReturnType<typeof testParts> }> {
  const parts = testParts();
  const path = join(folder.path, `file-${files++}`);
  await writeFile(path, text);
  return { path, parts, file: await WatchedFile.open({ path, key: "auth.test", parse, ...parts }) };
}

describe("WatchedFile", () => {
  test("is due a second after the last look, and not before", async () => {
    const { file, parts } = await openFile("one");
    expect(file.isDue).toBe(false);
    await parts.clock.advance(999);
    expect(file.isDue).toBe(false);
    await parts.clock.advance(1);
    expect(file.isDue).toBe(true);
    await file.refresh();
    expect(file.isDue).toBe(false);
    await parts.clock.advance(-60_000);
    expect(file.isDue).toBe(true);
  });

  test("takes a new content, and only then another version", async () => {
    const { file, path } = await openFile("one");
    const first = file.version;
    await file.refresh();
    expect(file.version).toBe(first);
    await writeFile(path, "two!");
    await file.refresh();
    expect(file.content).toBe("two!");
    expect(file.version).not.toBe(first);
  });

  test("keeps the old content of a broken file, says so once, and takes the mended one", async () => {
    const { file, path, parts } = await openFile("one");
    await writeFile(path, "broken");
    await file.refresh();
    await file.refresh();
    expect(file.content).toBe("one");
    expect(parts.lines).toHaveLength(1);
    expect(parts.lines[0]).toMatchObject({ level: "error", fields: { "err.message": `auth.test: ${path}: line 1: found nothing good` } });
    await writeFile(path, "broken again");
    await file.refresh();
    expect(parts.lines).toHaveLength(2);
    await writeFile(path, "mended");
    await file.refresh();
    expect(file.content).toBe("mended");
  });

  test("keeps the old content of a file that is gone, says so once, and takes it when it is back", async () => {
    const { file, path, parts } = await openFile("one");
    await rm(path);
    await file.refresh();
    await file.refresh();
    expect(file.content).toBe("one");
    expect(parts.lines).toHaveLength(1);
    await writeFile(path, "back");
    await file.refresh();
    expect(file.content).toBe("back");
  });

  test("goes on with a file that is broken and then again what it was", async () => {
    const { file, path, parts } = await openFile("one");
    await writeFile(path, "broken");
    await file.refresh();
    await writeFile(path, "one");
    await file.refresh();
    expect(file.content).toBe("one");
    await writeFile(path, "broken");
    await file.refresh();
    expect(parts.lines).toHaveLength(2);
  });

  test("lets calls that overlap share one look", async () => {
    const { file, path } = await openFile("one");
    await writeFile(path, "two");
    const before = file.version;
    await Promise.all([file.refresh(), file.refresh(), file.refresh()]);
    expect(file.version).toBe(before + 1);
  });

  const options = (path: string): WatchedFileOptions<string> => ({ path, key: "auth.test", parse, ...testParts() });
  test("does not open what is missing, a folder, broken or too large", async () => {
    const path = join(folder.path, "odd");
    await expect(WatchedFile.open(options(path))).rejects.toThrow(`auth.test: ${path}: ENOENT`);
    await mkdir(path);
    await expect(WatchedFile.open(options(path))).rejects.toThrow(`auth.test: ${path}: is not a file`);
    await writeFile(`${path}-broken`, "broken");
    await expect(WatchedFile.open(options(`${path}-broken`))).rejects.toThrow("line 1: found nothing good");
    await writeFile(`${path}-large`, "");
    await Bun.$`truncate -s 17M ${path}-large`.quiet();
    await expect(WatchedFile.open(options(`${path}-large`))).rejects.toThrow("is larger than 16777216 bytes");
  });
});
