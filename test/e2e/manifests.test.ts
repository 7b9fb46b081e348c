import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ACCEPT_ALL, digestOf, expectStatus, pushBlob, pushImage, pushIndex, pushManifest, type Repository, TYPES } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

let registry: RegistryProcess;
beforeAll(async () => {
  registry = await startRegistry();
});
afterAll(async () => await registry[Symbol.asyncDispose]());

const repo = (name: string): Repository => ({ url: registry.url, name });
const manifestUrl = (name: string, reference: string): string => `${registry.url}/v2/${name}/manifests/${reference}`;

async function put(name: string, reference: string, content: string | Uint8Array, contentType?: string): Promise<Response> {
  return await fetch(manifestUrl(name, reference), { method: "PUT", body: new Blob([content]), headers: contentType === undefined ? {} : { "content-type": contentType } });
}

async function errors(response: Response): Promise<{ code: string; message: string; detail?: unknown }[]> {
  return ((await response.json()) as { errors: { code: string; message: string; detail?: unknown }[] }).errors;
}

describe("pushing and pulling an image", () => {
  for (const format of ["oci", "docker"] as const) {
    test(format, async () => {
      const repository = repo(`image/${format}`);
      const image = await pushImage(repository, "latest", { format });
      for (const reference of ["latest", image.digest]) {
        for (const method of ["GET", "HEAD"]) {
          const response = await expectStatus(200, manifestUrl(repository.name, reference), { method, headers: { accept: ACCEPT_ALL } });
          expect(response.headers.get("content-type")).toBe(image.mediaType);
          expect(response.headers.get("docker-content-digest")).toBe(image.digest);
          expect(response.headers.get("etag")).toBe(`"${image.digest}"`);
          expect(response.headers.get("content-length")).toBe(String(image.bytes.length));
          if (method === "GET") expect(await response.bytes()).toEqual(image.bytes);
        }
        for (const tag of [`"${image.digest}"`, image.digest]) await expectStatus(304, manifestUrl(repository.name, reference), { headers: { "if-none-match": tag } });
      }
    });
  }

  test("is served whatever the client accepts", async () => {
    const image = await pushImage(repo("accept"), "t");
    for (const headers of [{}, { accept: "*/*" }, { accept: "application/*" }, { accept: TYPES.dockerManifest }]) {
      const response = await expectStatus(200, manifestUrl("accept", "t"), { headers });
      expect(response.headers.get("docker-content-digest")).toBe(image.digest);
    }
  });

  test("keeps the bytes exactly, a trailing newline and unknown fields too", async () => {
    const config = await pushBlob(repo("exact"), "{}");
    const content = `${JSON.stringify({ schemaVersion: 2, extra: { é: [1, null] }, config: { mediaType: TYPES.ociConfig, digest: config, size: 2, data: "e30=" }, layers: [] }, null, 3)}\n`;
    const response = await put("exact", "t", content, TYPES.ociManifest);
    expect(response.status).toBe(201);
    expect(response.headers.get("location")).toBe(manifestUrl("exact", digestOf(content)));
    expect(await (await expectStatus(200, manifestUrl("exact", "t"))).text()).toBe(content);
  });

  test("sha512: by its digest and by tags set with it", async () => {
    const repository = repo("sha512");
    const image = await pushImage(repository, "base");
    const digest = digestOf(image.bytes, "sha512");
    const response = await put(repository.name, `${digest}?tag=one&tag=two`, image.bytes, image.mediaType);
    expect(response.status).toBe(201);
    expect(response.headers.get("docker-content-digest")).toBe(digest);
    expect(response.headers.get("oci-tag")).toBe("one, two");
    for (const reference of [digest, "one", "two"]) {
      const got = await expectStatus(200, manifestUrl(repository.name, reference));
      expect(got.headers.get("docker-content-digest")).toBe(digest);
      expect(await got.bytes()).toEqual(image.bytes);
    }
  });

  test("4 MiB is accepted, one byte more is 413", async () => {
    const config = await pushBlob(repo("large"), "{}");
    const base = { schemaVersion: 2, mediaType: TYPES.ociManifest, config: { mediaType: TYPES.ociConfig, digest: config, size: 2 }, layers: [], annotations: { pad: "" } };
    const pad = 4 * 1024 * 1024 - JSON.stringify(base).length;
    const content = JSON.stringify({ ...base, annotations: { pad: "x".repeat(pad) } });
    expect(content.length).toBe(4 * 1024 * 1024);
    expect((await put("large", "t", content, TYPES.ociManifest)).status).toBe(201);
    const tooLarge = await put("large", "t", `${content} `, TYPES.ociManifest);
    expect(tooLarge.status).toBe(413);
    expect((await errors(tooLarge))[0]?.code).toBe("MANIFEST_INVALID");
    const streamed = await fetch(manifestUrl("large", "t"), { method: "PUT", body: new Blob([content, " "]).stream(), headers: { "content-type": TYPES.ociManifest } });
    expect(streamed.status).toBe(413);
  });
});

