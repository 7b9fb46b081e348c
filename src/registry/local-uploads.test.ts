import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { parseName } from "../oci/name.ts";
import { StorageFullError } from "../storage/errors.ts";
import { blobData, blobFolder, layerLink, uploadData, uploadFolder, uploadsFolder, uploadStartedAt } from "./layout.ts";
import type { UploadInfo } from "./registry.ts";
import { bodyOf, brokenBody, patternBytes, SlowBody } from "./testing/bodies.ts";
import { settled } from "./testing/test-clock.ts";
import { codeOf, failureOf, filesOf, NAME, openTestRegistry, pushBlob, readBlob, thrownBy, type TestRegistry } from "./testing/test-registry.ts";

const OTHER = parseName("other");
const MIB = 1024 * 1024;
/** Larger than two landing buffers, and not a multiple of one. */
const LARGE = patternBytes(3 * MIB + 12_345);

async function begin({ registry }: TestRegistry): Promise<UploadInfo> {
  return await registry.uploads.start(NAME);
}

describe("an upload", () => {
  test.each([
    ["nothing", ""],
    ["a little", "hello"],
    ["a large body", LARGE],
  ])("of %s becomes a blob of the repository, and leaves nothing behind", async (_what, content) => {
    await using t = openTestRegistry();
    const { registry } = t;
    const bytes = typeof content === "string" ? Buffer.from(content) : content;
    const digest = digestOf(bytes);
    const { id, sizeBytes, startedAt } = await begin(t);
    expect({ sizeBytes, startedAt }).toEqual({ sizeBytes: 0, startedAt: new Date("2026-01-02T03:04:05Z") });
    expect(Buffer.from(await t.driver.getContent(uploadStartedAt(NAME, id))).toString()).toBe("2026-01-02T03:04:05Z");
    expect(await registry.uploads.append(NAME, id, bodyOf(bytes), { offset: 0 })).toEqual({ id, sizeBytes: bytes.length, startedAt });
    expect(await registry.uploads.finish(NAME, id, undefined, { offset: bytes.length, digest })).toEqual({ digest, sizeBytes: bytes.length });
    expect(Buffer.compare(await readBlob(registry, digest), bytes)).toBe(0);
    expect(await filesOf(t.driver)).toEqual([blobData(digest), layerLink(NAME, digest)].sort());
    expect(await codeOf(registry.uploads.status(NAME, id))).toBe("BLOB_UPLOAD_UNKNOWN");
  });

  test("comes in any number of pieces, the last with the end", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const digest = digestOf(LARGE);
    const cuts = [0, 1, 300_000, MIB, MIB, 3 * MIB];
    for (const [index, end] of cuts.slice(1).entries()) {
      const start = cuts[index] ?? 0;
      const { sizeBytes } = await t.registry.uploads.append(NAME, id, bodyOf(LARGE.subarray(start, end)), { offset: start, lengthBytes: end - start });
      expect(sizeBytes).toBe(end);
      expect((await t.registry.uploads.status(NAME, id)).sizeBytes).toBe(end);
    }
    await t.registry.uploads.finish(NAME, id, bodyOf(LARGE.subarray(3 * MIB)), { offset: 3 * MIB, digest });
    expect(Buffer.compare(await readBlob(t.registry, digest), LARGE)).toBe(0);
    expect(t.driver.count("reader", /_uploads/)).toBe(0);
  });

  test("with another digest is refused and gone", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const error = await failureOf(t.registry.uploads.finish(NAME, id, bodyOf("hello"), { digest: digestOf("other") }));
    expect([error.code, error.status]).toEqual(["DIGEST_INVALID", 400]);
    expect(await codeOf(t.registry.uploads.status(NAME, id))).toBe("BLOB_UPLOAD_UNKNOWN");
    expect(await filesOf(t.driver)).toEqual([]);
  });

  test("at another place than the client believes is refused, kept, and goes on", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf("hello"), { offset: 0 });
    for (const offset of [0, 4, 6]) {
      const error = await failureOf(t.registry.uploads.append(NAME, id, bodyOf("x"), { offset }));
      expect([error.code, error.headers]).toEqual(["RANGE_INVALID", { range: "0-4" }]);
    }
    expect(await codeOf(t.registry.uploads.finish(NAME, id, bodyOf("x"), { offset: 2, digest: digestOf("hello") }))).toBe("RANGE_INVALID");
    await t.registry.uploads.finish(NAME, id, bodyOf(" world"), { offset: 5, digest: digestOf("hello world") });
    expect(t.driver.count("reader", /_uploads/)).toBe(0);
  });

  test("keeps what arrived before the client went away", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const gone = new Error("gone");
    for (const [from, to] of [[0, 10], [10, MIB + 77], [MIB + 77, 3 * MIB]] as const) {
      expect(await thrownBy(t.registry.uploads.append(NAME, id, brokenBody(LARGE.subarray(from, to), gone), { offset: from }))).toBe(gone);
      expect((await t.registry.uploads.status(NAME, id)).sizeBytes).toBe(to);
    }
    await t.registry.uploads.finish(NAME, id, bodyOf(LARGE.subarray(3 * MIB)), { offset: 3 * MIB, digest: digestOf(LARGE) });
    expect(t.driver.count("reader", /_uploads/)).toBe(0);
  });

  test("keeps what arrived when the client goes away with the last request", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    expect(String(await thrownBy(t.registry.uploads.finish(NAME, id, brokenBody("hel"), { digest: digestOf("hello") })))).toContain("went away");
    expect((await t.registry.uploads.status(NAME, id)).sizeBytes).toBe(3);
    await t.registry.uploads.finish(NAME, id, bodyOf("lo"), { offset: 3, digest: digestOf("hello") });
  });

  test("refuses a body that is shorter or longer than announced, and never takes more than was", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    expect(await codeOf(t.registry.uploads.append(NAME, id, bodyOf("hel"), { lengthBytes: 4 }))).toBe("SIZE_INVALID");
    expect((await t.registry.uploads.status(NAME, id)).sizeBytes).toBe(3);
    expect(await codeOf(t.registry.uploads.append(NAME, id, bodyOf("lo world"), { lengthBytes: 2 }))).toBe("SIZE_INVALID");
    expect((await t.registry.uploads.status(NAME, id)).sizeBytes).toBe(5);
    await t.registry.uploads.finish(NAME, id, undefined, { digest: digestOf("hello") });
  });

  test("is another repository's business nowhere else", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    expect(await codeOf(t.registry.uploads.status(OTHER, id))).toBe("BLOB_UPLOAD_UNKNOWN");
    expect(await codeOf(t.registry.uploads.append(OTHER, id, bodyOf("x"), {}))).toBe("BLOB_UPLOAD_UNKNOWN");
    expect(await codeOf(t.registry.uploads.cancel(OTHER, id))).toBe("BLOB_UPLOAD_UNKNOWN");
  });

  test.each(["..", ".", "a/b", "", "no=such", "0197-unknown", "x".repeat(200)])("by the id %p is unknown", async (id) => {
    await using t = openTestRegistry();
    expect(await codeOf(t.registry.uploads.status(NAME, id))).toBe("BLOB_UPLOAD_UNKNOWN");
    expect(await codeOf(t.registry.uploads.finish(NAME, id, undefined, { digest: digestOf("") }))).toBe("BLOB_UPLOAD_UNKNOWN");
    expect(await filesOf(t.driver)).toEqual([]);
  });

  test("can be cancelled, also while bytes are waited for", async () => {
    await using t = openTestRegistry();
    const first = await begin(t);
    await t.registry.uploads.append(NAME, first.id, bodyOf("hello"), {});
    await t.registry.uploads.cancel(NAME, first.id);
    const second = await begin(t);
    const body = new SlowBody();
    const writing = codeOf(t.registry.uploads.append(NAME, second.id, body, {}));
    await settled();
    await t.registry.uploads.cancel(NAME, second.id);
    expect(await writing).toBe("RANGE_INVALID");
    expect(await filesOf(t.driver)).toEqual([]);
    expect(await codeOf(t.registry.uploads.cancel(NAME, second.id))).toBe("BLOB_UPLOAD_UNKNOWN");
  });

  test("of a blob that is stored already moves nothing and links it", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, LARGE, OTHER);
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf(LARGE), {});
    t.driver.calls.length = 0;
    await t.registry.uploads.finish(NAME, id, undefined, { digest });
    expect([t.driver.count("move", /./), t.driver.count("commit", /./)]).toEqual([0, 0]);
    expect(await filesOf(t.driver)).toEqual([blobData(digest), layerLink(OTHER, digest), layerLink(NAME, digest)].sort());
  });

  test("whose stored bytes go away while it ends is stored itself", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello", OTHER);
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf("hello"), {});
    t.driver.before = async ({ method, path }) => {
      if (method === "putContent" && path === layerLink(NAME, digest)) await t.driver.delete(blobFolder(digest));
    };
    await t.registry.uploads.finish(NAME, id, undefined, { digest });
    expect(Buffer.from(await readBlob(t.registry, digest)).toString()).toBe("hello");
  });

  test("is stored over a file of the wrong length", async () => {
    await using t = openTestRegistry();
    const digest = digestOf("hello");
    await t.driver.putContent(blobData(digest), "");
    const { id } = await begin(t);
    await t.registry.uploads.finish(NAME, id, bodyOf("hello"), { digest });
    expect(Buffer.from(await readBlob(t.registry, digest)).toString()).toBe("hello");
  });

  test.each(["sha512", "sha384"] as const)("keeps the client's %s, announced or not", async (algorithm) => {
    await using t = openTestRegistry();
    for (const announced of [true, false]) {
      const bytes = patternBytes(MIB + 1, announced ? 2 : 3);
      const digest = digestOf(bytes, algorithm);
      const { id } = await t.registry.uploads.start(NAME, announced ? { algorithm } : {});
      await t.registry.uploads.append(NAME, id, bodyOf(bytes), {});
      t.driver.calls.length = 0;
      expect((await t.registry.uploads.finish(NAME, id, undefined, { digest })).digest).toBe(digest);
      expect(t.driver.count("reader", /_uploads/)).toBe(announced ? 0 : 1);
      expect(Buffer.from(await t.driver.getContent(layerLink(NAME, digest))).toString()).toBe(digest);
      expect((await t.driver.stat(blobData(digest))).sizeBytes).toBe(bytes.length);
      expect((await t.registry.blobs.stat(NAME, digest)).digest).toBe(digest);
    }
  });
});

