import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, expectStatus, pushBlob, pushImage, pushManifest, TYPES } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

let registry: RegistryProcess;
beforeAll(async () => {
  registry = await startRegistry({ config: { catalog: { maxentries: 7 }, tags: { maxtags: 5 } } });
});
afterAll(async () => await registry[Symbol.asyncDispose]());

async function json(path: string, status = 200): Promise<{ body: unknown; link: string | null }> {
  const response = await expectStatus(status, `${registry.url}${path}`);
  return { body: await response.json(), link: response.headers.get("link") };
}

async function follow(path: string, key: string): Promise<string[]> {
  const items: string[] = [];
  let next: string | undefined = path;
  for (let pages = 0; next !== undefined && pages < 50; pages++) {
    const { body, link } = await json(next);
    items.push(...((body as Record<string, string[]>)[key] ?? []));
    next = link === null ? undefined : /<([^>]+)>; rel="next"/.exec(link)?.[1];
  }
  return items;
}

describe("tags", () => {
  const tags = ["1", "10", "2", "a", "a-b", "a.b", "a_b", "b", "latest", "v1", "v1-rc1", "z"];
  beforeAll(async () => {
    const image = await pushImage({ url: registry.url, name: "tagged" }, "z");
    for (const tag of [...tags].reverse()) await pushManifest({ url: registry.url, name: "tagged" }, tag, { content: image.bytes, mediaType: image.mediaType });
  });
  const sorted = [...tags].sort();

  test("all of them, sorted bytewise", async () => expect((await json("/v2/tagged/tags/list")).body).toEqual({ name: "tagged", tags: sorted }));
  test("pages", async () => {
    const first = await json("/v2/tagged/tags/list?n=3");
    expect(first).toEqual({ body: { name: "tagged", tags: sorted.slice(0, 3) }, link: `</v2/tagged/tags/list?last=${sorted[2]}&n=3>; rel="next"` });
    for (const n of [1, 2, 3, 5]) expect(await follow(`/v2/tagged/tags/list?n=${n}`, "tags")).toEqual(sorted);
  });
  test("n is clamped to tags.maxtags", async () => {
    const { body, link } = await json("/v2/tagged/tags/list?n=100");
    expect((body as { tags: string[] }).tags).toEqual(sorted.slice(0, 5));
    expect(link).toContain("n=5");
    expect(await follow("/v2/tagged/tags/list?n=100", "tags")).toEqual(sorted);
  });
  test("last need not exist", async () => {
    expect((await json("/v2/tagged/tags/list?last=a0")).body).toEqual({ name: "tagged", tags: sorted.filter((tag) => tag > "a0") });
    expect((await json("/v2/tagged/tags/list?last=zz&n=2")).body).toEqual({ name: "tagged", tags: [] });
    expect((await json("/v2/tagged/tags/list?last=&n=")).body).toEqual({ name: "tagged", tags: sorted });
  });
  test("n=0 is an empty list", async () => expect((await json("/v2/tagged/tags/list?n=0")).body).toEqual({ name: "tagged", tags: [] }));
  test("bad counts", async () => {
    for (const n of ["-1", "abc", "1.5", "99999999999999999999"]) expect((await json(`/v2/tagged/tags/list?n=${n}`, 400)).body).toMatchObject({ errors: [{ code: "PAGINATION_NUMBER_INVALID" }] });
  });
  test("an unknown repository", async () => {
    expect((await json("/v2/nobody/tags/list", 404)).body).toMatchObject({ errors: [{ code: "NAME_UNKNOWN", detail: { name: "nobody" } }] });
    await pushBlob({ url: registry.url, name: "only-blobs" }, "x");
    await expectStatus(404, `${registry.url}/v2/only-blobs/tags/list`);
  });
});

describe("the catalog", () => {
  const names = ["z", "z/one", "z/two", "z-a", "z.b", "aa/bb/cc", "aa/bb", "m"];
  // Component order: `/` sorts before every other byte.
  const ordered = ["aa/bb", "aa/bb/cc", "m", "tagged", "z", "z/one", "z/two", "z-a", "z.b"];
  beforeAll(async () => {
    for (const name of names) await pushImage({ url: registry.url, name }, "t");
  });

  test("in component order, page by page", async () => {
    for (const n of [1, 2, 3, 7]) expect(await follow(`/v2/_catalog?n=${n}`, "repositories")).toEqual(ordered);
    expect((await json("/v2/_catalog?n=2")).link).toBe('</v2/_catalog?last=aa%2Fbb%2Fcc&n=2>; rel="next"');
  });
  test("is capped by catalog.maxentries", async () => {
    expect(((await json("/v2/_catalog")).body as { repositories: string[] }).repositories).toEqual(ordered.slice(0, 7));
    expect((await json("/v2/_catalog?n=8", 400)).body).toMatchObject({ errors: [{ code: "PAGINATION_NUMBER_INVALID", detail: { n: 8 } }] });
    for (const n of ["-1", "x"]) await expectStatus(400, `${registry.url}/v2/_catalog?n=${n}`);
    expect((await json("/v2/_catalog?n=0")).body).toEqual({ repositories: [] });
  });
  test("goes on after a name that does not exist", async () => {
    expect(await follow("/v2/_catalog?n=3&last=n", "repositories")).toEqual(ordered.slice(3));
    expect(await follow("/v2/_catalog?n=3&last=z/nothing", "repositories")).toEqual(ordered.slice(5));
  });
  test("of an empty store", async () => {
    await using empty = await startRegistry();
    expect(await (await expectStatus(200, `${empty.url}/v2/_catalog`)).json()).toEqual({ repositories: [] });
  });
});

