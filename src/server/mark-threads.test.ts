import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestOf } from "../oci/digest.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import { parseName, parseTag } from "../oci/name.ts";
import { Marker, type MarkOptions } from "../registry/gc/mark.ts";
import { blobData, revisionLink, tagCurrentLink } from "../registry/layout.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { MarkThreads } from "./mark-threads.ts";

const OPTIONS: MarkOptions = { untaggedBefore: () => Number.POSITIVE_INFINITY, findStrayLayers: true, listener: undefined, signal: undefined };

let root: string;
let driver: StorageDriver;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "mark-threads-"));
  driver = openFilesystemDriver({ rootdirectory: root });
});
afterEach(() => rmSync(root, { recursive: true }));

async function addImage(repository: string, tag: string | undefined): Promise<void> {
  const name = parseName(repository);
  const config = { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf(`${repository} ${tag}`), size: 1 };
  const text = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers: [] });
  const digest = digestOf(text);
  await driver.putContent(blobData(digest), text);
  await driver.putContent(revisionLink(name, digest), digest);
  if (tag !== undefined) await driver.putContent(tagCurrentLink(name, parseTag(tag)), digest);
}

test("threads find what one finds alone, in the same order", async () => {
  for (let number = 0; number < 60; number++) {
    await addImage(`team-${number % 7}/app-${number}`, number % 3 === 0 ? undefined : "t");
    if (number % 10 === 0) await driver.putContent(tagCurrentLink(parseName(`team-${number % 7}/app-${number}`), parseTag("gone")), digestOf("gone"));
  }
  await driver.putContent(tagCurrentLink(parseName("team-1/broken"), parseTag("t")), "");
  await using threads = new MarkThreads({ rootdirectory: root, inBackground: false });
  const [alone, together] = [await new Marker(driver).mark(OPTIONS), await new Marker(driver, threads).mark(OPTIONS)];
  expect(alone.untagged.length).toBe(20);
  expect(alone.doubts.length).toBe(1);
  expect([...together.live]).toEqual([...alone.live]);
  expect({ ...together, live: [] }).toEqual({ ...alone, live: [] } as never);
});

test("what a thread cannot read fails the walk", async () => {
  await addImage("a", "t");
  await using threads = new MarkThreads({ rootdirectory: "/nonexistent", inBackground: true });
  const task = { folder: { path: "a", parts: ["_manifests"] }, untaggedBefore: undefined, findStrayLayers: false };
  expect(await threads.walk([task])).toMatchObject([{ name: "a", isEmpty: true }]);
  const bad = { folder: { path: "../a", parts: [] }, untaggedBefore: undefined, findStrayLayers: false };
  expect(String(await threads.walk([bad]).catch((error: unknown) => error))).toContain("invalid path");
});