describe("an upload whose bytes come all with its end, where moves are copies", () => {
  test.each([["a little", Buffer.from("hello")], ["a large body", LARGE]])("stores %s as the blob, without a move", async (_what, bytes) => {
    await using t = openTestRegistry({}, { movesByCopy: true });
    const { id } = await begin(t);
    const digest = digestOf(bytes);
    expect(await t.registry.uploads.finish(NAME, id, bodyOf(bytes), { offset: 0, digest })).toEqual({ digest, sizeBytes: bytes.length });
    expect(t.driver.count("move", /./)).toBe(0);
    expect(Buffer.compare(await readBlob(t.registry, digest), bytes)).toBe(0);
    expect(await filesOf(t.driver)).toEqual([blobData(digest), layerLink(NAME, digest)].sort());
  });

  test("is gone when they have another digest, and stays at its beginning when the client goes away", async () => {
    await using t = openTestRegistry({}, { movesByCopy: true });
    const [first, second] = [await begin(t), await begin(t)];
    expect(await codeOf(t.registry.uploads.finish(NAME, first.id, bodyOf(LARGE), { digest: digestOf("other") }))).toBe("DIGEST_INVALID");
    expect(await codeOf(t.registry.uploads.status(NAME, first.id))).toBe("BLOB_UPLOAD_UNKNOWN");
    expect(String(await thrownBy(t.registry.uploads.finish(NAME, second.id, brokenBody(LARGE), { digest: digestOf(LARGE) })))).toContain("went away");
    expect((await t.registry.uploads.status(NAME, second.id)).sizeBytes).toBe(0);
    await t.registry.uploads.append(NAME, second.id, bodyOf("hello"), { offset: 0 });
    await t.registry.uploads.finish(NAME, second.id, undefined, { offset: 5, digest: digestOf("hello") });
    expect(t.driver.count("move", /./)).toBe(1);
  });
});

