import { describe, expect, test } from "bun:test";
import { type Digest, digestOf } from "../oci/digest.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import { parseName, parseTag } from "../oci/name.ts";
import { StorageFullError } from "../storage/errors.ts";
import type { ContentGate } from "./content-gate.ts";
import { blobData, blobFolder, layerLink, revisionLink, tagCurrentLink, tagFolder, tagIndexLink } from "./layout.ts";
import type { LocalRegistry } from "./local-registry.ts";
import { codeOf, failureOf, filesOf, imageManifest, NAME, openTestRegistry, pushBlob, pushImage, pushManifest, STRICT, thrownBy } from "./testing/test-registry.ts";

const LATEST = parseTag("latest");

async function textOf(registry: LocalRegistry, reference: Digest | "latest"): Promise<string> {
  const { bytes } = await registry.manifests.get(NAME, reference === "latest" ? { tag: LATEST } : { digest: reference });
  return Buffer.from(bytes).toString();
}

function index(children: readonly Digest[], extra: object = {}): object {
  return { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: children.map((digest) => ({ mediaType: MEDIA_TYPES.ociManifest, digest, size: 2 })), ...extra };
}

describe("a manifest", () => {
  test("is stored as it came and read by tag and by digest", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    const text = `${JSON.stringify({ ...imageManifest({ config, layers: [] }), unknown: [1] }, null, 3)}\n`;
    const digest = await pushManifest(t.registry, text, { tags: ["latest", "v1"] });
    expect(digest).toBe(digestOf(text));
    for (const reference of ["latest", digest] as const) expect(await textOf(t.registry, reference)).toBe(text);
    expect((await t.registry.manifests.get(NAME, { digest })).mediaType).toBe(MEDIA_TYPES.ociManifest);
    expect(await t.registry.tags.resolve(NAME, LATEST)).toBe(digest);
    expect((await filesOf(t.driver)).filter((path) => path.includes("/_manifests/"))).toEqual(
      [revisionLink(NAME, digest), ...["latest", "v1"].flatMap((tag) => [tagCurrentLink(NAME, parseTag(tag)), tagIndexLink(NAME, parseTag(tag), digest)])].sort(),
    );
  });

  test("of the largest size that can be configured is read again after a restart", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    const text = JSON.stringify({ ...imageManifest({ config, layers: [] }), annotations: { a: "x".repeat(17 * 1024 * 1024) } });
    const digest = await pushManifest(t.registry, text, { tags: ["latest"] });
    const restarted = t.another();
    expect((await textOf(restarted, "latest")).length).toBe(text.length);
    expect(await pushManifest(restarted, text)).toBe(digest);
    expect(await restarted.manifests.delete(NAME, digest)).toEqual([LATEST]);
  });

  test("tells what it was made of", async () => {
    await using t = openTestRegistry();
    const subject = digestOf("not there");
    const [config, layer] = [await pushBlob(t.registry, "{}"), await pushBlob(t.registry, "layer")];
    const bytes = Buffer.from(JSON.stringify(imageManifest({ config, layers: [layer], subject })));
    const put = await t.registry.manifests.put(NAME, { bytes, contentType: MEDIA_TYPES.ociManifest, digest: undefined, tags: [] });
    expect({ ...put, references: put.references.map((each) => each.digest) }).toEqual({ digest: digestOf(bytes), mediaType: MEDIA_TYPES.ociManifest, sizeBytes: bytes.length, subject, references: [config, layer] });
  });

  test("keeps the sha512 under which it was pushed, and so do its tags", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    const bytes = Buffer.from(JSON.stringify(imageManifest({ config, layers: [] })));
    const digest = digestOf(bytes, "sha512");
    expect((await t.registry.manifests.put(NAME, { bytes, contentType: undefined, digest, tags: [LATEST] })).digest).toBe(digest);
    expect(await t.registry.tags.resolve(NAME, LATEST)).toBe(digest);
    expect((await t.registry.manifests.get(NAME, { tag: LATEST })).digest).toBe(digest);
    expect((await t.driver.stat(blobData(digest))).sizeBytes).toBe(bytes.length);
    expect(await codeOf(t.registry.manifests.get(NAME, { digest: digestOf(bytes) }))).toBe("MANIFEST_UNKNOWN");
  });

  test("of another digest than the URL's is refused", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    const bytes = Buffer.from(JSON.stringify(imageManifest({ config, layers: [] })));
    for (const digest of [digestOf("other"), digestOf("other", "sha512")]) {
      expect(await codeOf(t.registry.manifests.put(NAME, { bytes, contentType: undefined, digest, tags: [LATEST] }))).toBe("DIGEST_INVALID");
    }
    expect((await filesOf(t.driver)).length).toBe(2);
  });

  test("that is unknown, or another repository's, is unknown", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["latest"] });
    const tagged = await failureOf(t.registry.manifests.get(parseName("other"), { tag: LATEST }));
    expect([tagged.code, tagged.entries[0]?.detail]).toEqual(["MANIFEST_UNKNOWN", "unknown tag=latest"]);
    const named = await failureOf(t.registry.manifests.get(parseName("other"), { digest }));
    expect([named.code, named.entries[0]?.detail]).toEqual(["MANIFEST_UNKNOWN", `unknown manifest name=other revision=${digest}`]);
  });

  test("is read from memory after two looks at the store", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["latest"] });
    t.driver.calls.length = 0;
    await t.registry.manifests.get(NAME, { tag: LATEST });
    expect(t.driver.calls.map(({ method, path }) => [method, path])).toEqual([["getContent", tagCurrentLink(NAME, LATEST)], ["stat", revisionLink(NAME, digest)]]);
    t.driver.calls.length = 0;
    await t.registry.manifests.get(NAME, { digest });
    expect(t.driver.calls.map(({ method, path }) => [method, path])).toEqual([["stat", revisionLink(NAME, digest)]]);
  });

  test("follows what another process does at once", async () => {
    await using t = openTestRegistry();
    const other = t.another();
    const first = await pushImage(t.registry, "a", { tags: ["latest"] });
    await textOf(t.registry, "latest");
    const second = await pushImage(other, "b", { tags: ["latest"] });
    expect((await t.registry.manifests.get(NAME, { tag: LATEST })).digest).toBe(second);
    await other.manifests.delete(NAME, first);
    expect(await codeOf(t.registry.manifests.get(NAME, { digest: first }))).toBe("MANIFEST_UNKNOWN");
  });

  test("can be pushed again and again", async () => {
    await using t = openTestRegistry();
    const first = await pushImage(t.registry, "a", { tags: ["latest"] });
    const files = await filesOf(t.driver);
    t.driver.calls.length = 0;
    expect(await pushImage(t.registry, "a", { tags: ["latest"] })).toBe(first);
    expect(await filesOf(t.driver)).toEqual(files);
    expect(t.driver.count("putContent", /\/data$/)).toBe(0);
  });
});

