import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, expectStatus, pushBlob, type Repository, seededBytes } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

let registry: RegistryProcess;
let repository: Repository;
let small: string;
let large: string;
const SMALL = seededBytes(2048, 31);
const LARGE = seededBytes(3_000_000, 37);

beforeAll(async () => {
  registry = await startRegistry();
  repository = { url: registry.url, name: "team/blobs" };
  small = await pushBlob(repository, SMALL);
  large = await pushBlob(repository, LARGE);
});
afterAll(async () => await registry[Symbol.asyncDispose]());

const url = (digest: string, name = repository.name): string => `${registry.url}/v2/${name}/blobs/${digest}`;

describe("reading a blob", () => {
  test("GET and HEAD carry the same headers", async () => {
    for (const [digest, content] of [[small, SMALL], [large, LARGE]] as const) {
      const get = await expectStatus(200, url(digest));
      expect(await get.bytes()).toEqual(content);
      const head = await expectStatus(200, url(digest), { method: "HEAD" });
      for (const response of [get, head]) {
        expect(response.headers.get("content-length")).toBe(String(content.length));
        expect(response.headers.get("content-type")).toBe("application/octet-stream");
        expect(response.headers.get("docker-content-digest")).toBe(digest);
        expect(response.headers.get("etag")).toBe(`"${digest}"`);
        expect(response.headers.get("cache-control")).toBe("max-age=31536000");
        expect(response.headers.get("accept-ranges")).toBe("bytes");
      }
      expect((await head.bytes()).length).toBe(0);
    }
  });

  test("unknown, foreign and malformed digests", async () => {
    const unknown = digestOf("never pushed");
    const body = (await (await expectStatus(404, url(unknown))).json()) as { errors: { code: string; detail: unknown }[] };
    expect(body.errors[0]).toMatchObject({ code: "BLOB_UNKNOWN", detail: unknown });
    await expectStatus(404, url(unknown), { method: "HEAD" });
    await expectStatus(404, url(small, "team/elsewhere"));
    await expectStatus(400, url("sha256:abc"));
    await expectStatus(400, url("md5:d41d8cd98f00b204e9800998ecf8427e"));
  });

  test("ranges", async () => {
    const ranges: [string, number, number][] = [["bytes=500-1499", 500, 1500], ["bytes=500-", 500, 2048], ["bytes=-500", 1548, 2048], ["bytes=2000-5000", 2000, 2048]];
    for (const [header, start, end] of ranges) {
      const response = await expectStatus(206, url(small), { headers: { range: header } });
      expect(response.headers.get("content-range")).toBe(`bytes ${start}-${end - 1}/2048`);
      expect(response.headers.get("content-length")).toBe(String(end - start));
      expect(await response.bytes()).toEqual(SMALL.slice(start, end));
    }
    const middle = await expectStatus(206, url(large), { headers: { range: "bytes=1000000-1999999" } });
    expect(await middle.bytes()).toEqual(LARGE.slice(1_000_000, 2_000_000));
    for (const header of ["bytes=500-0", "bytes=5000-10000", "bytes=junk"]) {
      const response = await expectStatus(416, url(small), { headers: { range: header } });
      expect(response.headers.get("content-range")).toBe("bytes */2048");
    }
    for (const digest of [small, large]) await expectStatus(200, url(digest), { headers: { range: "bytes=0-1,5-6" } });
    const ignored = await expectStatus(200, url(large), { headers: { range: "bytes=0-1", "if-range": '"other"' } });
    expect((await ignored.bytes()).length).toBe(LARGE.length);
    await expectStatus(206, url(large), { headers: { range: "bytes=0-1", "if-range": `"${large}"` } });
    await expectStatus(206, url(large), { method: "HEAD", headers: { range: "bytes=0-1" } });
  });

  test("conditions", async () => {
    for (const tag of [`"${small}"`, small, `W/"${small}"`, "*"]) {
      const response = await expectStatus(304, url(small), { headers: { "if-none-match": tag } });
      expect(response.headers.get("docker-content-digest")).toBe(small);
    }
    await expectStatus(200, url(small), { headers: { "if-none-match": '"other"' } });
    await expectStatus(412, url(small), { headers: { "if-match": '"other"' } });
    await expectStatus(200, url(small), { headers: { "if-match": `"${small}"` } });
  });
});

describe("deleting a blob", () => {
  test("takes it from this repository only, and it can come back", async () => {
    const other = { url: registry.url, name: "team/keeper" };
    const digest = await pushBlob(repository, "to delete");
    await pushBlob(other, "to delete");
    const response = await expectStatus(202, url(digest), { method: "DELETE" });
    expect(response.headers.get("content-length")).toBe("0");
    await expectStatus(404, url(digest), { method: "HEAD" });
    await expectStatus(404, url(digest), { method: "DELETE" });
    await expectStatus(200, url(digest, other.name));
    await pushBlob(repository, "to delete");
    await expectStatus(200, url(digest));
  });

  test("is refused when deletion is off", async () => {
    await using closed = await startRegistry({ config: { storage: { delete: { enabled: false } } } });
    const digest = await pushBlob({ url: closed.url, name: "a" }, "kept");
    const response = await expectStatus(405, `${closed.url}/v2/a/blobs/${digest}`, { method: "DELETE" });
    expect(await response.json()).toMatchObject({ errors: [{ code: "UNSUPPORTED" }] });
    await expectStatus(200, `${closed.url}/v2/a/blobs/${digest}`);
  });
});