describe("an upload whose running hash was lost", () => {
  test("by a restart, or another instance, is read again at its end", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf(LARGE.subarray(0, MIB)), {});
    const second = t.another();
    await second.uploads.append(NAME, id, bodyOf(LARGE.subarray(MIB, 2 * MIB)), { offset: MIB });
    await t.registry.uploads.finish(NAME, id, bodyOf(LARGE.subarray(2 * MIB)), { offset: 2 * MIB, digest: digestOf(LARGE) });
    expect(t.driver.count("reader", /_uploads/)).toBe(1);
    expect(Buffer.compare(await readBlob(t.registry, digestOf(LARGE)), LARGE)).toBe(0);
  });

  test("is refused and gone when the bytes are others", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf("hello"), {});
    const second = t.another();
    expect(await codeOf(second.uploads.finish(NAME, id, undefined, { digest: digestOf("other") }))).toBe("DIGEST_INVALID");
    expect(await filesOf(t.driver)).toEqual([]);
  });

  test("by another instance that wrote as many bytes is read again", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    t.driver.contentTag = "of hello";
    await t.registry.uploads.append(NAME, id, bodyOf("hello"), {});
    await using writer = await t.driver.writer(uploadData(NAME, id), { append: false });
    await writer.write(Buffer.from("world"));
    await writer.close();
    t.driver.contentTag = "of world";
    await t.registry.uploads.finish(NAME, id, undefined, { digest: digestOf("world") });
    expect(t.driver.count("reader", /_uploads/)).toBe(1);
  });

  test("by time is read again", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf("hello"), {});
    await t.clock.advance(2 * 60 * 60 * 1000);
    const other = await begin(t);
    await t.registry.uploads.append(NAME, other.id, bodyOf("x"), {});
    await t.registry.uploads.finish(NAME, id, undefined, { digest: digestOf("hello") });
    expect(t.driver.count("reader", /_uploads/)).toBe(1);
  });
});