describe("a manifest whose files are damaged", () => {
  test("in its bytes is an error and never served, until it is pushed again", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["latest"] });
    const { bytes } = await t.registry.manifests.get(NAME, { digest });
    for (const damage of [Buffer.from(bytes).fill(32, 0, 1), new Uint8Array()]) {
      await t.driver.putContent(blobData(digest), damage);
      const restarted = t.another();
      const error = await failureOf(restarted.manifests.get(NAME, { tag: LATEST }));
      expect([error.code, error.status]).toEqual(["UNKNOWN", 500]);
      expect(t.log.filter(({ level }) => level === "error").map(({ fields }) => fields["path"])).toContain(blobData(digest));
      await pushManifest(restarted, Buffer.from(bytes).toString());
      expect(await textOf(t.another(), "latest")).toBe(Buffer.from(bytes).toString());
    }
  });

  test.each(["", "sha256:beef", `${digestOf("x")}\n`])("in a link, that holds %p, is unknown alone, until it is pushed again", async (content) => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["latest"] });
    const fine = await pushImage(t.registry, "b");
    for (const path of [tagCurrentLink(NAME, LATEST), revisionLink(NAME, digest)]) {
      await t.driver.putContent(path, content);
      expect(await codeOf(t.registry.manifests.get(NAME, { tag: LATEST }))).toBe("MANIFEST_UNKNOWN");
      expect(t.log.filter(({ level }) => level === "error").at(-1)?.fields["path"]).toBe(path);
      expect((await t.registry.manifests.get(NAME, { digest: fine })).digest).toBe(fine);
      await pushImage(t.registry, "a", { tags: ["latest"] });
      expect((await t.registry.manifests.get(NAME, { tag: LATEST })).digest).toBe(digest);
    }
  });

  test("because its bytes are gone is unknown", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["latest"] });
    await t.driver.delete(blobFolder(digest));
    expect(await codeOf(t.another().manifests.get(NAME, { tag: LATEST }))).toBe("MANIFEST_UNKNOWN");
    await pushImage(t.registry, "a", { tags: ["latest"] });
    expect((await t.another().manifests.get(NAME, { tag: LATEST })).digest).toBe(digest);
  });

  test("of schema 1, from an old store, is an error that says so", async () => {
    await using t = openTestRegistry();
    const text = JSON.stringify({ schemaVersion: 1, name: "a", fsLayers: [] });
    const digest = digestOf(text);
    await t.driver.putContent(blobData(digest), text);
    await t.driver.putContent(revisionLink(NAME, digest), digest);
    const error = await failureOf(t.registry.manifests.get(NAME, { digest }));
    expect([error.code, error.status, String(error.entries[0]?.detail)]).toEqual(["UNKNOWN", 500, expect.stringContaining("schema 1")]);
    expect(await t.registry.manifests.delete(NAME, digest)).toEqual([]);
  });

  test.each([
    [{ manifests: [] }, MEDIA_TYPES.ociIndex],
    [{ config: { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf("c"), size: 1 } }, MEDIA_TYPES.ociManifest],
  ])("without a mediaType is what its fields say: %p", async (fields, mediaType) => {
    await using t = openTestRegistry();
    const text = JSON.stringify({ schemaVersion: 2, ...fields });
    const digest = digestOf(text);
    await t.driver.putContent(blobData(digest), text);
    await t.driver.putContent(revisionLink(NAME, digest), digest);
    expect((await t.registry.manifests.get(NAME, { digest })).mediaType).toBe(mediaType);
  });
});

