import { describe, expect, test } from "bun:test";
import { type Digest, digestOf } from "../oci/digest.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import { parseName } from "../oci/name.ts";
import { blobData, referrerLink, referrersFolder, referrersIndexed, revisionLink } from "./layout.ts";
import type { LocalRegistry } from "./local-registry.ts";
import { filesOf, imageManifest, NAME, openTestRegistry, pushBlob, pushImage, pushManifest, thrownBy, type TestRegistry } from "./testing/test-registry.ts";

const SUBJECT = digestOf("subject");

async function digests(registry: LocalRegistry, subject: Digest = SUBJECT): Promise<Digest[]> {
  return (await registry.referrers.list(NAME, subject, {})).items.map((item) => item.digest);
}

/** A manifest as distribution stores it: no index of referrers. */
async function pushByDistribution(t: TestRegistry, manifest: object): Promise<Digest> {
  const text = JSON.stringify(manifest);
  const digest = digestOf(text);
  await t.driver.putContent(blobData(digest), text);
  await t.driver.putContent(revisionLink(NAME, digest), digest);
  return digest;
}

describe("ReferrerIndex", () => {
  test("describes images, artifacts and indexes that name a subject, there or not", async () => {
    await using t = openTestRegistry();
    const image = await pushImage(t.registry, "image", { subject: SUBJECT });
    const artifact = await pushImage(t.registry, "artifact", { subject: SUBJECT, artifactType: "application/x-sbom", annotations: { "org.example.a": "b" } });
    const index = await pushManifest(t.registry, { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [], subject: { mediaType: MEDIA_TYPES.ociManifest, digest: SUBJECT, size: 1 } });
    await pushImage(t.registry, "unrelated", { subject: digestOf("other") });
    const { items, more } = await t.registry.referrers.list(NAME, SUBJECT, {});
    const size = async (digest: Digest): Promise<number> => (await t.driver.stat(blobData(digest))).sizeBytes;
    const expected = [
      { mediaType: MEDIA_TYPES.ociManifest, digest: image, sizeBytes: await size(image), artifactType: MEDIA_TYPES.ociConfig },
      { mediaType: MEDIA_TYPES.ociManifest, digest: artifact, sizeBytes: await size(artifact), artifactType: "application/x-sbom", annotations: { "org.example.a": "b" } },
      { mediaType: MEDIA_TYPES.ociIndex, digest: index, sizeBytes: await size(index) },
    ].sort((a, b) => (a.digest < b.digest ? -1 : 1));
    expect<unknown>({ items, more }).toEqual({ items: expected, more: false });
  });

  test("ends a page early that would be too large, and goes on after it", async () => {
    await using t = openTestRegistry();
    const note = { "org.example.note": "x".repeat(1_500_000) };
    const all: Digest[] = [];
    for (let index = 0; index < 5; index++) all.push(await pushImage(t.registry, `referrer ${index}`, { subject: SUBJECT, annotations: note }));
    const pages: Digest[][] = [];
    for (let more = true, last: string | undefined; more; last = pages.at(-1)?.at(-1)) {
      const page = await t.registry.referrers.list(NAME, SUBJECT, { limit: 1000, ...(last === undefined ? {} : { last }) });
      pages.push(page.items.map((item) => item.digest));
      more = page.more;
    }
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1]);
    expect(pages.flat()).toEqual(all.sort());
  });

  test("lets others have a turn while it looks through many", async () => {
    await using t = openTestRegistry();
    for (let index = 0; index < 200; index++) await pushImage(t.registry, `referrer ${index}`, { subject: SUBJECT });
    await digests(t.registry);
    let ended = false;
    const listed = t.registry.referrers.list(NAME, SUBJECT, { artifactType: "none" }).finally(() => (ended = true));
    await new Promise((resolve) => void setImmediate(resolve));
    expect(ended).toBe(false);
    await listed;
  });

  test("is empty for what is unknown, and makes no folders for those who ask", async () => {
    await using t = openTestRegistry();
    expect(await t.registry.referrers.list(NAME, SUBJECT, {})).toEqual({ items: [], more: false });
    expect(await filesOf(t.driver)).toEqual([]);
  });

  test("gives pages, filtered and not", async () => {
    await using t = openTestRegistry();
    const all: Digest[] = [];
    for (let index = 0; index < 25; index++) all.push(await pushImage(t.registry, `referrer ${index}`, { subject: SUBJECT, artifactType: `application/x-${index % 2}` }));
    all.sort();
    const read = async (filter: { artifactType?: string }, limit: number): Promise<{ items: Digest[]; pages: number }> => {
      const items: Digest[] = [];
      for (let pages = 1; ; pages++) {
        const last = items.at(-1);
        const page = await t.registry.referrers.list(NAME, SUBJECT, { ...filter, limit, ...(last === undefined ? {} : { last }) });
        items.push(...page.items.map((item) => item.digest));
        if (!page.more) return { items, pages };
      }
    };
    expect(await read({}, 10)).toEqual({ items: all, pages: 3 });
    expect(await read({}, 25)).toEqual({ items: all, pages: 1 });
    expect((await read({ artifactType: "application/x-0" }, 5)).items.length).toBe(13);
    expect((await read({ artifactType: "application/x-0" }, 13)).pages).toBe(1);
    expect((await read({ artifactType: "none" }, 5)).items).toEqual([]);
    expect(await t.registry.referrers.list(NAME, SUBJECT, { limit: 0 })).toEqual({ items: [], more: false });
    expect((await t.registry.referrers.list(NAME, SUBJECT, { last: "sha3" })).items.length).toBe(0);
    expect((await t.registry.referrers.list(NAME, SUBJECT, { last: "a" })).items.length).toBe(25);
  });

  test("lists sha512 referrers after the others, and finds those of a sha512 subject", async () => {
    await using t = openTestRegistry();
    const subject = digestOf("subject", "sha512");
    const config = await pushBlob(t.registry, "{}");
    const bytes = Buffer.from(JSON.stringify(imageManifest({ config, layers: [], subject })));
    const long = digestOf(bytes, "sha512");
    await t.registry.manifests.put(NAME, { bytes, contentType: undefined, digest: long, tags: [] });
    const short = await pushImage(t.registry, "short", { subject });
    expect(await digests(t.registry, subject)).toEqual([short, long]);
    expect((await t.registry.referrers.list(NAME, subject, { last: short })).items.map((item) => item.digest)).toEqual([long]);
  });

  test("forgets a referrer that is deleted, by whomever", async () => {
    await using t = openTestRegistry();
    const ours = await pushImage(t.registry, "a", { subject: SUBJECT });
    const theirs = await pushImage(t.registry, "b", { subject: SUBJECT });
    await t.registry.manifests.delete(NAME, ours);
    expect((await filesOf(t.driver)).includes(referrerLink(NAME, SUBJECT, ours))).toBe(false);
    expect(await digests(t.registry)).toEqual([theirs]);
    await t.driver.delete(revisionLink(NAME, theirs));
    expect(await digests(t.registry)).toEqual([]);
  });

  test("looks through a repository that distribution filled, once", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    const referrer = await pushByDistribution(t, imageManifest({ config, layers: [], subject: SUBJECT }));
    const plain = await pushByDistribution(t, imageManifest({ config, layers: [] }));
    const damaged = await pushByDistribution(t, { schemaVersion: 2, damaged: true });
    await t.driver.putContent(blobData(damaged), "");
    const results = await Promise.all([digests(t.registry), digests(t.registry), digests(t.registry)]);
    expect(results).toEqual([[referrer], [referrer], [referrer]]);
    expect((await filesOf(t.driver, referrersFolder(NAME))).sort()).toEqual([referrersIndexed(NAME), referrerLink(NAME, SUBJECT, referrer)].sort());
    expect(t.driver.count("getContent", new RegExp(`${plain.slice(7)}/data`))).toBe(1);
    t.driver.calls.length = 0;
    expect(await digests(t.another())).toEqual([referrer]);
    expect(t.driver.count("list", /revisions/)).toBe(0);
  });

  test("answers from a store that cannot be written", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    const referrer = await pushByDistribution(t, imageManifest({ config, layers: [], subject: SUBJECT }));
    t.driver.before = ({ method }) => {
      if (method === "putContent") throw new Error("read-only file system");
    };
    expect(await digests(t.registry)).toEqual([referrer]);
    expect(await digests(t.registry)).toEqual([referrer]);
    expect(t.log.map(({ level, message }) => [level, message])).toContainEqual(["warn", "referrer index could not be written"]);
  });

  test("fails, and does not say that there are none, when the store fails", async () => {
    await using t = openTestRegistry();
    await pushImage(t.registry, "a", { subject: SUBJECT });
    t.driver.before = ({ method, path }) => {
      if (method === "list" && path.includes("revisions")) throw new Error("input/output error");
    };
    expect(String(await thrownBy(t.registry.referrers.list(NAME, SUBJECT, {})))).toContain("input/output error");
    t.driver.before = () => undefined;
    expect((await digests(t.registry)).length).toBe(1);
  });

  test("reads the list that clients keep under the subject's tag", async () => {
    await using t = openTestRegistry();
    await pushImage(t.registry, "any");
    expect(await digests(t.registry)).toEqual([]);
    const config = await pushBlob(t.registry, "{}");
    const late = await pushByDistribution(t, imageManifest({ config, layers: [], subject: SUBJECT }));
    const unrelated = await pushImage(t.registry, "unrelated");
    const linked = await pushImage(t.registry, "linked", { subject: SUBJECT });
    expect(await digests(t.registry)).toEqual([linked]);
    const children = [late, unrelated, linked].map((digest) => ({ mediaType: MEDIA_TYPES.ociManifest, digest, size: 1 }));
    await pushManifest(t.registry, { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: children }, { tags: [`sha256-${SUBJECT.slice(7)}`] });
    expect(await digests(t.registry)).toEqual([late, linked].sort());
  });

  test("of another repository are not given", async () => {
    await using t = openTestRegistry();
    await pushImage(t.registry, "a", { subject: SUBJECT });
    expect((await t.registry.referrers.list(parseName("other"), SUBJECT, {})).items).toEqual([]);
  });

  test("a thousand of them are read from memory the second time", async () => {
    await using t = openTestRegistry();
    const config = await pushBlob(t.registry, "{}");
    for (let index = 0; index < 1000; index++) await pushManifest(t.registry, imageManifest({ config, layers: [], subject: SUBJECT, annotations: { n: String(index) } }));
    expect((await digests(t.registry)).length).toBe(1000);
    t.driver.calls.length = 0;
    expect((await digests(t.registry)).length).toBe(1000);
    expect(t.driver.count("getContent", /data$/)).toBe(0);
    expect(t.driver.calls.length).toBeLessThan(1100);
  });
});