describe("an upload in a folder that distribution left", () => {
  test("without startedat is as good as any", async () => {
    await using t = openTestRegistry();
    const id = "0d1e2f3a-0000-4000-8000-000000000001";
    await using writer = await t.driver.writer(uploadData(NAME, id), { append: false });
    await writer.write(Buffer.from("hel"));
    await writer.close();
    await t.driver.putContent(`${uploadFolder(NAME, id)}/hashstates/sha256/3`, "what we do not read");
    expect((await t.registry.uploads.status(NAME, id)).sizeBytes).toBe(3);
    await t.registry.uploads.finish(NAME, id, bodyOf("lo"), { offset: 3, digest: digestOf("hello") });
    expect(await filesOf(t.driver)).toEqual([blobData(digestOf("hello")), layerLink(NAME, digestOf("hello"))].sort());
  });

  test("with an empty startedat began when the file was made", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    await t.driver.putContent(uploadStartedAt(NAME, id), "");
    const { startedAt } = await t.registry.uploads.status(NAME, id);
    expect(Math.abs(startedAt.getTime() - Date.now())).toBeLessThan(60_000);
  });
});

describe("two requests for one upload", () => {
  test("one writes, the other waits a second and is told how far it is", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const body = new SlowBody();
    const first = t.registry.uploads.append(NAME, id, body, {});
    body.send(LARGE.subarray(0, 2 * MIB));
    await settled();
    const second = failureOf(t.registry.uploads.append(NAME, id, bodyOf("x"), {}));
    await settled();
    expect(t.clock.sleeping).toBe(1);
    await t.clock.advance(1000);
    const error = await second;
    expect([error.code, error.status]).toEqual(["RANGE_INVALID", 416]);
    expect(error.headers?.["range"]).toMatch(/^0-\d+$/);
    body.end();
    expect((await first).sizeBytes).toBe(2 * MIB);
  });

  test("the second goes on when the first is done in time", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const body = new SlowBody();
    const first = t.registry.uploads.append(NAME, id, body, {});
    await settled();
    const second = t.registry.uploads.append(NAME, id, bodyOf(" world"), {});
    body.send("hello");
    body.end();
    await first;
    expect((await second).sizeBytes).toBe(11);
    await t.registry.uploads.finish(NAME, id, undefined, { digest: digestOf("hello world") });
  });

  test("a first that has heard nothing for ten seconds lets go and keeps its bytes", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const body = new SlowBody();
    const first = codeOf(t.registry.uploads.append(NAME, id, body, {}));
    body.send("hello");
    await settled();
    await t.clock.advance(10_000);
    const second = t.registry.uploads.append(NAME, id, bodyOf(" world"), { offset: 5 });
    expect(await first).toBe("RANGE_INVALID");
    expect((await second).sizeBytes).toBe(11);
    body.end();
    await settled();
    expect(body.isClosed).toBe(true);
    await t.registry.uploads.finish(NAME, id, undefined, { digest: digestOf("hello world") });
    expect(t.driver.count("reader", /_uploads/)).toBe(0);
  });

  test("a first whose store is slow does not let go", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const stored = Promise.withResolvers<void>();
    t.driver.before = ({ method }) => (method === "write" ? stored.promise : undefined);
    const first = t.registry.uploads.append(NAME, id, bodyOf("hello"), {});
    await settled();
    await t.clock.advance(60_000);
    const second = codeOf(t.registry.uploads.append(NAME, id, bodyOf("x"), {}));
    await settled();
    await t.clock.advance(1_000);
    expect(await second).toBe("RANGE_INVALID");
    stored.resolve();
    expect((await first).sizeBytes).toBe(5);
  });

  test("of two processes, the second is told to wait", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    const body = new SlowBody();
    const first = t.registry.uploads.append(NAME, id, body, {});
    await settled();
    const other = t.another();
    expect(await codeOf(other.uploads.append(NAME, id, bodyOf("x"), {}))).toBe("RANGE_INVALID");
    expect(await codeOf(other.uploads.cancel(NAME, id))).toBe("RANGE_INVALID");
    expect(await codeOf(other.uploads.status(NAME, id))).toBe("UNAVAILABLE");
    body.send("hello");
    body.end();
    expect((await first).sizeBytes).toBe(5);
  });

  test("many at once finish the same blob", async () => {
    await using t = openTestRegistry();
    const digest = digestOf(LARGE);
    const uploads = await Promise.all(Array.from({ length: 6 }, () => begin(t)));
    await Promise.all(uploads.map(({ id }) => t.registry.uploads.append(NAME, id, bodyOf(LARGE), {})));
    await Promise.all(uploads.map(({ id }) => t.registry.uploads.finish(NAME, id, undefined, { digest })));
    expect(await filesOf(t.driver)).toEqual([blobData(digest), layerLink(NAME, digest)].sort());
    expect(Buffer.compare(await readBlob(t.registry, digest), LARGE)).toBe(0);
  });
});