describe("pushing a manifest", () => {
  test("names every blob that is missing, once, and stores nothing", async () => {
    await using t = openTestRegistry();
    const present = await pushBlob(t.registry, "there");
    const elsewhere = await pushBlob(t.registry, "elsewhere", parseName("other"));
    const gone = await pushBlob(t.registry, "gone");
    await t.driver.delete(blobFolder(gone));
    const files = await filesOf(t.driver);
    const missing = [digestOf("config"), elsewhere, gone];
    const manifest = imageManifest({ config: digestOf("config"), layers: [present, elsewhere, gone, elsewhere] });
    const error = await failureOf(pushManifest(t.registry, manifest, { tags: ["latest"] }));
    expect(error.status).toBe(400);
    expect(error.entries).toEqual(missing.map((detail) => ({ code: "MANIFEST_BLOB_UNKNOWN", message: "blob unknown to registry", detail })));
    expect(await filesOf(t.driver)).toEqual(files);
  });

  test("that lacks very much is refused with a part of that, and the rest is not looked for", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    const layers = Array.from({ length: 5000 }, (_, number) => digestOf(`missing ${number}`));
    const { entries } = await failureOf(pushManifest(t.registry, imageManifest({ config, layers })));
    expect(entries.length).toBeWithin(1000, 1100);
    const missing = new Set<unknown>(layers);
    expect(entries.every(({ code, detail }) => code === "MANIFEST_BLOB_UNKNOWN" && missing.has(detail))).toBe(true);
  });

  test("takes indexes of manifests of the repository, empty and nested ones", async () => {
    await using t = openTestRegistry();
    const child = await pushImage(t.registry, "a");
    const nested = await pushManifest(t.registry, index([child]));
    await pushManifest(t.registry, index([child, nested]), { tags: ["latest"] });
    await pushManifest(t.registry, index([]));
    const elsewhere = await pushImage(t.registry, "b", { name: parseName("other") });
    const layer = await pushBlob(t.registry, "layer");
    for (const missing of [elsewhere, layer, digestOf("x")]) {
      const error = await failureOf(pushManifest(t.registry, index([child, missing])));
      expect(error.entries.map(({ code, detail }) => [code, detail])).toEqual([["MANIFEST_BLOB_UNKNOWN", missing]]);
    }
  });

  test("takes an index of layers, as build caches are", async () => {
    await using t = openTestRegistry();
    const layer = await pushBlob(t.registry, "layer");
    const cache = (digest: Digest): object => ({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [{ mediaType: MEDIA_TYPES.ociLayerGzip, digest, size: 1 }] });
    await pushManifest(t.registry, cache(layer));
    expect(await codeOf(pushManifest(t.registry, cache(digestOf("x"))))).toBe("MANIFEST_BLOB_UNKNOWN");
  });

  test("looks for children as it was told to", async () => {
    const child = (architecture: string): object => ({ mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(architecture), size: 1, platform: { architecture, os: "linux" } });
    const manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [child("arm64"), { mediaType: MEDIA_TYPES.ociManifest, digest: digestOf("bare"), size: 1 }] };
    const platformList = [{ architecture: "amd64", os: "linux" }];
    for (const [indexes, refused] of [
      [{ platforms: "all", platformList: [] }, true],
      [{ platforms: "none", platformList: [] }, false],
      [{ platforms: "list", platformList }, false],
      [{ platforms: "list", platformList: [{ architecture: "arm64", os: "linux" }] }, true],
    ] as const) {
      await using t = openTestRegistry({ validation: { ...STRICT, indexes } });
      const pushed = await pushManifest(t.registry, manifest).catch(() => undefined);
      expect(pushed === undefined).toBe(refused);
    }
    await using off = openTestRegistry({ validation: { ...STRICT, enabled: false } });
    await pushManifest(off.registry, manifest);
  });

  test("lets layers be missing where that is allowed, and never the config", async () => {
    await using t = openTestRegistry({ validation: { ...STRICT, sparseImages: true } });
    const config = await pushBlob(t.registry, "{}");
    await pushManifest(t.registry, imageManifest({ config, layers: [digestOf("x")] }));
    expect(await codeOf(pushManifest(t.registry, imageManifest({ config: digestOf("x"), layers: [] })))).toBe("MANIFEST_BLOB_UNKNOWN");
  });

  test("is refused for classes that are not allowed", async () => {
    await using t = openTestRegistry({ policyClasses: ["plugin"] });
    const error = await failureOf(pushImage(t.registry, "a"));
    expect([error.code, error.message]).toEqual(["DENIED", "registry does not allow image manifest"]);
  });

  test("never sets a tag before manifest and link are durable", async () => {
    const manifest = imageManifest({ config: digestOf("{}"), layers: [] });
    const digest = digestOf(JSON.stringify(manifest));
    for (const failing of [blobData(digest), revisionLink(NAME, digest), tagIndexLink(NAME, LATEST, digest)]) {
      await using t = openTestRegistry();
      await pushBlob(t.registry, "{}");
      t.driver.before = ({ method, path }) => {
        if (method === "putContent" && path === failing) throw new StorageFullError("test", path);
      };
      const error = await failureOf(pushManifest(t.registry, manifest, { tags: ["latest"] }));
      expect([error.code, error.status]).toEqual(["UNKNOWN", 507]);
      expect(await codeOf(t.registry.manifests.get(NAME, { tag: LATEST }))).toBe("MANIFEST_UNKNOWN");
      expect(await codeOf(t.registry.tags.resolve(NAME, LATEST))).toBe("MANIFEST_UNKNOWN");
      t.driver.before = () => undefined;
      await pushManifest(t.registry, manifest, { tags: ["latest"] });
      expect((await t.another().manifests.get(NAME, { tag: LATEST })).digest).toBe(digest);
    }
  });

  test("writes the bytes again when only the memory has them", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a");
    await t.driver.delete(blobFolder(digest));
    await pushImage(t.registry, "a", { tags: ["latest"] });
    expect((await t.another().manifests.get(NAME, { tag: LATEST })).digest).toBe(digest);
  });

  test("of one tag by many leaves one of them", async () => {
    await using t = openTestRegistry();
    const digests = await Promise.all(Array.from({ length: 10 }, (_, seed) => pushImage(t.registry, `image ${seed}`, { tags: ["latest"] })));
    expect(digests).toContain((await t.registry.manifests.get(NAME, { tag: LATEST })).digest);
    expect((await t.driver.list(`${tagFolder(NAME, LATEST)}/index/sha256`)).entries.length).toBe(10);
  });
});

