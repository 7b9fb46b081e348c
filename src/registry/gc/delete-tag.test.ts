import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestOf } from "../../oci/digest.ts";
import { parseName, parseTag } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { openFilesystemDriver } from "../../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../../storage/inmemory/driver.ts";
import { tagCurrentLink, tagIndexLink, tagsFolder } from "../layout.ts";
import { deleteTagIf } from "./delete-tag.ts";
import { childNames } from "./inventory.ts";
import { readLink } from "./store-reader.ts";

const NAME = parseName("a");
const TAG = parseTag("t");
const [OLD, NEW] = [digestOf("old"), digestOf("new")];

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "delete-tag-"));
});
afterEach(() => rmSync(root, { recursive: true }));

async function push(driver: StorageDriver, digest: Digest): Promise<void> {
  await driver.putContent(tagIndexLink(NAME, TAG, digest), digest);
  await driver.putContent(tagCurrentLink(NAME, TAG), digest);
}

async function deleteOld(driver: StorageDriver): Promise<boolean> {
  return await deleteTagIf(driver, { name: NAME, tag: TAG, isDoomed: ({ target }) => target === OLD });
}

test("deletes a tag with its history, on every kind of store", async () => {
  for (const driver of [openInMemoryDriver(), openFilesystemDriver({ rootdirectory: root })]) {
    await push(driver, NEW);
    await push(driver, OLD);
    expect(await deleteOld(driver)).toBe(true);
    expect(await childNames(driver, tagsFolder(NAME))).toEqual([]);
    expect(await deleteOld(driver)).toBe(false);
  }
  expect(readdirSync(join(root, "docker/registry/v2/_gc"))).toEqual([]);
});

test("leaves a tag that points elsewhere", async () => {
  const driver = openFilesystemDriver({ rootdirectory: root });
  await push(driver, NEW);
  expect(await deleteOld(driver)).toBe(false);
  expect(await readLink(driver, tagCurrentLink(NAME, TAG))).toBe(NEW);
});

test("gives back what a push wrote between the look and the taking away, and what it writes afterwards", async () => {
  for (const moment of ["before the move", "after the move", "while the history goes"]) {
    const driver = openFilesystemDriver({ rootdirectory: root });
    await push(driver, OLD);
    let isPushed = false;
    const pushOnce = async (): Promise<void> => {
      if (!isPushed) await push(driver, NEW);
      isPushed = true;
    };
    const methods: Partial<StorageDriver> = {
      move: async (from, to) => {
        if (moment === "before the move") await pushOnce();
        await driver.move(from, to);
        if (moment === "after the move") await pushOnce();
      },
      delete: async (path) => {
        if (moment === "while the history goes" && path.includes("/index/")) await pushOnce();
        await driver.delete(path);
      },
    };
    const bound = new Proxy(driver, { get: (_target, key) => Reflect.get(methods, key) ?? bind(driver, key) });
    expect(await deleteOld(bound)).toBe(moment !== "before the move");
    expect([moment, await readLink(driver, tagCurrentLink(NAME, TAG))]).toEqual([moment, NEW]);
  }
});

function bind(driver: StorageDriver, key: string | symbol): unknown {
  const value: unknown = Reflect.get(driver, key);
  return typeof value === "function" ? value.bind(driver) : value;
}
