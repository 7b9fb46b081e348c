import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { parseName, parseTag } from "../oci/name.ts";
import { FakeUpstream } from "./testing/fake-upstream.ts";
import { bytesOf, ManualClock, openTestProxy, pullBlob, until } from "./testing/open-test-proxy.ts";

const APP = parseName("team/app");
const V1 = parseTag("v1");
const GET = { method: "GET" } as const;

describe("a mirror", () => {
  test("fetches a manifest by tag once, and asks by HEAD each time after", async () => {
    await using upstream = new FakeUpstream();
    const image = upstream.addImage("team/app", "v1");
    await using test = await openTestProxy({ remoteurl: upstream.url });
    for (let i = 0; i < 3; i++) {
      const manifest = await test.proxy.manifests.get(APP, { tag: V1 });
      expect(manifest.digest).toBe(image.digest);
      expect(Buffer.from(manifest.bytes)).toEqual(Buffer.from(image.manifest));
    }
    expect(upstream.count("HEAD", "/v2/team/app/manifests/v1")).toBe(3);
    expect(upstream.count("GET", /manifests/)).toBe(1);
    expect(test.proxy.vars().manifests).toEqual({ Requests: 3, Hits: 2, Misses: 1, BytesPulled: image.manifest.length, BytesPushed: image.manifest.length * 3 });
  });

  test("believes a tag for tagttl, and never asks for a manifest by digest that it has", async () => {
    await using upstream = new FakeUpstream();
    const image = upstream.addImage("team/app", "v1");
    const clock = new ManualClock();
    await using test = await openTestProxy({ remoteurl: upstream.url, tagttl: "1m" }, { clock });
    await test.proxy.manifests.get(APP, { tag: V1 });
    clock.advance(59_000);
    await test.proxy.manifests.get(APP, { tag: V1 });
    await test.proxy.manifests.get(APP, { digest: image.digest });
    expect(upstream.count("HEAD", /manifests/)).toBe(1);
    const moved = upstream.addImage("team/app", "v1", "moved");
    clock.advance(2_000);
    expect((await test.proxy.manifests.get(APP, { tag: V1 })).digest).toBe(moved.digest);
    expect(upstream.count("HEAD", /manifests/)).toBe(2);
  });

  test("follows a tag that moved, and remembers it for the time when upstream is away", async () => {
    await using upstream = new FakeUpstream();
    upstream.addImage("team/app", "v1");
    await using test = await openTestProxy({ remoteurl: upstream.url });
    await test.proxy.manifests.get(APP, { tag: V1 });
    const moved = upstream.addImage("team/app", "v1", "moved");
    await test.proxy.manifests.get(APP, { tag: V1 });
    upstream.trick = () => new Response(null, { status: 500 });
    expect((await test.proxy.manifests.get(APP, { tag: V1 })).digest).toBe(moved.digest);
    expect(await test.local.tags.resolve(APP, V1)).toBe(moved.digest);
  });

  test("serves a tag from before when the new manifest cannot be had", async () => {
    await using upstream = new FakeUpstream();
    const image = upstream.addImage("team/app", "v1");
    await using test = await openTestProxy({ remoteurl: upstream.url });
    await test.proxy.manifests.get(APP, { tag: V1 });
    upstream.addImage("team/app", "v1", "moved");
    upstream.trick = ({ method }) => (method === "GET" ? new Response(null, { status: 429, headers: { "retry-after": "60" } }) : undefined);
    for (let i = 0; i < 2; i++) expect((await test.proxy.manifests.get(APP, { tag: V1 })).digest).toBe(image.digest);
  });

  test("asks by GET where HEAD is not known or does not tell", async () => {
    await using upstream = new FakeUpstream();
    const image = upstream.addImage("team/app", "v1");
    for (const trick of [() => new Response(null, { status: 405 }), () => new Response(null, { headers: { "content-length": "5" } })]) {
      upstream.trick = ({ method }) => (method === "HEAD" ? trick() : undefined);
      upstream.asked.length = 0;
      await using test = await openTestProxy({ remoteurl: upstream.url });
      expect((await test.proxy.manifests.get(APP, { tag: V1 })).digest).toBe(image.digest);
      expect(upstream.count("GET", /manifests/)).toBe(1);
    }
  });

  test("fetches a blob once, then serves it like a local one", async () => {
    await using upstream = new FakeUpstream();
    const image = upstream.addImage("team/app", "v1");
    await using test = await openTestProxy({ remoteurl: upstream.url });
    const bytes = await pullBlob(test.proxy, APP, image.layer);
    expect(digestOf(bytes)).toBe(image.layer);
    await until(async () => (await test.local.blobs.stat(APP, image.layer).catch(() => undefined)) !== undefined);
    expect(digestOf(await pullBlob(test.proxy, APP, image.layer))).toBe(image.layer);
    expect(await test.proxy.blobs.stat(APP, image.layer)).toEqual({ digest: image.layer, sizeBytes: bytes.length });
    expect(upstream.count("GET", /blobs/)).toBe(1);
    expect(upstream.count("HEAD", /blobs/)).toBe(0);
    expect(test.proxy.vars().blobs).toEqual({ Requests: 3, Hits: 2, Misses: 1, BytesPulled: bytes.length, BytesPushed: bytes.length * 2 });
  });

  test("answers HEAD of a blob without fetching it", async () => {
    await using upstream = new FakeUpstream();
    const image = upstream.addImage("team/app", "v1");
    await using test = await openTestProxy({ remoteurl: upstream.url });
    const content = await test.proxy.blobs.open(APP, image.layer, { method: "HEAD" });
    expect(content.sizeBytes).toBe("layer team/app:v1".length);
    expect(upstream.count("GET", /blobs/)).toBe(0);
    expect(digestOf(await bytesOf(content))).toBe(image.layer);
  });

  test("serves a part of a blob that it does not have yet", async () => {
    await using upstream = new FakeUpstream();
    const digest = upstream.addBlob("team/app", Buffer.from("0123456789"));
    await using test = await openTestProxy({ remoteurl: upstream.url });
    const content = await test.proxy.blobs.open(APP, digest, GET);
    expect(Buffer.from(await bytesOf(content, 3, 4)).toString()).toBe("3456");
    expect(Buffer.from(await bytesOf(content, 8)).toString()).toBe("89");
  });

  test("serves a blob whose size upstream does not tell", async () => {
    await using upstream = new FakeUpstream();
    const bytes = Buffer.alloc(300_000, "x");
    upstream.trick = ({ path }) => (path.includes("/blobs/") ? new Response(new ReadableStream({ start: (controller) => (controller.enqueue(bytes), controller.close()) })) : undefined);
    await using test = await openTestProxy({ remoteurl: upstream.url });
    expect(digestOf(await pullBlob(test.proxy, APP, digestOf(bytes)))).toBe(digestOf(bytes));
  });

  test("serves an empty blob", async () => {
    await using upstream = new FakeUpstream();
    const digest = upstream.addBlob("team/app", new Uint8Array());
    await using test = await openTestProxy({ remoteurl: upstream.url });
    for (let i = 0; i < 2; i++) expect((await pullBlob(test.proxy, APP, digest)).length).toBe(0);
  });

  test("links a blob that another repository has brought, once upstream says that this one has it too", async () => {
    await using upstream = new FakeUpstream();
    const bytes = Buffer.from("shared");
    const digest = upstream.addBlob("team/app", bytes);
    await using test = await openTestProxy({ remoteurl: upstream.url });
    await pullBlob(test.proxy, APP, digest);
    await until(async () => (await test.local.blobs.stat(APP, digest).catch(() => undefined)) !== undefined);
    const other = parseName("team/other");
    await expect(pullBlob(test.proxy, other, digest)).rejects.toMatchObject({ code: "BLOB_UNKNOWN" });
    const third = parseName("team/third");
    upstream.addBlob("team/third", bytes);
    expect(Buffer.from(await pullBlob(test.proxy, third, digest))).toEqual(bytes);
    expect(upstream.count("GET", /blobs/)).toBe(1);
  });

  test("remembers for a moment what upstream does not have", async () => {
    await using upstream = new FakeUpstream();
    const clock = new ManualClock();
    await using test = await openTestProxy({ remoteurl: upstream.url }, { clock });
    const digest = digestOf("nothing");
    const ask = async (): Promise<void> => {
      await expect(test.proxy.manifests.get(APP, { tag: V1 })).rejects.toMatchObject({ code: "MANIFEST_UNKNOWN" });
      await expect(test.proxy.manifests.get(APP, { digest })).rejects.toMatchObject({ code: "MANIFEST_UNKNOWN" });
      await expect(test.proxy.blobs.open(APP, digest, GET)).rejects.toMatchObject({ code: "BLOB_UNKNOWN" });
    };
    await ask();
    const before = upstream.asked.length;
    await ask();
    expect(upstream.asked.length).toBe(before);
    clock.advance(5_001);
    await ask();
    expect(upstream.asked.length).toBe(before + 3);
    expect(test.warnings).toEqual([]);
  });

  test("refuses every write", async () => {
    await using upstream = new FakeUpstream();
    const { digest } = upstream.addImage("team/app", "v1");
    await using test = await openTestProxy({ remoteurl: upstream.url }, { deleteEnabled: true });
    const { uploads, manifests, blobs, tags } = test.proxy;
    const refused = { code: "UNSUPPORTED" };
    await expect(uploads.start(APP)).rejects.toMatchObject(refused);
    await expect(uploads.status(APP, "x")).rejects.toMatchObject(refused);
    await expect(manifests.put(APP, { bytes: new Uint8Array(), contentType: undefined, digest: undefined, tags: [] })).rejects.toMatchObject(refused);
    await expect(manifests.delete(APP, digest)).rejects.toMatchObject(refused);
    await expect(blobs.delete(APP, digest)).rejects.toMatchObject(refused);
    await expect(blobs.mount(APP, digest, [])).rejects.toMatchObject(refused);
    await expect(tags.delete(APP, V1)).rejects.toMatchObject(refused);
  });

  test("lists upstream's tags, and those that it knows when upstream is away", async () => {
    await using upstream = new FakeUpstream();
    for (const tag of ["v1", "v2", "v3"]) upstream.addImage("team/app", tag);
    await using test = await openTestProxy({ remoteurl: upstream.url });
    expect(await test.proxy.tags.list(APP, {})).toEqual({ items: ["v1", "v2", "v3"], more: false });
    expect(await test.proxy.tags.list(APP, { limit: 2 })).toEqual({ items: ["v1", "v2"], more: true });
    await test.proxy.manifests.get(APP, { tag: V1 });
    upstream.trick = () => new Response(null, { status: 503 });
    expect(await test.proxy.tags.list(APP, {})).toEqual({ items: ["v1"], more: false });
    await expect(test.proxy.tags.list(parseName("team/none"), {})).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(await test.proxy.catalog.list({})).toMatchObject({ items: [APP] });
  });

  test("joins the pages of upstream's tags", async () => {
    await using upstream = new FakeUpstream();
    const pages: Record<string, object> = { "": { tags: ["a", "b"] }, b: { tags: ["c", "not a tag", "d"] }, d: { tags: ["e"] } };
    upstream.trick = ({ path }) => {
      const last = new URL(path, "http://x").searchParams.get("last") ?? "";
      return Response.json(pages[last] ?? {}, { headers: last === "d" ? {} : { link: `</v2/team/app/tags/list?last=x>; rel="next"` } });
    };
    await using test = await openTestProxy({ remoteurl: upstream.url });
    expect(await test.proxy.tags.list(APP, {})).toEqual({ items: ["a", "b", "c", "d", "e"], more: false });
    expect(await test.proxy.tags.list(APP, { last: "b", limit: 2 })).toEqual({ items: ["c", "d"], more: true });
  });

  test("lists upstream's referrers, with filter and pages, and those that it knows when upstream is away", async () => {
    await using upstream = new FakeUpstream();
    const { digest } = upstream.addImage("team/app", "v1");
    const config = { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf("{}"), size: 2 };
    const descriptors = ["a", "b", "c"].map((type) => {
      const added = upstream.addManifest("team/app", { schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", artifactType: `x/${type}`, config, layers: [], subject: { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, size: 1 } });
      return { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: added.digest, size: added.bytes.length, artifactType: `x/${type}` };
    });
    upstream.referrers.set(`team/app@${digest}`, descriptors);
    await using test = await openTestProxy({ remoteurl: upstream.url });
    const all = await test.proxy.referrers.list(APP, digest, {});
    expect(all.items.map((item) => item.digest)).toEqual(descriptors.map((item) => item.digest).sort());
    expect((await test.proxy.referrers.list(APP, digest, { limit: 2 })).more).toBe(true);
    expect((await test.proxy.referrers.list(APP, digest, { last: all.items[1]?.digest ?? "" })).items).toEqual(all.items.slice(2));
    expect((await test.proxy.referrers.list(APP, digest, { artifactType: "x/b" })).items.length).toBe(1);
    for (const { digest: referrer } of descriptors.slice(0, 1)) await test.proxy.manifests.get(APP, { digest: referrer });
    upstream.trick = () => new Response(null, { status: 502 });
    expect((await test.proxy.referrers.list(APP, digest, {})).items.map((item) => item.digest)).toEqual(descriptors.slice(0, 1).map((item) => item.digest));
  });

  test("finds the referrers that an older upstream keeps under a tag", async () => {
    await using upstream = new FakeUpstream();
    const { digest } = upstream.addImage("team/app", "v1");
    const listed = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: digestOf("r"), size: 1, artifactType: "x/y" };
    upstream.addManifest("team/app", { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [listed] }, digest.replace(":", "-"));
    upstream.trick = ({ path }) => (path.includes("/referrers/") ? new Response("404 page not found", { status: 404 }) : undefined);
    await using test = await openTestProxy({ remoteurl: upstream.url });
    expect((await test.proxy.referrers.list(APP, digest, {})).items).toMatchObject([{ digest: listed.digest, artifactType: "x/y" }]);
    expect((await test.proxy.referrers.list(APP, digestOf("other"), {})).items).toEqual([]);
  });

  test("starts although its upstream is away, says so, and serves what it has", async () => {
    await using test = await openTestProxy({ remoteurl: "http://127.0.0.1:1" });
    await until(() => test.warnings.length > 0);
    expect(test.warnings[0]).toMatchObject({ message: "upstream registry is away: serving what is cached", fields: { upstream: "127.0.0.1:1" } });
    await expect(test.proxy.manifests.get(APP, { tag: V1 })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(test.proxy.blobs.open(APP, digestOf("x"), GET)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});