describe("deleting a manifest", () => {
  test("takes every tag that points to it, and no other", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["z", "a", "moved"] });
    const other = await pushImage(t.registry, "b", { tags: ["moved", "b"] });
    expect(await t.registry.manifests.delete(NAME, digest)).toEqual([parseTag("a"), parseTag("z")]);
    expect(await codeOf(t.registry.manifests.get(NAME, { digest }))).toBe("MANIFEST_UNKNOWN");
    expect((await t.registry.tags.list(NAME, {})).items).toEqual(["b", "moved"]);
    expect((await t.registry.manifests.get(NAME, { tag: parseTag("moved") })).digest).toBe(other);
    expect(await codeOf(t.registry.manifests.delete(NAME, digest))).toBe("MANIFEST_UNKNOWN");
    expect(await pushImage(t.registry, "a")).toBe(digest);
    expect(await t.registry.manifests.delete(NAME, digest)).toEqual([]);
  });

  test("that fails on its way can be sent again", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["one", "two"] });
    t.driver.before = ({ method, path }) => {
      if (method === "delete" && path === tagFolder(NAME, parseTag("two"))) throw new Error("input/output error");
    };
    expect(String(await thrownBy(t.registry.manifests.delete(NAME, digest)))).toContain("input/output error");
    t.driver.before = () => undefined;
    expect(await t.registry.manifests.delete(NAME, digest)).toEqual([parseTag("two")]);
    expect((await t.registry.tags.list(NAME, {}).catch(() => ({ items: [] }))).items).toEqual([]);
  });

  test("of an unknown one, or where deletion is off, is refused", async () => {
    await using t = openTestRegistry();
    expect(await codeOf(t.registry.manifests.delete(NAME, digestOf("x")))).toBe("MANIFEST_UNKNOWN");
    await using off = openTestRegistry({ deleteEnabled: false });
    const digest = await pushImage(off.registry, "a");
    expect(await codeOf(off.registry.manifests.delete(NAME, digest))).toBe("UNSUPPORTED");
    expect((await off.registry.manifests.get(NAME, { digest })).digest).toBe(digest);
  });

  test("beside a push of the same one leaves both or neither of link and tag", async () => {
    await using t = openTestRegistry();
    const digest = await pushImage(t.registry, "a", { tags: ["latest"] });
    await Promise.all([t.registry.manifests.delete(NAME, digest), pushImage(t.registry, "a", { tags: ["latest"] })]);
    expect((await t.registry.manifests.get(NAME, { tag: LATEST })).digest).toBe(digest);
  });
});

