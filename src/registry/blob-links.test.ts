import { describe, expect, test } from "bun:test";
import { MemoryDescriptorCache } from "../cache/memory.ts";
import { digestOf } from "../oci/digest.ts";
import { parseName } from "../oci/name.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import type { ContentGate } from "./content-gate.ts";
import { blobData, blobFolder, layerLink } from "./layout.ts";
import { patternBytes } from "./testing/bodies.ts";
import { codeOf, failureOf, filesOf, NAME, openTestRegistry, pushBlob, readBlob, readContent, thrownBy } from "./testing/test-registry.ts";

const OTHER = parseName("other");
const GET = { method: "GET" } as const;
const HEAD = { method: "HEAD" } as const;

describe("a blob", () => {
  test("is read through its repository alone", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    expect(await t.registry.blobs.stat(NAME, digest)).toEqual({ digest, sizeBytes: 5 });
    expect(Buffer.from(await readBlob(t.registry, digest)).toString()).toBe("hello");
    for (const name of [OTHER, parseName("team")]) {
      const error = await failureOf(t.registry.blobs.open(name, digest, GET));
      expect([error.code, error.entries[0]?.detail]).toEqual(["BLOB_UNKNOWN", digest]);
      expect(await codeOf(t.registry.blobs.stat(name, digest))).toBe("BLOB_UNKNOWN");
    }
  });

  test("is read in parts when it is large", async () => {
    await using t = openTestRegistry();
    const bytes = patternBytes(100_000);
    const digest = await pushBlob(t.registry, bytes);
    const content = await t.registry.blobs.open(NAME, digest, GET);
    if (content.kind !== "stream") throw new Error(`found ${content.kind}`);
    const part = await new Response(await content.open(99_990, 20)).bytes();
    expect(Buffer.compare(part, bytes.subarray(99_990))).toBe(0);
    expect(Buffer.compare(await readContent(content), bytes)).toBe(0);
  });

  test("whose link another process deleted is unknown at once, and whose bytes are gone too", async () => {
    await using t = openTestRegistry();
    for (const remove of [layerLink(NAME, digestOf("hello")), blobFolder(digestOf("hello"))]) {
      const digest = await pushBlob(t.registry, "hello");
      await readBlob(t.registry, digest);
      await t.driver.delete(remove);
      for (const request of [GET, HEAD]) expect(await codeOf(t.registry.blobs.open(NAME, digest, request))).toBe("BLOB_UNKNOWN");
    }
  });

  test.each([
    ["", "an empty link"],
    [`${digestOf("hello")}\n`, "a newline"],
    ["sha256:beef", "a short digest"],
  ])("behind %p (%s) is unknown and logged, and comes back when pushed again", async (content) => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    const fine = await pushBlob(t.registry, "fine");
    await t.driver.putContent(layerLink(NAME, digest), content);
    expect(await codeOf(t.registry.blobs.open(NAME, digest, GET))).toBe("BLOB_UNKNOWN");
    expect(t.log.filter(({ level }) => level === "error").map(({ fields }) => fields["path"])).toEqual([layerLink(NAME, digest)]);
    expect((await t.registry.blobs.stat(NAME, fine)).sizeBytes).toBe(4);
    await pushBlob(t.registry, "hello");
    expect((await t.registry.blobs.stat(NAME, digest)).sizeBytes).toBe(5);
  });

  test("under a sha512 that distribution stored as sha256 is read, and named as it was asked for", async () => {
    await using t = openTestRegistry();
    const stored = await pushBlob(t.registry, "hello");
    const asked = digestOf("hello", "sha512");
    await t.driver.putContent(layerLink(NAME, asked), stored);
    const content = await t.registry.blobs.open(NAME, asked, GET);
    expect([content.digest, content.sizeBytes, Buffer.from(await readContent(content)).toString()]).toEqual([asked, 5, "hello"]);
    expect(await t.registry.blobs.mount(OTHER, asked, [NAME])).toEqual({ digest: asked, sizeBytes: 5, from: NAME });
    expect(Buffer.from(await readBlob(t.registry, asked, OTHER)).toString()).toBe("hello");
  });

  test("that is damaged on the disk is logged and not kept in memory", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    await t.driver.putContent(blobData(digest), "jello");
    expect((await t.registry.blobs.open(NAME, digest, GET)).kind).toBe("stream");
    expect(t.log.map(({ message }) => message)).toEqual(["stored blob does not have its digest"]);
    await t.driver.putContent(blobData(digest), "hello");
    expect((await t.registry.blobs.open(NAME, digest, GET)).kind).toBe("bytes");
  });

  test("fails, and is not called unknown, when the store fails", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    for (const method of ["getContent", "stat"] as const) {
      t.driver.before = (call) => {
        if (call.method === method) throw new Error("input/output error");
      };
      expect(String(await thrownBy(t.registry.blobs.open(NAME, digest, GET)))).toContain("input/output error");
    }
  });
});

