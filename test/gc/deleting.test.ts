import { describe, expect, test } from "bun:test";
import { expectStatus, pushBlob, pushImage, pushIndex, pushManifest, seededBytes, startUpload, TYPES } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

const ACCEPT = { accept: Object.values(TYPES).join(", ") };

async function status(registry: RegistryProcess, method: string, path: string): Promise<number> {
  const response = await fetch(`${registry.url}/v2/${path}`, { method, headers: ACCEPT });
  await response.bytes();
  return response.status;
}

async function errorOf(registry: RegistryProcess, path: string): Promise<unknown> {
  const response = await fetch(`${registry.url}/v2/${path}`, { method: "DELETE" });
  const body = (await response.json()) as { errors: readonly { code: string }[] };
  return [response.status, body.errors[0]?.code];
}

async function tagsOf(registry: RegistryProcess, name: string): Promise<unknown> {
  const response = await expectStatus(200, `${registry.url}/v2/${name}/tags/list`);
  return ((await response.json()) as { tags: unknown }).tags;
}

describe("deleting", () => {
  test("is refused with UNSUPPORTED unless it is enabled, whatever is to go; uploads can be cancelled", async () => {
    await using registry = await startRegistry({ config: { storage: { delete: undefined } } });
    const repository = { url: registry.url, name: "a" };
    const image = await pushImage(repository, "t");
    for (const path of ["manifests/t", `manifests/${image.digest}`, `blobs/${image.config.digest}`]) {
      expect(await errorOf(registry, `a/${path}`)).toEqual([405, "UNSUPPORTED"]);
      expect(await status(registry, "GET", `a/${path}`)).toBe(200);
    }
    await expectStatus(204, await startUpload(repository), { method: "DELETE" });
  });

  test("is refused in read-only mode", async () => {
    await using store = await startRegistry();
    const image = await pushImage({ url: store.url, name: "a" }, "t");
    await using registry = await startRegistry({ storageFolder: store.storageFolder, config: { storage: { maintenance: { readonly: { enabled: true } } } } });
    for (const path of ["manifests/t", `manifests/${image.digest}`, `blobs/${image.config.digest}`]) {
      const response = await fetch(`${registry.url}/v2/a/${path}`, { method: "DELETE" });
      expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
      await response.bytes();
      expect(await status(registry, "GET", `a/${path}`)).toBe(200);
    }
  });

  for (const cache of ["inmemory", undefined]) {
    test(`shows at once and can be taken back at once, on every instance (cache ${cache ?? "none"})`, async () => {
      const config = { storage: { cache: cache === undefined ? undefined : { blobdescriptor: cache } } };
      await using registry = await startRegistry({ config });
      await using other = await startRegistry({ config, storageFolder: registry.storageFolder });
      const repository = { url: registry.url, name: "a" };
      const image = await pushImage(repository, "one");
      for (const tag of ["two", "three"]) await pushManifest(repository, tag, { content: image.bytes, mediaType: image.mediaType });
      const both = async (path: string): Promise<readonly number[]> => [await status(registry, "GET", path), await status(other, "GET", path), await status(registry, "HEAD", path), await status(other, "HEAD", path)];
      const [is, isNot] = [[200, 200, 200, 200], [404, 404, 404, 404]];

      // A tag alone: the others stay.
      expect(await both("a/manifests/one")).toEqual(is);
      expect(await status(other, "DELETE", "a/manifests/one")).toBe(202);
      expect(await both("a/manifests/one")).toEqual(isNot);
      expect(await both(`a/manifests/${image.digest}`)).toEqual(is);
      expect(await tagsOf(registry, "a")).toEqual(["three", "two"]);

      // A manifest: with every tag.
      expect(await status(registry, "DELETE", `a/manifests/${image.digest}`)).toBe(202);
      for (const reference of ["two", "three", image.digest]) expect(await both(`a/manifests/${reference}`)).toEqual(isNot);
      expect(await tagsOf(other, "a")).toEqual([]);
      expect(await errorOf(registry, `a/manifests/${image.digest}`)).toEqual([404, "MANIFEST_UNKNOWN"]);
      await pushManifest(repository, "two", { content: image.bytes, mediaType: image.mediaType });
      expect(await both("a/manifests/two")).toEqual(is);

      // A blob.
      const layer = `a/blobs/${image.layers[0]?.digest ?? ""}`;
      expect(await both(layer)).toEqual(is);
      expect(await status(other, "DELETE", layer)).toBe(202);
      expect(await both(layer)).toEqual(isNot);
      expect(await errorOf(registry, layer)).toEqual([404, "BLOB_UNKNOWN"]);
      await pushBlob(repository, Bun.gzipSync(seededBytes(1000, 1)));
      expect(await both(layer)).toEqual(is);
    }, 60_000);
  }

  test("takes children of an index and referrers only by their own digest", async () => {
    await using registry = await startRegistry();
    const repository = { url: registry.url, name: "a" };
    const child = await pushImage(repository, undefined);
    const index = await pushIndex(repository, "all", [child]);
    const subject = { mediaType: index.mediaType, digest: index.digest, size: index.bytes.length };
    const signature = await pushImage(repository, undefined, { seed: 7, extra: { subject } });
    const referrers = async (): Promise<number> => ((await (await expectStatus(200, `${registry.url}/v2/a/referrers/${index.digest}`)).json()) as { manifests: unknown[] }).manifests.length;
    expect(await referrers()).toBe(1);
    expect(await status(registry, "DELETE", `a/manifests/${index.digest}`)).toBe(202);
    for (const { digest } of [child, signature]) expect(await status(registry, "GET", `a/manifests/${digest}`)).toBe(200);
    expect(await status(registry, "DELETE", `a/manifests/${signature.digest}`)).toBe(202);
    expect(await referrers()).toBe(0);
  });
});