describe("pushing while a collector is at work", () => {
  function gate(keep: ContentGate["keep"]): ContentGate {
    return { isIdle: false, keep, keepOrWait: async () => undefined };
  }

  test("is refused when a blob is being deleted", async () => {
    const doomed = digestOf("layer of a");
    await using t = openTestRegistry({ gate: gate(async (_kind, digest) => digest !== doomed) });
    const error = await failureOf(pushImage(t.registry, "a", { tags: ["latest"] }));
    expect(error.entries.map(({ code, detail }) => [code, detail])).toEqual([["MANIFEST_BLOB_UNKNOWN", doomed]]);
  });

  test("takes the link back when a blob went away before the link was there", async () => {
    await using t = openTestRegistry({ gate: gate(async () => true) });
    const subject = digestOf("subject");
    const layer = digestOf("layer of a");
    t.driver.before = async ({ method, path }) => {
      if (method === "putContent" && path.includes("/revisions/")) await t.driver.delete(blobFolder(layer)).catch(() => undefined);
    };
    const error = await failureOf(pushImage(t.registry, "a", { tags: ["latest"], subject }));
    expect(error.entries.map(({ detail }) => detail)).toEqual([layer]);
    const left = (await filesOf(t.driver)).filter((path) => /revisions|_referrers|current/.test(path));
    expect(left).toEqual([]);
  });

  test("asks for the manifest and all that it needs, before and after the link", async () => {
    const asked: string[] = [];
    await using t = openTestRegistry({
      gate: gate(async (kind, digest) => {
        asked.push(`${kind} ${digest}`);
        return true;
      }),
    });
    const child = await pushImage(t.registry, "a");
    asked.length = 0;
    const digest = await pushManifest(t.registry, index([child]));
    const once = [`revision ${digest}`, `revision ${child}`, `blob ${child}`];
    expect(asked).toEqual([...once, ...once, `blob ${digest}`]);
    expect((await t.driver.stat(layerLink(NAME, digestOf("layer of a")))).isDirectory).toBe(false);
  });
});
