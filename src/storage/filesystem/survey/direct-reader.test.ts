import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PathNotFoundError } from "../../errors.ts";
import { openFilesystemDriver } from "../driver.ts";
import { DirectReader } from "./direct-reader.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "direct-reader-"));
});
afterEach(() => rmSync(root, { recursive: true }));

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(() => undefined, (error: unknown) => error);
}

test("DirectReader answers and fails as the driver does", async () => {
  const driver = openFilesystemDriver({ rootdirectory: root });
  const reader = new DirectReader(root);
  mkdirSync(join(root, "a/b"), { recursive: true });
  for (const size of [0, 71, 65_535, 65_536, 200_000]) writeFileSync(join(root, `a/file-${size}`), new Uint8Array(size).fill(size % 251));
  writeFileSync(join(root, "a/lost+found"), "x");
  symlinkSync("b", join(root, "a/to-folder"));
  symlinkSync("loop", join(root, "a/loop"));
  for (const path of ["/", "/a", "/a/b"]) expect(await reader.list(path)).toEqual(await driver.list(path));
  for (const size of [0, 71, 65_535, 65_536, 200_000]) {
    const path = `/a/file-${size}`;
    expect(Buffer.compare(await reader.getContent(path), await driver.getContent(path))).toBe(0);
    expect(await reader.stat(path)).toEqual(await driver.stat(path));
  }
  expect(await errorOf(reader.getContent("/missing"))).toBeInstanceOf(PathNotFoundError);
  expect(await errorOf(reader.list("/a/file-0"))).toBeInstanceOf(PathNotFoundError);
  expect(await errorOf(reader.stat("/missing"))).toBeInstanceOf(PathNotFoundError);
  for (const path of ["/a/file-71", "/a/file-200000"]) expect(String(await errorOf(reader.getContent(path, 70)))).toContain("more than the 70 allowed here");
  expect(String(await errorOf(reader.getContent("/a")))).toContain("EISDIR");
});