describe("sending a blob", () => {
  test("hands out a file where files are local, and looks at it each time", async () => {
    await using t = openTestRegistry({ descriptorCache: new MemoryDescriptorCache(10) }, { localFile: (path) => `/somewhere${path}` });
    const digest = await pushBlob(t.registry, patternBytes(50_000));
    expect(await t.registry.blobs.open(NAME, digest, GET)).toEqual({ digest, sizeBytes: 50_000, kind: "file", file: `/somewhere${blobData(digest)}` });
    await t.driver.delete(blobFolder(digest));
    expect(await codeOf(t.registry.blobs.open(NAME, digest, GET))).toBe("BLOB_UNKNOWN");
  });

  test("sends clients elsewhere only where that is allowed and the store has a URL", async () => {
    for (const [redirectEnabled, url, kind] of [[true, "https://store/x", "redirect"], [true, undefined, "bytes"], [false, "https://store/x", "bytes"]] as const) {
      await using t = openTestRegistry({ redirectEnabled }, { redirectUrl: async () => url });
      const digest = await pushBlob(t.registry, "hello");
      expect((await t.registry.blobs.open(NAME, digest, GET)).kind).toBe(kind);
    }
  });

  test("from a slow store asks it once for a size, and believes it when bytes are gone", async () => {
    await using t = openTestRegistry({ descriptorCache: new MemoryDescriptorCache(10) });
    const digest = await pushBlob(t.registry, patternBytes(50_000));
    t.driver.calls.length = 0;
    await readBlob(t.registry, digest);
    await readBlob(t.registry, digest);
    expect(t.driver.count("stat", /./)).toBe(0);
    await t.driver.delete(blobFolder(digest));
    const content = await t.registry.blobs.open(NAME, digest, GET);
    if (content.kind !== "stream") throw new Error(`found ${content.kind}`);
    expect(await codeOf(content.open(0, 1))).toBe("BLOB_UNKNOWN");
    expect(await codeOf(t.registry.blobs.open(NAME, digest, GET))).toBe("BLOB_UNKNOWN");
  });

  test("is no longer taken for stored when somebody took its bytes away, and that is found out", async () => {
    const descriptorCache = new MemoryDescriptorCache(10);
    await using t = openTestRegistry({ descriptorCache });
    const digest = await pushBlob(t.registry, "hello");
    await t.driver.delete(blobFolder(digest));
    expect(await descriptorCache.get(digest)).toMatchObject({ sizeBytes: 5 });
    expect(await t.registry.blobs.mount(OTHER, digest, [NAME])).toBeUndefined();
    expect(await codeOf(t.registry.blobs.stat(NAME, digest))).toBe("BLOB_UNKNOWN");
    await pushBlob(t.registry, "hello");
    expect((await t.registry.blobs.stat(NAME, digest)).sizeBytes).toBe(5);
  });

  test("keeps small ones in memory, and still looks whether they are there", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    await readBlob(t.registry, digest);
    t.driver.calls.length = 0;
    await readBlob(t.registry, digest);
    expect(t.driver.calls.map(({ method, path }) => [method, path])).toEqual([["getContent", layerLink(NAME, digest)], ["stat", blobData(digest)]]);
  });
});

