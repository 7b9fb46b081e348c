import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestOf } from "../oci/digest.ts";
import { parseName } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { StorageFullError } from "../storage/errors.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { FakeUpstream } from "./testing/fake-upstream.ts";
import { TapUpstream } from "./testing/tap-upstream.ts";
import { bytesOf, openTestProxy, pullBlob, type TestProxy, until } from "./testing/open-test-proxy.ts";

const APP = parseName("team/app");
const GET = { method: "GET" } as const;
const MIB = 1024 * 1024;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mirror-blobs-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function randomBytes(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(sizeBytes, at + 65_536)));
  return bytes;
}

/** Every store that a mirror behaves differently on. */
const DRIVERS: readonly (readonly [string, () => StorageDriver])[] = [
  ["filesystem", () => openFilesystemDriver({ rootdirectory: folder })],
  ["inmemory", () => openInMemoryDriver()],
];

async function isKept(test: TestProxy, digest: Parameters<TestProxy["local"]["blobs"]["stat"]>[1]): Promise<boolean> {
  return await test.local.blobs.stat(APP, digest).then(
    () => true,
    () => false,
  );
}

describe.each(DRIVERS)("a mirror on %s", (_, openDriver) => {
  test("asks upstream once for a blob that fifty clients want, whoever comes when", async () => {
    await using tap = await TapUpstream.start(randomBytes(6 * MIB));
    const digest = digestOf(tap.bytes);
    await using proxy = await openTestProxy({ remoteurl: tap.url }, { driver: openDriver() });
    const early = Array.from({ length: 20 }, () => pullBlob(proxy.proxy, APP, digest));
    tap.letThrough(4 * MIB);
    await until(() => proxy.proxy.vars().blobs.BytesPulled === 4 * MIB);
    const late = Array.from({ length: 20 }, () => pullBlob(proxy.proxy, APP, digest));
    const parts = Array.from({ length: 10 }, async (_unused, i) => bytesOf(await proxy.proxy.blobs.open(APP, digest, GET), i * 1000, 2 * MIB));
    tap.letThrough(6 * MIB);
    for (const bytes of await Promise.all([...early, ...late])) expect(digestOf(bytes)).toBe(digest);
    for (const [i, part] of (await Promise.all(parts)).entries()) expect(digestOf(part)).toBe(digestOf(tap.bytes.subarray(i * 1000, i * 1000 + 2 * MIB)));
    await until(() => isKept(proxy, digest));
    expect(digestOf(await pullBlob(proxy.proxy, APP, digest))).toBe(digest);
    expect(tap.asked).toEqual(["GET"]);
  });

  test("gives what has arrived at once, also to who comes late", async () => {
    await using tap = await TapUpstream.start(randomBytes(8 * MIB));
    await using proxy = await openTestProxy({ remoteurl: tap.url }, { driver: openDriver() });
    const digest = digestOf(tap.bytes);
    tap.letThrough(100);
    const first = await proxy.proxy.blobs.open(APP, digest, GET);
    if (first.kind !== "stream") throw new Error("expected a stream");
    const reader = (await first.open(0, first.sizeBytes)).getReader();
    expect((await reader.read()).value?.length).toBe(100);
    tap.letThrough(7 * MIB);
    await until(() => proxy.proxy.vars().blobs.BytesPulled === 7 * MIB);
    // All but what upstream still keeps back can be had, from its first byte.
    expect(digestOf(await bytesOf(await proxy.proxy.blobs.open(APP, digest, GET), 0, 7 * MIB))).toBe(digestOf(tap.bytes.subarray(0, 7 * MIB)));
    tap.letThrough(8 * MIB);
    await reader.cancel();
    await until(() => isKept(proxy, digest));
  });

  test("goes on when its client leaves", async () => {
    await using tap = await TapUpstream.start(randomBytes(3 * MIB));
    await using proxy = await openTestProxy({ remoteurl: tap.url }, { driver: openDriver() });
    const digest = digestOf(tap.bytes);
    tap.letThrough(MIB);
    const content = await proxy.proxy.blobs.open(APP, digest, GET);
    if (content.kind !== "stream") throw new Error("expected a stream");
    const reader = (await content.open(0, content.sizeBytes)).getReader();
    await reader.read();
    await reader.cancel();
    tap.letThrough(3 * MIB);
    await until(() => isKept(proxy, digest));
  });

  test("gives up a transfer that no client waits for any more after cachewritetimeout", async () => {
    await using tap = await TapUpstream.start(randomBytes(3 * MIB));
    await using proxy = await openTestProxy({ remoteurl: tap.url, cachewritetimeout: "50ms" }, { driver: openDriver() });
    const digest = digestOf(tap.bytes);
    tap.letThrough(MIB);
    await proxy.proxy.blobs.open(APP, digest, GET);
    await until(() => proxy.warnings.some(({ fields }) => fields?.["err.message"] === "no client waits for the blob any more"));
    expect(await isKept(proxy, digest)).toBe(false);
  });

  test("does not let a slow client hold up the others", async () => {
    await using upstream = new FakeUpstream();
    const bytes = randomBytes(24 * MIB);
    const digest = upstream.addBlob("team/app", bytes);
    await using proxy = await openTestProxy({ remoteurl: upstream.url }, { driver: openDriver() });
    const content = await proxy.proxy.blobs.open(APP, digest, GET);
    if (content.kind !== "stream") throw new Error("expected a stream");
    const slow = (await content.open(0, content.sizeBytes)).getReader();
    const first = await slow.read();
    expect(digestOf(await pullBlob(proxy.proxy, APP, digest))).toBe(digest);
    await until(() => isKept(proxy, digest));
    const hasher = new Bun.CryptoHasher("sha256").update(first.value ?? "");
    for (let next = await slow.read(); !next.done; next = await slow.read()) hasher.update(next.value);
    expect(`sha256:${hasher.digest("hex")}`).toBe(digest);
  });

  test("takes a blob up again that broke off, unseen by its clients", async () => {
    await using tap = await TapUpstream.start(randomBytes(2 * MIB));
    tap.letThrough(MIB);
    tap.cut();
    await using proxy = await openTestProxy({ remoteurl: tap.url }, { driver: openDriver() });
    const digest = digestOf(tap.bytes);
    expect(digestOf(await pullBlob(proxy.proxy, APP, digest))).toBe(digest);
    expect(tap.asked).toEqual(["GET", expect.stringMatching(/^GET bytes=\d+-$/)]);
    await until(() => isKept(proxy, digest));
  });

  test("skips what it has where upstream knows no ranges", async () => {
    await using tap = await TapUpstream.start(randomBytes(2 * MIB));
    tap.letThrough(MIB);
    tap.cut();
    tap.ranges = "ignored";
    await using proxy = await openTestProxy({ remoteurl: tap.url }, { driver: openDriver() });
    const digest = digestOf(tap.bytes);
    const pull = pullBlob(proxy.proxy, APP, digest);
    await until(() => tap.asked.length === 2);
    tap.letThrough(2 * MIB);
    expect(digestOf(await pull)).toBe(digest);
    expect(proxy.proxy.vars().blobs.BytesPulled).toBe(2 * MIB);
  });

  test("keeps and ends nothing that broke off for good, and tries anew for the next client", async () => {
    await using tap = await TapUpstream.start(randomBytes(2 * MIB));
    tap.letThrough(MIB);
    tap.cut();
    tap.ranges = "refused";
    await using proxy = await openTestProxy({ remoteurl: tap.url, missingttl: "0s" }, { driver: openDriver() });
    const digest = digestOf(tap.bytes);
    await expect(pullBlob(proxy.proxy, APP, digest)).rejects.toThrow();
    expect(await isKept(proxy, digest)).toBe(false);
    tap.letThrough(2 * MIB);
    expect(digestOf(await pullBlob(proxy.proxy, APP, digest))).toBe(digest);
  });

  test.each([
    ["other bytes of the right length", (bytes: Uint8Array) => new Response(bytes.map((byte) => byte ^ 1))],
    ["more bytes than announced to us by nobody", (bytes: Uint8Array) => new Response(Buffer.concat([bytes, Buffer.from("more")]))],
    ["a page of HTML", () => new Response("<html>please log in</html>", { headers: { "content-type": "text/html" } })],
  ])("keeps nothing, and lets no client take it for whole, when upstream sends %s", async (_name, answer) => {
    await using upstream = new FakeUpstream();
    const bytes = randomBytes(MIB);
    const digest = digestOf(bytes);
    upstream.trick = ({ path }) => (path.includes("/blobs/") ? answer(bytes) : undefined);
    await using proxy = await openTestProxy({ remoteurl: upstream.url }, { driver: openDriver() });
    await expect(pullBlob(proxy.proxy, APP, digest)).rejects.toThrow(/has the digest/);
    expect(await isKept(proxy, digest)).toBe(false);
    await until(() => proxy.warnings.some(({ fields }) => fields?.["problem"] === "garbage"));
  });

  test("serves a blob although the store is full, and keeps nothing of it", async () => {
    await using upstream = new FakeUpstream();
    const bytes = randomBytes(20 * MIB);
    const digest = upstream.addBlob("team/app", bytes);
    const inner = openDriver();
    const full = async (): Promise<never> => {
      throw new StorageFullError("test", "/x");
    };
    let budget = 5 * MIB;
    const limited = async (open: Promise<Awaited<ReturnType<StorageDriver["writer"]>>>): ReturnType<StorageDriver["writer"]> => {
      const writer = await open;
      const write = writer.write.bind(writer);
      writer.write = (chunk) => ((budget -= chunk.length) < 0 ? full() : write(chunk));
      return writer;
    };
    const limits: Partial<StorageDriver> = { writer: (path, options) => limited(inner.writer(path, options)), create: (path) => limited(inner.create(path)) };
    const driver = new Proxy(inner, {
      get(_target, key) {
        const own: unknown = Reflect.get(limits, key) ?? Reflect.get(inner, key);
        return typeof own === "function" ? own.bind(inner) : own;
      },
    });
    await using proxy = await openTestProxy({ remoteurl: upstream.url }, { driver });
    const two = await Promise.all([pullBlob(proxy.proxy, APP, digest), pullBlob(proxy.proxy, APP, digest)]);
    for (const each of two) expect(digestOf(each)).toBe(digest);
    expect(await isKept(proxy, digest)).toBe(false);
    await until(() => proxy.warnings.some(({ message }) => message === "mirrored blob cannot be stored"));
  });

  test("ends transfers at its own end", async () => {
    await using tap = await TapUpstream.start(randomBytes(3 * MIB));
    const proxy = await openTestProxy({ remoteurl: tap.url }, { driver: openDriver() });
    tap.letThrough(MIB);
    const pull = pullBlob(proxy.proxy, APP, digestOf(tap.bytes));
    pull.catch(() => undefined);
    await until(() => proxy.proxy.vars().blobs.BytesPulled === MIB);
    await proxy[Symbol.asyncDispose]();
    await expect(pull).rejects.toThrow();
    tap.letThrough(3 * MIB);
  });
});

test("a mirror on filesystem leaves no file of a failed transfer behind", async () => {
  await using upstream = new FakeUpstream();
  const digest = digestOf("right");
  upstream.trick = ({ path }) => (path.includes("/blobs/") ? new Response(randomBytes(3 * MIB)) : undefined);
  await using proxy = await openTestProxy({ remoteurl: upstream.url }, { driver: openFilesystemDriver({ rootdirectory: folder }) });
  await expect(pullBlob(proxy.proxy, APP, digest)).rejects.toThrow();
  await until(() => readdirSync(folder, { recursive: true, withFileTypes: true }).every((entry) => !entry.isFile()));
});