describe("a store that fails", () => {
  test("because it is full gives 507, and the upload stands where its bytes end", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf(LARGE.subarray(0, MIB)), {});
    let writes = 0;
    t.driver.before = ({ method, path }) => {
      if (method === "write" && ++writes === 2) throw new StorageFullError("test", path);
    };
    const error = await failureOf(t.registry.uploads.append(NAME, id, bodyOf(LARGE.subarray(MIB)), { offset: MIB }));
    expect([error.code, error.status, error.message]).toEqual(["UNKNOWN", 507, "no space left on the registry's storage"]);
    t.driver.before = () => undefined;
    const { sizeBytes } = await t.registry.uploads.status(NAME, id);
    expect(sizeBytes).toBe(2 * MIB);
    await t.registry.uploads.finish(NAME, id, bodyOf(LARGE.subarray(sizeBytes)), { offset: sizeBytes, digest: digestOf(LARGE) });
    expect(Buffer.compare(await readBlob(t.registry, digestOf(LARGE)), LARGE)).toBe(0);
  });

  test("between link and bytes leaves a 404, and a second try succeeds", async () => {
    await using t = openTestRegistry();
    const digest = digestOf("hello");
    const { id } = await begin(t);
    await t.registry.uploads.append(NAME, id, bodyOf("hello"), {});
    t.driver.before = ({ method }) => {
      if (method === "move") throw new Error("pulled the plug");
    };
    expect(String(await thrownBy(t.registry.uploads.finish(NAME, id, undefined, { digest })))).toContain("pulled the plug");
    t.driver.before = () => undefined;
    expect(await codeOf(t.registry.blobs.stat(NAME, digest))).toBe("BLOB_UNKNOWN");
    await t.registry.uploads.finish(NAME, id, undefined, { digest });
    expect(Buffer.from(await readBlob(t.registry, digest)).toString()).toBe("hello");
  });

  test("when the link is written leaves bytes that nobody reads, and a second push succeeds", async () => {
    await using t = openTestRegistry();
    const digest = digestOf("hello");
    t.driver.before = ({ path }) => {
      if (path === layerLink(NAME, digest)) throw new Error("pulled the plug");
    };
    expect(String(await thrownBy(t.registry.uploads.put(NAME, bodyOf("hello"), digest)))).toContain("pulled the plug");
    t.driver.before = () => undefined;
    expect(await codeOf(t.registry.blobs.stat(NAME, digest))).toBe("BLOB_UNKNOWN");
    await pushBlob(t.registry, "hello");
    expect((await t.registry.blobs.stat(NAME, digest)).sizeBytes).toBe(5);
  });

  test("to remove a finished upload does not fail the push", async () => {
    await using t = openTestRegistry();
    const { id } = await begin(t);
    t.driver.before = ({ method, path }) => {
      if (method === "delete" && path.startsWith(uploadsFolder(NAME))) throw new Error("no");
    };
    await t.registry.uploads.finish(NAME, id, bodyOf("hello"), { digest: digestOf("hello") });
    expect(t.log.filter(({ level }) => level === "warn").map(({ message }) => message)).toEqual(["finished upload could not be removed"]);
  });
});