describe("referrers", () => {
  const repository = { url: "", name: "signed" };
  let subject = { digest: "", mediaType: TYPES.ociManifest as string, size: 0 };
  const referrers = async (query = "", status = 200): Promise<{ manifests: Record<string, unknown>[]; headers: Headers }> => {
    const response = await expectStatus(status, `${registry.url}/v2/${repository.name}/referrers/${subject.digest}${query}`);
    return { manifests: ((await response.json()) as { manifests: Record<string, unknown>[] }).manifests, headers: response.headers };
  };
  async function refer(artifactType: string, seed: number): Promise<Response> {
    const config = await pushBlob(repository, "{}");
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociManifest, artifactType, config: { mediaType: "application/vnd.oci.empty.v1+json", digest: config, size: 2 }, layers: [], subject, annotations: { seed: String(seed) } });
    return await expectStatus(201, `${registry.url}/v2/${repository.name}/manifests/${digestOf(manifest)}`, { method: "PUT", body: manifest, headers: { "content-type": TYPES.ociManifest } });
  }
  beforeAll(async () => {
    Object.assign(repository, { url: registry.url });
    const image = await pushImage(repository, "t");
    subject = { digest: image.digest, mediaType: image.mediaType, size: image.bytes.length };
  });

  test("are empty where nothing refers, also for what is unknown", async () => {
    expect((await referrers()).manifests).toEqual([]);
    for (const name of ["signed", "nobody"]) {
      const response = await expectStatus(200, `${registry.url}/v2/${name}/referrers/${digestOf("unknown")}`);
      expect(response.headers.get("content-type")).toBe(TYPES.ociIndex);
      expect(await response.json()).toEqual({ schemaVersion: 2, mediaType: TYPES.ociIndex, manifests: [] });
    }
    await expectStatus(400, `${registry.url}/v2/signed/referrers/sha256:abc`);
  });

  test("are listed with their type and annotations, filtered, paged, and removed", async () => {
    for (let seed = 0; seed < 3; seed++) expect((await refer("application/x-sbom", seed)).headers.get("oci-subject")).toBe(subject.digest);
    const signature = await refer("application/x-signature", 9);
    const all = await referrers();
    expect(all.manifests.length).toBe(4);
    expect(all.manifests.find((item) => item["artifactType"] === "application/x-signature")).toMatchObject({ digest: signature.headers.get("docker-content-digest"), mediaType: TYPES.ociManifest, annotations: { seed: "9" } });
    const filtered = await referrers("?artifactType=application/x-sbom");
    expect(filtered.manifests.length).toBe(3);
    expect(filtered.headers.get("oci-filters-applied")).toBe("artifactType");
    const paged = await referrers("?n=2");
    expect(paged.manifests.length).toBe(2);
    const next = /<([^>]+)>; rel="next"/.exec(paged.headers.get("link") ?? "")?.[1] ?? "";
    const rest = (await (await expectStatus(200, `${registry.url}${next}`)).json()) as { manifests: unknown[] };
    expect([...paged.manifests, ...rest.manifests]).toEqual(all.manifests);
    await expectStatus(202, `${registry.url}/v2/signed/manifests/${signature.headers.get("docker-content-digest")}`, { method: "DELETE" });
    expect((await referrers()).manifests.length).toBe(3);
  });

  test("of a subject that does not exist yet", async () => {
    const missing = { ...subject, digest: digestOf("not yet pushed") };
    const config = await pushBlob(repository, "{}");
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociManifest, config: { mediaType: "application/x-config", digest: config, size: 2 }, layers: [], subject: missing });
    const response = await expectStatus(201, `${registry.url}/v2/signed/manifests/early`, { method: "PUT", body: manifest, headers: { "content-type": TYPES.ociManifest } });
    expect(response.headers.get("oci-subject")).toBe(missing.digest);
    const list = (await (await expectStatus(200, `${registry.url}/v2/signed/referrers/${missing.digest}`)).json()) as { manifests: unknown[] };
    expect(list.manifests).toMatchObject([{ digest: digestOf(manifest), artifactType: "application/x-config" }]);
  });

  test("of old clients, kept under the fallback tag, appear too", async () => {
    const target = digestOf("fallback subject");
    const extra = { artifactType: "application/old", subject: { mediaType: TYPES.ociManifest, digest: target, size: 5 } };
    const image = await pushImage(repository, undefined, { seed: 77, extra });
    const index = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociIndex, manifests: [{ mediaType: image.mediaType, digest: image.digest, size: image.bytes.length, artifactType: "application/old" }] });
    await pushManifest(repository, target.replace(":", "-"), { content: index, mediaType: TYPES.ociIndex });
    const list = (await (await expectStatus(200, `${registry.url}/v2/signed/referrers/${target}`)).json()) as { manifests: unknown[] };
    expect(list.manifests).toMatchObject([{ digest: image.digest, artifactType: "application/old" }]);
  });
});