describe("what is refused", () => {
  test("missing config and layers, each by its digest", async () => {
    const missing = ["c", "l1", "l2"].map((text) => digestOf(text));
    const [config, ...layers] = missing.map((digest) => ({ mediaType: TYPES.ociLayer, digest, size: 1 }));
    const response = await put("missing", "t", JSON.stringify({ schemaVersion: 2, config, layers }), TYPES.ociManifest);
    expect(response.status).toBe(400);
    expect((await errors(response)).map((error) => [error.code, error.detail])).toEqual(missing.map((digest) => ["MANIFEST_BLOB_UNKNOWN", digest]));
    await expectStatus(404, manifestUrl("missing", "t"));
  });

  test("a missing child of an index", async () => {
    const child = digestOf("child");
    const index = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociIndex, manifests: [{ mediaType: TYPES.ociManifest, digest: child, size: 5 }] });
    const response = await put("missing", "i", index, TYPES.ociIndex);
    expect(response.status).toBe(400);
    expect((await errors(response))[0]).toMatchObject({ code: "MANIFEST_BLOB_UNKNOWN", detail: child });
  });

  test("bytes that are not the digest's", async () => {
    const image = await pushImage(repo("wrong"), undefined);
    const response = await put("wrong", digestOf("other"), image.bytes, image.mediaType);
    expect(response.status).toBe(400);
    expect((await errors(response))[0]?.code).toBe("DIGEST_INVALID");
    await expectStatus(400, manifestUrl("wrong", "sha256:baddigeststring"), { method: "PUT", body: new Blob([image.bytes]), headers: { "content-type": image.mediaType } });
    await expectStatus(400, manifestUrl("wrong", "sha256:baddigeststring"));
  });

  const bad: [string, string, string | undefined][] = [
    ["an unknown type", "{}", "text/plain"],
    ["no type at all", '{"schemaVersion":2}', undefined],
    ["no JSON", "{", TYPES.ociManifest],
    ["nothing", "", TYPES.ociManifest],
    ["schema 1", '{"schemaVersion":1,"name":"x","fsLayers":[]}', "application/vnd.docker.distribution.manifest.v1+prettyjws"],
    ["schemaVersion 3", '{"schemaVersion":3,"config":{}}', TYPES.ociManifest],
  ];
  for (const [what, content, type] of bad) {
    test(what, async () => {
      const response = await put("bad", "t", content, type);
      expect(response.status).toBe(400);
      expect((await errors(response))[0]?.code).toBe("MANIFEST_INVALID");
    });
  }

  test("unknown tags, digests, repositories and bad tags", async () => {
    for (const reference of ["nope", digestOf("nope"), "x".repeat(129)]) {
      for (const name of ["image/oci", "nobody/here"]) expect((await errors(await expectStatus(404, manifestUrl(name, reference))))[0]?.code).toBe("MANIFEST_UNKNOWN");
    }
    await expectStatus(400, manifestUrl("image/oci", "-x"), { method: "PUT", body: "{}" });
  });
});

