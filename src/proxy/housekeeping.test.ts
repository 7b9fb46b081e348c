import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { parseName, parseTag } from "../oci/name.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { FakeUpstream } from "./testing/fake-upstream.ts";
import { ManualClock, openTestProxy, pullBlob, type TestProxy, until } from "./testing/open-test-proxy.ts";

const APP = parseName("team/app");
const V1 = parseTag("v1");
const HOUR = 3_600_000;
const NEVER = new AbortController().signal;

async function pullImage(test: TestProxy, upstream: FakeUpstream, tag: string): Promise<ReturnType<FakeUpstream["addImage"]>> {
  const image = upstream.addImage(APP, tag);
  await test.proxy.manifests.get(APP, { tag: parseTag(tag) });
  for (const digest of [image.config, image.layer]) {
    await pullBlob(test.proxy, APP, digest);
    await until(() => hasBlob(test, digest));
  }
  return image;
}

async function hasBlob(test: TestProxy, digest: Parameters<TestProxy["local"]["blobs"]["stat"]>[1]): Promise<boolean> {
  return await test.local.blobs.stat(APP, digest).then(
    () => true,
    () => false,
  );
}

async function state(test: TestProxy): Promise<Record<string, { ExpiryData: string; EntryType: number }>> {
  return JSON.parse(new TextDecoder().decode(await test.driver.getContent("/scheduler-state.json")));
}

describe("the housekeeping of a mirror", () => {
  test("lets an image go when nobody has asked for it for its time, and fetches it again for who asks then", async () => {
    await using upstream = new FakeUpstream();
    const clock = new ManualClock();
    await using test = await openTestProxy({ remoteurl: upstream.url, ttl: "10h" }, { clock });
    const image = await pullImage(test, upstream, "v1");
    clock.advance(10 * HOUR - 1);
    expect(await test.proxy.maintain(NEVER)).toEqual({ blobs: 0, manifests: 0 });
    clock.advance(1);
    expect(await test.proxy.maintain(NEVER)).toEqual({ blobs: 2, manifests: 1 });
    await expect(test.local.manifests.get(APP, { digest: image.digest })).rejects.toMatchObject({ code: "MANIFEST_UNKNOWN" });
    expect(await hasBlob(test, image.layer)).toBe(false);
    expect(await state(test)).toEqual({});
    const fetched = upstream.count("GET", /blobs/);
    expect(digestOf(await pullBlob(test.proxy, APP, image.layer))).toBe(image.layer);
    await test.proxy.manifests.get(APP, { tag: V1 });
    expect(await test.local.tags.resolve(APP, V1)).toBe(image.digest);
    // Its bytes were still there, for other repositories to need: upstream only had to say that this one has it.
    expect(upstream.count("GET", /blobs/)).toBe(fetched);
  });

  test("counts from the last use, and a manifest's use as one of its blobs", async () => {
    await using upstream = new FakeUpstream();
    const clock = new ManualClock();
    await using test = await openTestProxy({ remoteurl: upstream.url, ttl: "10h" }, { clock });
    const image = await pullImage(test, upstream, "v1");
    clock.advance(6 * HOUR);
    await test.proxy.manifests.get(APP, { tag: V1 });
    clock.advance(6 * HOUR);
    expect(await test.proxy.maintain(NEVER)).toEqual({ blobs: 0, manifests: 0 });
    expect(await hasBlob(test, image.layer)).toBe(true);
  });

  test("outlives a restart, however it ended", async () => {
    await using upstream = new FakeUpstream();
    const clock = new ManualClock();
    const driver = openInMemoryDriver();
    const options = { remoteurl: upstream.url, ttl: "10h" };
    {
      await using test = await openTestProxy(options, { clock, driver });
      await pullImage(test, upstream, "v1");
      await test.proxy.maintain(NEVER);
      expect(Object.values(await state(test)).map(({ EntryType, ExpiryData }) => [EntryType, ExpiryData]).sort()).toEqual([
        [0, "2026-01-01T10:00:00.000Z"],
        [0, "2026-01-01T10:00:00.000Z"],
        [1, "2026-01-01T10:00:00.000Z"],
      ]);
    }
    clock.advance(10 * HOUR);
    await using test = await openTestProxy(options, { clock, driver });
    expect(await test.proxy.maintain(NEVER)).toEqual({ blobs: 2, manifests: 1 });
  });

  test("starts anew from a state that cannot be read, and says so", async () => {
    const driver = openInMemoryDriver();
    await driver.putContent("/scheduler-state.json", "{");
    await using test = await openTestProxy({ remoteurl: "http://127.0.0.1:1" }, { driver });
    expect(test.warnings.some(({ message }) => message === "state of the mirror cannot be read: expiry starts anew")).toBe(true);
  });

  test("keeps everything for ever, and no state, with a ttl of 0", async () => {
    await using upstream = new FakeUpstream();
    const clock = new ManualClock();
    await using test = await openTestProxy({ remoteurl: upstream.url, ttl: "0s" }, { clock });
    await pullImage(test, upstream, "v1");
    clock.advance(1e6 * HOUR);
    expect(await test.proxy.maintain(NEVER)).toEqual({ blobs: 0, manifests: 0 });
    await expect(test.driver.stat("/scheduler-state.json")).rejects.toMatchObject({ name: "PathNotFoundError" });
  });

  test("holds to a size, the least recently used image going first and whole", async () => {
    await using upstream = new FakeUpstream();
    const clock = new ManualClock();
    const { manifest } = upstream.addImage(APP, "v1");
    const imageBytes = manifest.length + 'layer team/app:v1{"text":"team/app:v1"}'.length;
    await using test = await openTestProxy({ remoteurl: upstream.url, ttl: "0s", maxsize: 2 * imageBytes + 5 }, { clock });
    const images = [];
    for (const tag of ["v1", "v2", "v3"]) {
      images.push(await pullImage(test, upstream, tag));
      clock.advance(2 * HOUR);
    }
    await test.proxy.manifests.get(APP, { tag: V1 });
    await test.proxy.maintain(NEVER);
    expect(await Promise.all(images.map(({ layer }) => hasBlob(test, layer)))).toEqual([true, false, true]);
    await expect(test.local.manifests.get(APP, { digest: images[1]?.digest ?? digestOf("") })).rejects.toMatchObject({ code: "MANIFEST_UNKNOWN" });
    expect((await state(test))[`${APP}@${images[0]?.layer}`]?.ExpiryData).toBe("9999-12-31T23:59:59Z");
  });
});
