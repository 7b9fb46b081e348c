import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestOf } from "../oci/digest.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import { parseName, parseTag, type Tag } from "../oci/name.ts";
import { Marker, type MarkOptions, type Marks } from "../registry/gc/mark.ts";
import { LocalWalker } from "../registry/gc/walker.ts";
import { blobData, revisionLink, tagCurrentLink, tagFolder } from "../registry/layout.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { parentPath } from "../storage/paths.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { MarkThreads } from "./mark-threads.ts";

const OPTIONS: MarkOptions = { untaggedBefore: () => Number.POSITIVE_INFINITY, findStrayLayers: true, findFormerTags: true, listener: undefined, signal: undefined };

const [A, B] = [parseName("a"), parseName("b")];
const T = parseTag("t");

let root: string;
let driver: StorageDriver;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "mark-threads-"));
  driver = openFilesystemDriver({ rootdirectory: root });
});
afterEach(() => rmSync(root, { recursive: true }));

interface Made {
  readonly text: string;
  readonly digest: Digest;
}

function made(manifest: object): Made {
  const text = JSON.stringify({ schemaVersion: 2, ...manifest });
  return { text, digest: digestOf(text) };
}

function imageOf(repository: string, tag: string | undefined): Made {
  const config = { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf(`${repository} ${tag}`), size: 1 };
  return made({ mediaType: MEDIA_TYPES.ociManifest, config, layers: [] });
}

function referrerOf({ text, digest }: Made): Made {
  const config = { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf("a signature"), size: 1 };
  return made({ mediaType: MEDIA_TYPES.ociManifest, config, layers: [], subject: { mediaType: MEDIA_TYPES.ociManifest, digest, size: text.length } });
}

function indexOf({ text, digest }: Made): Made {
  return made({ mediaType: MEDIA_TYPES.ociIndex, manifests: [{ mediaType: MEDIA_TYPES.ociManifest, digest, size: text.length }] });
}

async function addManifest(repository: string, { text, digest }: Made, tag?: Tag): Promise<void> {
  const name = parseName(repository);
  await driver.putContent(blobData(digest), text);
  await driver.putContent(revisionLink(name, digest), digest);
  if (tag !== undefined) await driver.putContent(tagCurrentLink(name, tag), digest);
}

async function addImage(repository: string, tag: string | undefined): Promise<void> {
  await addManifest(repository, imageOf(repository, tag), tag === undefined ? undefined : parseTag(tag));
}

/** What marks say, whatever was looked at first. */
function comparable(marks: Marks): unknown {
  return { ...marks, live: [...marks.live].sort() };
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

describe("walking again finds what a first walk would", () => {
  /** Each changes a store that holds a with a tag and a manifest without, and b with an index of which a child is not stored. */
  const changes: Readonly<Record<string, () => Promise<void>>> = {
    nothing: async () => undefined,
    "a tag is moved": async () => await driver.putContent(tagCurrentLink(A, T), imageOf("a", undefined).digest),
    "two tags swap what they point to": async () => {
      await driver.putContent(tagCurrentLink(B, T), imageOf("b", "t2").digest);
      await driver.putContent(tagCurrentLink(B, parseTag("t2")), indexOf(imageOf("c", "child")).digest);
    },
    "a tag is added": async () => await driver.putContent(tagCurrentLink(A, parseTag("new")), imageOf("a", undefined).digest),
    "a tag is deleted": async () => await driver.delete(tagFolder(A, T)),
    "a tag's link is deleted, and its folder stays": async () => await driver.delete(tagCurrentLink(A, T)),
    "a tag points to nothing": async () => await driver.putContent(tagCurrentLink(A, T), digestOf("gone")),
    "a tag's link is broken": async () => await driver.putContent(tagCurrentLink(A, T), ""),
    "an image is added": async () => await addImage("a", "other"),
    "a manifest is deleted": async () => await driver.delete(parentPath(revisionLink(A, imageOf("a", undefined).digest))),
    "a manifest's folder comes without a link": async () => await driver.putContent(`${parentPath(revisionLink(A, digestOf("none")))}/leftover`, ""),
    "a referrer is added": async () => await addManifest("a", referrerOf(imageOf("a", "t"))),
    "the missing child comes, by way of another repository": async () => await addImage("c", "child"),
    "a repository goes": async () => await driver.delete("/docker/registry/v2/repositories/a"),
    "a repository comes": async () => await addImage("new/one", "t"),
  };
  for (const [what, change] of Object.entries(changes)) {
    test(what, async () => {
      for (const untaggedBefore of [undefined, Number.POSITIVE_INFINITY, Date.now() - 3_600_000]) {
        const how = { ...OPTIONS, findStrayLayers: false, findFormerTags: false, untaggedBefore: () => untaggedBefore };
        await using threads = new MarkThreads({ rootdirectory: root, inBackground: false });
        for (const marker of [new Marker(driver), new Marker(driver, threads)]) {
          rmSync(join(root, "docker"), { recursive: true, force: true });
          for (const tag of ["t", undefined]) await addImage("a", tag);
          await addManifest("b", indexOf(imageOf("c", "child")), T);
          await addImage("b", "t2");
          const first = await marker.mark(how);
          await change();
          const [again, fresh] = [await marker.markAgain(how), await new Marker(driver).mark(how)];
          if (untaggedBefore === undefined) expect(comparable(again)).toEqual(comparable(fresh));
          // What was not untagged the first time stays, and so does what it needs.
          const untaggedTwice = fresh.untagged.filter((one) => first.untagged.some((other) => other.name === one.name && other.digest === one.digest));
          expect({ ...again, live: [] }).toEqual({ ...fresh, live: [], untagged: untaggedTwice } as never);
          expect([...fresh.live].filter((digest) => !again.live.has(digest))).toEqual([]);
          expect(comparable(await marker.markAgain(how))).toEqual(comparable(fresh));
        }
      }
    });
  }
});

test("of what is as it was nothing is told again, and a walk that another thread did before counts for nothing", async () => {
  await addImage("a", "t");
  const task = { folder: { path: "a", parts: ["_manifests"] }, untaggedBefore: undefined, findStrayLayers: false, findFormerTags: false };
  await using threads = new MarkThreads({ rootdirectory: root, inBackground: false });
  for (const walker of [new LocalWalker(driver), threads]) {
    expect(await walker.walk([{ ...task, walk: 1, onlyChanges: false }])).toMatchObject([{ name: "a" }]);
    expect(await walker.walk([{ ...task, walk: 2, onlyChanges: true }])).toEqual([undefined]);
    expect(await walker.walk([{ ...task, walk: 3, onlyChanges: true }])).toEqual([undefined]);
    expect(await walker.walk([{ ...task, walk: 5, onlyChanges: true }])).toMatchObject([{ name: "a" }]);
    expect(await walker.walk([{ ...task, walk: 6, onlyChanges: false }])).toMatchObject([{ name: "a" }]);
  }
});

test("what a thread cannot read fails the walk", async () => {
  await addImage("a", "t");
  await using threads = new MarkThreads({ rootdirectory: "/nonexistent", inBackground: true });
  const task = { folder: { path: "a", parts: ["_manifests"] }, walk: 1, untaggedBefore: undefined, onlyChanges: false, findStrayLayers: false, findFormerTags: false };
  expect(await threads.walk([task])).toMatchObject([{ name: "a", isEmpty: true }]);
  const bad = { folder: { path: "../a", parts: [] }, walk: 1, untaggedBefore: undefined, onlyChanges: false, findStrayLayers: false, findFormerTags: false };
  expect(String(await threads.walk([bad]).catch((error: unknown) => error))).toContain("invalid path");
});