describe("a blob pushed in one go", () => {
  test.each([
    ["empty", new Uint8Array()],
    ["small", patternBytes(1000)],
    ["large", LARGE],
  ])("is stored: %s", async (_what, bytes) => {
    await using t = openTestRegistry();
    for (const algorithm of ["sha256", "sha512"] as const) {
      const digest = digestOf(bytes, algorithm);
      expect(await t.registry.uploads.put(NAME, bodyOf(bytes), digest)).toEqual({ digest, sizeBytes: bytes.length });
      expect(Buffer.compare(await readBlob(t.registry, digest), bytes)).toBe(0);
    }
  });

  test.each([
    ["small", patternBytes(1000)],
    ["large", LARGE],
  ])("with another digest leaves nothing: %s", async (_what, bytes) => {
    await using t = openTestRegistry();
    expect(await codeOf(t.registry.uploads.put(NAME, bodyOf(bytes), digestOf("other")))).toBe("DIGEST_INVALID");
    expect(String(await thrownBy(t.registry.uploads.put(NAME, brokenBody(bytes), digestOf(bytes))))).toContain("went away");
    expect(await filesOf(t.driver)).toEqual([]);
  });

  test("that another repository has must be sent whole, and is not written again", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, LARGE, OTHER);
    t.driver.calls.length = 0;
    expect(await codeOf(t.registry.uploads.put(NAME, bodyOf(LARGE.subarray(1)), digest))).toBe("DIGEST_INVALID");
    expect(await codeOf(t.registry.blobs.stat(NAME, digest))).toBe("BLOB_UNKNOWN");
    await t.registry.uploads.put(NAME, bodyOf(LARGE), digest);
    expect([t.driver.count("create", /./), t.driver.count("putContent", /\/data$/)]).toEqual([0, 0]);
    expect((await t.registry.blobs.stat(NAME, digest)).sizeBytes).toBe(LARGE.length);
  });

  test("whose stored bytes have a wrong length is refused once, and then written anew", async () => {
    await using t = openTestRegistry();
    const digest = digestOf(LARGE);
    await t.driver.putContent(blobData(digest), LARGE.subarray(0, 1000));
    expect(await codeOf(t.registry.uploads.put(NAME, bodyOf(LARGE), digest))).toBe("UNAVAILABLE");
    await t.registry.uploads.put(NAME, bodyOf(LARGE), digest);
    expect((await t.registry.blobs.stat(NAME, digest)).sizeBytes).toBe(LARGE.length);
    t.driver.calls.length = 0;
    await t.registry.uploads.put(NAME, bodyOf(LARGE), digest);
    expect(t.driver.count("create", /./)).toBe(0);
  });
});