describe("indexes", () => {
  test("are stored and given back, nested and empty too", async () => {
    const repository = repo("index");
    const images = [await pushImage(repository, undefined, { seed: 1 }), await pushImage(repository, undefined, { seed: 2 })];
    const index = await pushIndex(repository, "multi", images);
    expect(await (await expectStatus(200, manifestUrl("index", "multi"))).bytes()).toEqual(index.bytes);
    const nested = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociIndex, manifests: [{ mediaType: TYPES.ociIndex, digest: index.digest, size: index.bytes.length }] });
    expect((await put("index", "nested", nested, TYPES.ociIndex)).status).toBe(201);
    const empty = JSON.stringify({ schemaVersion: 2, manifests: [] });
    expect((await put("index", "empty", empty, TYPES.ociIndex)).status).toBe(201);
    expect((await expectStatus(200, manifestUrl("index", "empty"))).headers.get("content-type")).toBe(TYPES.ociIndex);
  });

  test("a Docker list gives an old client its linux/amd64 image", async () => {
    const repository = repo("list");
    const images = [await pushImage(repository, undefined, { format: "docker", seed: 1 }), await pushImage(repository, undefined, { format: "docker", seed: 2 })];
    const list = await pushIndex(repository, "t", images);
    const old = await expectStatus(200, manifestUrl("list", "t"), { headers: { accept: TYPES.dockerManifest } });
    expect(old.headers.get("docker-content-digest")).toBe(images[0]?.digest ?? "");
    for (const accept of [ACCEPT_ALL, "*/*"]) expect((await expectStatus(200, manifestUrl("list", "t"), { headers: { accept } })).headers.get("docker-content-digest")).toBe(list.digest);
    expect((await expectStatus(200, manifestUrl("list", list.digest), { headers: { accept: TYPES.dockerManifest } })).headers.get("docker-content-digest")).toBe(list.digest);
  });
});

describe("deleting", () => {
  test("a tag leaves the manifest and the other tags", async () => {
    const image = await pushImage(repo("untag"), "one");
    await pushManifest(repo("untag"), "two", { content: image.bytes, mediaType: image.mediaType });
    await expectStatus(202, manifestUrl("untag", "one"), { method: "DELETE" });
    await expectStatus(404, manifestUrl("untag", "one"));
    await expectStatus(404, manifestUrl("untag", "one"), { method: "DELETE" });
    await expectStatus(200, manifestUrl("untag", "two"));
    await expectStatus(200, manifestUrl("untag", image.digest));
    expect(await (await expectStatus(200, `${registry.url}/v2/untag/tags/list`)).json()).toEqual({ name: "untag", tags: ["two"] });
  });

  test("a manifest takes its tags with it, and can come back", async () => {
    const image = await pushImage(repo("delete"), "one");
    const other = await pushImage(repo("delete"), "other", { seed: 9 });
    await pushManifest(repo("delete"), "two", { content: image.bytes, mediaType: image.mediaType });
    await expectStatus(202, manifestUrl("delete", image.digest), { method: "DELETE" });
    for (const reference of ["one", "two", image.digest]) await expectStatus(404, manifestUrl("delete", reference));
    await expectStatus(404, manifestUrl("delete", image.digest), { method: "DELETE" });
    expect(await (await expectStatus(200, `${registry.url}/v2/delete/tags/list`)).json()).toEqual({ name: "delete", tags: ["other"] });
    await expectStatus(200, manifestUrl("delete", other.digest));
    await pushManifest(repo("delete"), "one", { content: image.bytes, mediaType: image.mediaType });
    await expectStatus(200, manifestUrl("delete", "one"));
  });
});

describe("a tag that another process moves", () => {
  test("is never served stale", async () => {
    const name = "moved";
    await using other = await startRegistry({ storageFolder: registry.storageFolder });
    const one = await pushImage(repo(name), "t", { seed: 1 });
    const two = await pushImage(repo(name), "u", { seed: 2 });
    for (let i = 0; i < 20; i++) {
      const image = i % 2 === 0 ? two : one;
      await pushManifest({ url: other.url, name }, "t", { content: image.bytes, mediaType: image.mediaType });
      expect((await expectStatus(200, manifestUrl(name, "t"), { method: "HEAD" })).headers.get("docker-content-digest")).toBe(image.digest);
    }
    await expectStatus(202, `${other.url}/v2/${name}/manifests/${one.digest}`, { method: "DELETE" });
    await expectStatus(404, manifestUrl(name, "t"));
    await expectStatus(404, manifestUrl(name, one.digest));
  });
});
