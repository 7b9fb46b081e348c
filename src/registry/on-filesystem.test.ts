import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestOf } from "../oci/digest.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import { parseTag } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { instrumentDriver } from "../storage/instrumented.ts";
import { SILENT_LOGGER } from "../telemetry/log.ts";
import { blobData, layerLink, revisionLink, tagCurrentLink, uploadData, uploadsFolder, uploadStartedAt } from "./layout.ts";
import { type LocalRegistry, openLocalRegistry } from "./local-registry.ts";
import { bodyOf, brokenBody, patternBytes, SlowBody } from "./testing/bodies.ts";
import { settled, TestClock } from "./testing/test-clock.ts";
import { codeOf, NAME, pushBlob, pushImage, readBlob, STRICT, thrownBy } from "./testing/test-registry.ts";

/* What only files in a folder can show: bytes between two sittings, other processes, the tree as distribution has it. */

const MIB = 1024 * 1024;
const LARGE = patternBytes(3 * MIB + 12_345);

let root: string;
let driver: StorageDriver;
let opened: LocalRegistry[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "registry-core-"));
  driver = openFilesystemDriver({ rootdirectory: root });
  opened = [];
});

afterEach(async () => {
  for (const registry of opened) await registry[Symbol.asyncDispose]();
  await driver[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

function open(on = driver): LocalRegistry {
  const registry = openLocalRegistry({ driver: on, log: SILENT_LOGGER, clock: new TestClock(), deleteEnabled: true, redirectEnabled: true, validation: STRICT, tagConcurrency: 4, hashThreads: 1 });
  opened.push(registry);
  return registry;
}

function files(): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .sort();
}

describe("a registry in a folder", () => {
  test("holds the files of distribution and no others", async () => {
    const registry = open();
    const digest = await pushImage(registry, "a", { tags: ["latest"] });
    const blobs = [digestOf('{"seed":"a"}'), digestOf("layer of a")];
    const index = `${tagCurrentLink(NAME, parseTag("latest")).replace("/current/link", "")}/index/sha256/${digest.slice(7)}/link`;
    expect(files()).toEqual([...[...blobs, digest].map(blobData), ...blobs.map((blob) => layerLink(NAME, blob)), revisionLink(NAME, digest), tagCurrentLink(NAME, parseTag("latest")), index].sort());
    expect(readFileSync(join(root, tagCurrentLink(NAME, parseTag("latest"))), "utf8")).toBe(digest);
  });

  test("takes large uploads in pieces, sends them as files, and leaves no folder of theirs", async () => {
    const registry = open();
    const digest = digestOf(LARGE);
    const { id } = await registry.uploads.start(NAME);
    expect(readFileSync(join(root, uploadStartedAt(NAME, id)), "utf8")).toBe("2026-01-02T03:04:05Z");
    await registry.uploads.append(NAME, id, bodyOf(LARGE.subarray(0, 2 * MIB)), { offset: 0 });
    expect(statSync(join(root, uploadData(NAME, id))).size).toBe(2 * MIB);
    await registry.uploads.finish(NAME, id, bodyOf(LARGE.subarray(2 * MIB)), { offset: 2 * MIB, digest });
    expect(await registry.blobs.open(NAME, digest, { method: "GET" })).toEqual({ digest, sizeBytes: LARGE.length, kind: "file", file: join(root, blobData(digest)) });
    expect(Buffer.compare(await readBlob(registry, digest), LARGE)).toBe(0);
    expect(readdirSync(join(root, uploadsFolder(NAME)))).toEqual([]);
  });

  test("keeps the bytes of a client that went away, on the disk", async () => {
    const registry = open();
    const { id } = await registry.uploads.start(NAME);
    expect(String(await thrownBy(registry.uploads.append(NAME, id, brokenBody(LARGE.subarray(0, MIB + 1)), {})))).toContain("went away");
    expect(statSync(join(root, uploadData(NAME, id))).size).toBe(MIB + 1);
    const restarted = open();
    expect((await restarted.uploads.status(NAME, id)).sizeBytes).toBe(MIB + 1);
    await restarted.uploads.finish(NAME, id, bodyOf(LARGE.subarray(MIB + 1)), { offset: MIB + 1, digest: digestOf(LARGE) });
    expect(Buffer.compare(await readBlob(restarted, digestOf(LARGE)), LARGE)).toBe(0);
  });

  test("does not believe its running hash when another process has changed the bytes", async () => {
    const registry = open();
    for (const [content, code] of [["HELLO", "DIGEST_INVALID"], ["hello", "none"]] as const) {
      const { id } = await registry.uploads.start(NAME);
      await registry.uploads.append(NAME, id, bodyOf("hello"), {});
      const data = join(root, uploadData(NAME, id));
      writeFileSync(data, content);
      utimesSync(data, 1, 1);
      const finished = registry.uploads.finish(NAME, id, undefined, { digest: digestOf("hello") }).then(() => "none" as const);
      expect(await (code === "none" ? finished : codeOf(finished))).toBe(code);
    }
    expect(Buffer.from(await readBlob(registry, digestOf("hello"))).toString()).toBe("hello");
  });

  test("lets two instances write to an upload one after the other, never at once", async () => {
    const [first, second] = [open(), open()];
    const { id } = await first.uploads.start(NAME);
    const body = new SlowBody();
    const writing = first.uploads.append(NAME, id, body, {});
    await settled();
    expect(await codeOf(second.uploads.append(NAME, id, bodyOf("x"), {}))).toBe("RANGE_INVALID");
    expect((await second.uploads.status(NAME, id)).sizeBytes).toBe(0);
    body.send("hello");
    body.end();
    await writing;
    expect((await second.uploads.append(NAME, id, bodyOf(" world"), { offset: 5 })).sizeBytes).toBe(11);
    await first.uploads.finish(NAME, id, undefined, { offset: 11, digest: digestOf("hello world") });
    expect(Buffer.from(await readBlob(second, digestOf("hello world"))).toString()).toBe("hello world");
  });

  test("that lost an upload to another instance meanwhile says so, and keeps no hash of bytes that went nowhere", async () => {
    // Its clock stands still: it never looks by itself whether the file is still its own.
    await using stopped = openFilesystemDriver({ rootdirectory: root }, { clock: new TestClock() });
    const [first, second] = [open(stopped), open()];
    const { id } = await first.uploads.start(NAME);
    const body = new SlowBody();
    const writing = first.uploads.append(NAME, id, body, {});
    await settled();
    utimesSync(join(root, uploadData(NAME, id)), 1, 1);
    await second.uploads.append(NAME, id, bodyOf("theirs"), { offset: 0 });
    body.send("lostly");
    body.end();
    expect(await codeOf(writing)).toBe("RANGE_INVALID");
    expect(await codeOf(first.uploads.finish(NAME, id, undefined, { offset: 6, digest: digestOf("lostly") }))).toBe("DIGEST_INVALID");
    expect(await codeOf(first.blobs.stat(NAME, digestOf("lostly")))).toBe("BLOB_UNKNOWN");
  });

  test("whose upload is deleted by another instance while bytes come says that it is unknown", async () => {
    const [first, second] = [open(), open()];
    for (const end of ["append", "finish"] as const) {
      const { id } = await first.uploads.start(NAME);
      const body = new SlowBody();
      const writing = end === "append" ? first.uploads.append(NAME, id, body, {}) : first.uploads.finish(NAME, id, body, { digest: digestOf("lost") });
      await settled();
      await second.uploads.cancel(NAME, id);
      body.send("lost");
      body.end();
      expect(await codeOf(writing)).toBe("BLOB_UPLOAD_UNKNOWN");
    }
    expect(await codeOf(first.blobs.stat(NAME, digestOf("lost")))).toBe("BLOB_UNKNOWN");
  });

  test("stores nothing, and something, and sends it", async () => {
    const registry = open();
    const { id } = await registry.uploads.start(NAME);
    await registry.uploads.finish(NAME, id, undefined, { digest: digestOf("") });
    expect(await registry.blobs.stat(NAME, digestOf(""))).toEqual({ digest: digestOf(""), sizeBytes: 0 });
    await pushBlob(registry, "hello");
    await pushBlob(registry, LARGE);
    expect(await codeOf(registry.uploads.put(NAME, bodyOf(LARGE.subarray(1)), digestOf("x")))).toBe("DIGEST_INVALID");
    expect(files().filter((path) => path.includes("tmp"))).toEqual([]);
    expect((await readBlob(registry, digestOf("hello"))).length).toBe(5);
  });

  test("is not put off by what distribution and crashes leave behind", async () => {
    const registry = open();
    const digest = await pushImage(registry, "a", { tags: ["latest"] });
    writeFileSync(join(root, `${tagCurrentLink(NAME, parseTag("latest"))}.0d1e2f3a.tmp`), "half");
    writeFileSync(join(root, `${blobData(digest)}.0d1e2f3a.tmp`), "half");
    expect((await registry.manifests.get(NAME, { tag: parseTag("latest") })).digest).toBe(digest);
    expect((await registry.tags.list(NAME, {})).items).toEqual(["latest"]);
    expect((await registry.catalog.list({})).items).toEqual([NAME]);
    expect(await registry.purgeUploads({ olderThan: new Date(), dryRun: false })).toEqual({ deleted: 0, errors: 0 });
    await registry.manifests.delete(NAME, digest);
    expect(await codeOf(registry.manifests.get(NAME, { digest }))).toBe("MANIFEST_UNKNOWN");
    expect((await registry.tags.list(NAME, {})).items).toEqual([]);
  });
});

describe("lists of referrers in a folder", () => {
  const SUBJECT = digestOf("subject");
  let calls: number;
  let registry: LocalRegistry;
  let other: LocalRegistry;

  beforeEach(() => {
    calls = 0;
    registry = open(instrumentDriver(driver, { metrics: { action: () => void calls++ } }));
    other = open(openFilesystemDriver({ rootdirectory: root }));
  });

  async function listed(): Promise<Digest[]> {
    return (await registry.referrers.list(NAME, SUBJECT, {})).items.map((item) => item.digest);
  }

  /** The list, when it comes out of memory. */
  async function remembered(): Promise<Digest[]> {
    for (;;) {
      const before = calls;
      const found = await listed();
      await Bun.sleep(10);
      if (calls === before) return found;
    }
  }

  /** What is listed now, and from memory later. */
  async function expectReferrers(...digests: readonly Digest[]): Promise<void> {
    const sorted = [...digests].sort();
    expect(await listed()).toEqual(sorted);
    expect(await remembered()).toEqual(sorted);
  }

  /** Stores a manifest as distribution does: it writes no index of referrers. */
  async function putByDistribution(manifest: object): Promise<Digest> {
    const text = JSON.stringify(manifest);
    const digest = digestOf(text);
    await driver.putContent(blobData(digest), text);
    await driver.putContent(revisionLink(NAME, digest), digest);
    return digest;
  }

  test("show at once what another process pushes and deletes", async () => {
    await pushImage(other, "unrelated");
    expect(await listed()).toEqual([]);
    await expectReferrers();
    const one = await pushImage(other, "one", { subject: SUBJECT });
    await expectReferrers(one);
    const two = await pushImage(other, "two", { subject: SUBJECT });
    await expectReferrers(one, two);
    await other.manifests.delete(NAME, one);
    await expectReferrers(two);
    await pushImage(other, "one", { subject: SUBJECT });
    await expectReferrers(one, two);
  });

  test("show at once what distribution deletes and stores, of which there is no index", async () => {
    const one = await pushImage(registry, "one", { subject: SUBJECT });
    const two = await pushImage(registry, "two", { subject: SUBJECT });
    await expectReferrers(one, two);
    rmSync(join(root, revisionLink(NAME, one)));
    await expectReferrers(two);
    writeFileSync(join(root, revisionLink(NAME, one)), one);
    await expectReferrers(one, two);
    writeFileSync(join(root, revisionLink(NAME, two)), "");
    await expectReferrers(one);
    const three = await putByDistribution({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [], subject: { mediaType: MEDIA_TYPES.ociManifest, digest: SUBJECT, size: 1 } });
    const list = await putByDistribution({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [{ mediaType: MEDIA_TYPES.ociIndex, digest: three, size: 1 }] });
    await expectReferrers(one);
    const tag = parseTag(SUBJECT.replace(":", "-"));
    await driver.putContent(tagCurrentLink(NAME, tag), list);
    await expectReferrers(one, three);
    await driver.delete(tagCurrentLink(NAME, tag));
    await expectReferrers(one);
  });

  test("show a referrer whose bytes were missing as soon as they are back", async () => {
    const one = await pushImage(other, "one", { subject: SUBJECT });
    const bytes = readFileSync(join(root, blobData(one)));
    rmSync(join(root, blobData(one)));
    // Nothing proves that they stay away.
    for (let round = 0; round < 10; round++) {
      expect(await listed()).toEqual([]);
      await Bun.sleep(20);
    }
    writeFileSync(join(root, blobData(one)), bytes);
    await expectReferrers(one);
  });

  test("are told apart by what is asked for", async () => {
    const plain = await pushImage(registry, "plain", { subject: SUBJECT });
    const sbom = await pushImage(registry, "sbom", { subject: SUBJECT, artifactType: "application/x-sbom" });
    await expectReferrers(plain, sbom);
    const [first, second] = [plain, sbom].sort();
    for (let round = 0; round < 10; round++) {
      expect((await registry.referrers.list(NAME, SUBJECT, { artifactType: "application/x-sbom" })).items.map((item) => item.digest)).toEqual([sbom]);
      expect(await registry.referrers.list(NAME, SUBJECT, { limit: 1 })).toMatchObject({ items: [{ digest: first }], more: true });
      expect(await registry.referrers.list(NAME, SUBJECT, { limit: 1, last: first ?? "" })).toMatchObject({ items: [{ digest: second }], more: false });
      await Bun.sleep(20);
    }
  });
});