describe("mounting", () => {
  test("links a blob of another repository, or of the same", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    expect(await t.registry.blobs.mount(OTHER, digest, [parseName("third"), NAME])).toEqual({ digest, sizeBytes: 5, from: NAME });
    expect(await t.registry.blobs.mount(NAME, digest, [NAME])).toEqual({ digest, sizeBytes: 5, from: NAME });
    expect(Buffer.from(await readBlob(t.registry, digest, OTHER)).toString()).toBe("hello");
  });

  test("gives nothing where no source has link and bytes, and writes nothing", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    const files = await filesOf(t.driver);
    expect(await t.registry.blobs.mount(OTHER, digest, [])).toBeUndefined();
    expect(await t.registry.blobs.mount(OTHER, digest, [parseName("third")])).toBeUndefined();
    expect(await t.registry.blobs.mount(OTHER, digestOf("unknown"), [NAME])).toBeUndefined();
    expect(await filesOf(t.driver)).toEqual(files);
    await t.driver.delete(blobFolder(digest));
    expect(await t.registry.blobs.mount(OTHER, digest, [NAME])).toBeUndefined();
  });

  test("asks no repository for a blob that is stored nowhere", async () => {
    await using t = openTestRegistry();
    const sources = async function* () {
      yield NAME;
      throw new Error("nobody should look further");
    };
    expect(await t.registry.blobs.mount(OTHER, digestOf("unknown"), sources())).toBeUndefined();
  });
});

describe("deleting a blob", () => {
  test("takes it from its repository and from no other", async () => {
    await using t = openTestRegistry();
    const digest = await pushBlob(t.registry, "hello");
    await t.registry.blobs.mount(OTHER, digest, [NAME]);
    await t.registry.blobs.delete(NAME, digest);
    expect(await codeOf(t.registry.blobs.stat(NAME, digest))).toBe("BLOB_UNKNOWN");
    expect(await codeOf(t.registry.blobs.delete(NAME, digest))).toBe("BLOB_UNKNOWN");
    expect(Buffer.from(await readBlob(t.registry, digest, OTHER)).toString()).toBe("hello");
    await pushBlob(t.registry, "hello");
    expect((await t.registry.blobs.stat(NAME, digest)).sizeBytes).toBe(5);
  });

  test("is refused where deletion is off", async () => {
    await using t = openTestRegistry({ deleteEnabled: false });
    const digest = await pushBlob(t.registry, "hello");
    expect(await codeOf(t.registry.blobs.delete(NAME, digest))).toBe("UNSUPPORTED");
    expect((await t.registry.blobs.stat(NAME, digest)).sizeBytes).toBe(5);
  });
});

describe("while a collector is at work", () => {
  const digest = digestOf("hello");
  function gateAt(answer: { keep: boolean }): ContentGate {
    return { isIdle: false, keep: async (_kind, asked) => asked !== digest || answer.keep, keepOrWait: async () => undefined };
  }

  test("a condemned blob is not there for who asks or mounts, and is still sent", async () => {
    const answer = { keep: true };
    await using t = openTestRegistry({ gate: gateAt(answer) });
    await pushBlob(t.registry, "hello");
    expect((await t.registry.blobs.open(NAME, digest, HEAD)).sizeBytes).toBe(5);
    answer.keep = false;
    expect(await codeOf(t.registry.blobs.open(NAME, digest, HEAD))).toBe("BLOB_UNKNOWN");
    expect(await codeOf(t.registry.blobs.stat(NAME, digest))).toBe("BLOB_UNKNOWN");
    expect(await t.registry.blobs.mount(OTHER, digest, [NAME])).toBeUndefined();
    expect(Buffer.from(await readBlob(t.registry, digest)).toString()).toBe("hello");
  });

  test("a blob that is being deleted is stored anew after that", async () => {
    const calls: string[] = [];
    await using t = openTestRegistry({
      gate: {
        isIdle: false,
        keep: async () => true,
        keepOrWait: async (asked) => {
          calls.push(asked);
          // The deletion that was waited for.
          await t.driver.delete(blobFolder(asked)).catch((error: unknown) => {
            if (!(error instanceof PathNotFoundError)) throw error;
          });
        },
      },
    });
    await t.driver.putContent(blobData(digest), "hello");
    await pushBlob(t.registry, "hello");
    expect(calls).toEqual([digest]);
    expect(Buffer.from(await readBlob(t.registry, digest)).toString()).toBe("hello");
  });
});
