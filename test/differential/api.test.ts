import { afterAll, beforeAll, expect, test } from "bun:test";
import { digestOf, seededBytes, TYPES } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import type { ExchangeRequest, Side } from "./exchange.ts";
import { compare, type Step, unseenDifferences } from "./sequence.ts";

const CONFIG = JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [] } });
const LAYER = seededBytes(2048, 11);

/** A manifest over CONFIG and LAYER. */
function manifest(format: "oci" | "docker", extra: { readonly [key: string]: unknown } = {}): string {
  const isOci = format === "oci";
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: isOci ? TYPES.ociManifest : TYPES.dockerManifest,
    config: { mediaType: isOci ? TYPES.ociConfig : TYPES.dockerConfig, digest: digestOf(CONFIG), size: CONFIG.length },
    layers: [{ mediaType: isOci ? TYPES.ociLayer : TYPES.dockerLayer, digest: digestOf(LAYER), size: LAYER.length }],
    ...extra,
  });
}

/** An index or list over manifests. */
function index(format: "oci" | "docker", children: readonly string[], extra: { readonly [key: string]: unknown } = {}): string {
  const isOci = format === "oci";
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: isOci ? TYPES.ociIndex : TYPES.dockerList,
    manifests: children.map((child, position) => ({
      mediaType: isOci ? TYPES.ociManifest : TYPES.dockerManifest,
      digest: digestOf(child),
      size: child.length,
      platform: { os: "linux", architecture: ["amd64", "arm64"][position % 2] },
    })),
    ...extra,
  });
}

const begin = (name: string): ExchangeRequest => ({ method: "POST", path: `/v2/${name}/blobs/uploads/`, body: "" });
const finish = (content: string | Uint8Array, digest = digestOf(content)) => (side: Side): ExchangeRequest => ({ method: "PUT", path: `${side.location}&digest=${digest}`, body: content, headers: { "Content-Type": "application/octet-stream" } });
const put = (name: string, reference: string, body: string, type: string): ExchangeRequest => ({ method: "PUT", path: `/v2/${name}/manifests/${reference}`, body, headers: { "Content-Type": type } });
const get = (path: string, headers: Readonly<Record<string, string>> = {}): ExchangeRequest => ({ path, headers });
const head = (path: string, headers: Readonly<Record<string, string>> = {}): ExchangeRequest => ({ method: "HEAD", path, headers });
const remove = (path: string): ExchangeRequest => ({ method: "DELETE", path });

/** The steps that push what `manifest` refers to. */
function pushContent(name: string): Step[] {
  return [CONFIG, LAYER].flatMap((content) => [
    { title: "begin", request: begin(name) },
    { title: "finish", request: finish(content) },
  ]);
}

/** Starts both with one configuration. */
async function startBoth(config: ConfigSection = {}): Promise<{ distribution: Side; ours: Side } & AsyncDisposable> {
  const side = (registry: RegistryProcess): Side => ({ registry, location: "", memory: new Map() });
  await using cleanup = new AsyncDisposableStack();
  const distribution = side(cleanup.use(await startRegistry({ implementation: "distribution", config })));
  const ours = side(cleanup.use(await startRegistry({ config })));
  const owned = cleanup.move();
  return { distribution, ours, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

describeWith(["reference"], "ours answers as distribution 2.8 does", () => {
  let both: Awaited<ReturnType<typeof startBoth>>;
  beforeAll(async () => {
    both = await startBoth();
  });
  afterAll(() => both[Symbol.asyncDispose]());
  const run = (steps: readonly Step[]): Promise<void> => compare(both.distribution, both.ours, steps);

  test("base and paths", async () => {
    await run([
      { title: "base", request: get("/v2/") },
      { title: "HEAD base", request: head("/v2/") },
      { title: "POST base", request: { method: "POST", path: "/v2/", body: "" } },
      { title: "root", request: get("/") },
      { title: "base without slash", request: get("/v2") },
      { title: "catalog with slash", request: get("/v2/_catalog/") },
      { title: "tags with slash", request: get("/v2/a/tags/list/") },
      { title: "uploads without slash", request: { method: "POST", path: "/v2/a/blobs/uploads", body: "" } },
      { title: "double slash", request: get("/v2//a/tags/list") },
      { title: "dots", request: get("/v2/a/../b/tags/list") },
      { title: "unrouted", request: get("/v2/a/nothing"), differs: "unrouted-path" },
      { title: "unrouted below the root", request: get("/v3/"), differs: "unrouted-path" },
      { title: "unrouted in depth", request: get("/v2/a/b/c/d/e"), differs: "unrouted-path" },
    ]);
  });

  test("names", async () => {
    const valid = ["a", "a/b", "a-b", "a--b", "a__b", "a.b", "a_b", "0", "a/b/c/d/e/f/g", "Foo/bar", "a".repeat(255), "manifests/tags", "a/blobs"];
    const invalid = ["Foo", "a..b", "_a", "a_", "-a", "a-", "a___b", ".a", "A/B", "a/B", "é", "a%20b", "a*b"];
    await run([
      ...valid.map((name): Step => ({ title: `tags of ${name.slice(0, 20)}`, request: get(`/v2/${name}/tags/list`) })),
      ...valid.map((name): Step => ({ title: `upload to ${name.slice(0, 20)}`, request: begin(name) })),
      ...invalid.map((name): Step => ({ title: `tags of ${name}`, request: get(`/v2/${name}/tags/list`), differs: "unrouted-path" })),
      { title: "escaped slash", request: get("/v2/a%2Fb/tags/list") },
    ]);
  });

  test("methods", async () => {
    const paths = ["/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/latest", `/v2/a/blobs/${digestOf("x")}`];
    await run(
      paths.flatMap((path) =>
        ["POST", "PATCH", "OPTIONS"].map((method): Step => ({ title: `${method} ${path.slice(0, 30)}`, request: { method, path, ...(method === "OPTIONS" ? {} : { body: "" }) } })),
      ),
    );
  });

  test("the life of a blob", async () => {
    const name = "life/blob";
    const digest = digestOf(LAYER);
    const path = `/v2/${name}/blobs/${digest}`;
    await run([
      { title: "GET unknown", request: get(path) },
      { title: "HEAD unknown", request: head(path) },
      { title: "DELETE unknown", request: remove(path) },
      { title: "begin", request: begin(name) },
      { title: "finish", request: finish(LAYER) },
      { title: "GET", request: get(path) },
      { title: "HEAD", request: head(path) },
      { title: "GET in another repository", request: get(`/v2/life/other/blobs/${digest}`) },
      { title: "If-None-Match", request: get(path, { "If-None-Match": `"${digest}"` }) },
      { title: "If-None-Match weak", request: get(path, { "If-None-Match": `W/"${digest}"` }) },
      { title: "If-None-Match star", request: get(path, { "If-None-Match": "*" }) },
      { title: "If-None-Match other", request: get(path, { "If-None-Match": '"bogus"' }) },
      { title: "range", request: get(path, { Range: "bytes=500-1499" }) },
      { title: "open range", request: get(path, { Range: "bytes=2000-" }) },
      { title: "suffix range", request: get(path, { Range: "bytes=-500" }) },
      { title: "clamped range", request: get(path, { Range: "bytes=2000-5000" }) },
      { title: "HEAD range", request: head(path, { Range: "bytes=0-9" }) },
      { title: "If-Range", request: get(path, { Range: "bytes=0-9", "If-Range": `"${digest}"` }) },
      { title: "If-Range other", request: get(path, { Range: "bytes=0-9", "If-Range": '"other"' }) },
      { title: "bad digest", request: get(`/v2/${name}/blobs/sha256:abc`) },
      { title: "unknown algorithm", request: get(`/v2/${name}/blobs/md5:d41d8cd98f00b204e9800998ecf8427e`) },
      { title: "upper-case hex", request: get(`/v2/${name}/blobs/${digest.toUpperCase().replace("SHA256", "sha256")}`) },
      { title: "begin again", request: begin(name) },
      { title: "finish again", request: finish(LAYER) },
      { title: "DELETE", request: remove(path) },
      { title: "GET deleted", request: get(path) },
      { title: "DELETE deleted", request: remove(path) },
      { title: "begin after DELETE", request: begin(name) },
      { title: "finish after DELETE", request: finish(LAYER) },
      { title: "GET pushed again", request: get(path) },
      { title: "begin empty", request: begin(name) },
      { title: "finish empty", request: finish("") },
      { title: "GET empty", request: get(`/v2/${name}/blobs/${digestOf("")}`) },
    ]);
  });

  test("uploads", async () => {
    const name = "life/upload";
    const patch = (body: string, headers: Readonly<Record<string, string>> = {}) => (side: Side): ExchangeRequest => ({ method: "PATCH", path: side.location, body, headers });
    const here = (method: string) => (side: Side): ExchangeRequest => ({ method, path: side.location });
    await run([
      { title: "begin", request: begin(name) },
      { title: "status", request: here("GET") },
      { title: "HEAD status", request: here("HEAD") },
      { title: "PATCH one byte", request: patch("h") },
      { title: "PATCH nothing", request: patch("") },
      { title: "PATCH more", request: patch("ello", { "Content-Type": "application/octet-stream" }) },
      { title: "status in between", request: here("GET") },
      { title: "PUT without digest", request: (side) => ({ method: "PUT", path: side.location, body: "" }) },
      { title: "PUT with a bad digest", request: (side) => ({ method: "PUT", path: `${side.location}&digest=sha256:abc`, body: "" }) },
      { title: "PUT the rest", request: finish(" world", digestOf("hello world")) },
      { title: "GET the blob", request: get(`/v2/${name}/blobs/${digestOf("hello world")}`) },
      { title: "begin to cancel", request: begin(name) },
      { title: "cancel", request: here("DELETE") },
      { title: "begin for another repository", request: begin(name) },
      { title: "status under another name", request: (side) => get(side.location.replace(name, "life/other")) },
      { title: "begin for a wrong digest", request: begin(name) },
      { title: "wrong digest", request: finish("hello", digestOf("bye")) },
      { title: "begin for a forged state", request: begin(name) },
      { title: "PATCH with a forged state", request: (side) => ({ method: "PATCH", path: side.location.replace(/_state=.{10}/, "_state=AAAAAAAAAA"), body: "x" }) },
      { title: "PATCH without state", request: (side) => ({ method: "PATCH", path: side.location.replace(/\?.*/, ""), body: "x" }) },
      { title: "PATCH with a state that is no base64", request: (side) => ({ method: "PATCH", path: side.location.replace(/_state=.*/, "_state=****"), body: "x" }) },
    ]);
  });

  test("mounts", async () => {
    const digest = digestOf(LAYER);
    const mount = (query: string): ExchangeRequest => ({ method: "POST", path: `/v2/mount/to/blobs/uploads/?${query}`, body: "" });
    await run([
      ...pushContent("mount/from"),
      { title: "mount", request: mount(`mount=${digest}&from=mount/from`) },
      { title: "GET mounted", request: get(`/v2/mount/to/blobs/${digest}`) },
      { title: "mount unknown blob", request: mount(`mount=${digestOf("nothing")}&from=mount/from`) },
      { title: "mount from unknown repository", request: mount(`mount=${digest}&from=mount/nothing`) },
      { title: "mount a bad digest", request: mount("mount=sha256:abc&from=mount/from") },
      { title: "mount from a bad name", request: mount(`mount=${digest}&from=UPPER`) },
    ]);
  });

  for (const format of ["docker", "oci"] as const) {
    const type = format === "docker" ? TYPES.dockerManifest : TYPES.ociManifest;
    const listType = format === "docker" ? TYPES.dockerList : TYPES.ociIndex;

    test(`${format} manifests`, async () => {
      const name = `life/${format}`;
      const body = manifest(format);
      const digest = digestOf(body);
      const byTag = `/v2/${name}/manifests/latest`;
      const byDigest = `/v2/${name}/manifests/${digest}`;
      await run([
        { title: "GET of an unknown repository", request: get(byTag, { Accept: type }) },
        { title: "HEAD of an unknown repository", request: head(byTag, { Accept: type }) },
        { title: "GET by an unknown digest", request: get(byDigest, { Accept: type }) },
        { title: "tags of an unknown repository", request: get(`/v2/${name}/tags/list`) },
        { title: "PUT before its blobs", request: put(name, "latest", body, type) },
        ...pushContent(name),
        { title: "PUT by tag", request: put(name, "latest", body, type) },
        { title: "PUT by digest", request: put(name, digest, body, type) },
        { title: "PUT again", request: put(name, "latest", body, type) },
        { title: "PUT a second tag", request: put(name, "other", body, type) },
        { title: "PUT with parameters in the type", request: put(name, "other", body, `${type}; charset=utf-8`) },
        { title: "PUT with a wrong digest", request: put(name, digestOf("x"), body, type) },
        { title: "PUT what is no JSON", request: put(name, "bad", "{", type) },
        { title: "PUT nothing", request: put(name, "bad", "", type) },
        { title: "PUT with a trailing newline", request: put(name, "newline", `${body}\n`, type) },
        { title: "GET with the trailing newline", request: get(`/v2/${name}/manifests/newline`, { Accept: type }) },
        { title: "GET by tag", request: get(byTag, { Accept: type }) },
        { title: "GET by digest", request: get(byDigest, { Accept: type }) },
        { title: "HEAD by tag", request: head(byTag, { Accept: type }) },
        { title: "HEAD by digest", request: head(byDigest, { Accept: type }) },
        { title: "Accept with quality and others", request: get(byTag, { Accept: `text/html, ${type};q=0.5` }) },
        { title: "If-None-Match", request: get(byTag, { Accept: type, "If-None-Match": `"${digest}"` }) },
        { title: "If-None-Match unquoted", request: get(byDigest, { Accept: type, "If-None-Match": digest }) },
        { title: "If-None-Match other", request: get(byTag, { Accept: type, "If-None-Match": '"x"' }) },
        { title: "GET a manifest as a blob", request: get(`/v2/${name}/blobs/${digest}`) },
        { title: "DELETE by an unknown digest", request: remove(`/v2/${name}/manifests/${digestOf("x")}`) },
        { title: "DELETE", request: remove(byDigest) },
        { title: "GET deleted by tag", request: get(byTag, { Accept: type }) },
        { title: "GET deleted by digest", request: get(byDigest, { Accept: type }) },
        { title: "DELETE deleted", request: remove(byDigest) },
        { title: "PUT after DELETE", request: put(name, "again", body, type) },
        { title: "GET after DELETE", request: get(`/v2/${name}/manifests/again`, { Accept: type }) },
      ]);
    });

    test(`${format} indexes`, async () => {
      const name = `life/${format}-index`;
      const children = [manifest(format), manifest(format, { annotations: { child: "two" } })];
      const body = index(format, children);
      await run([
        ...pushContent(name),
        { title: "PUT before its children", request: put(name, "all", body, listType) },
        ...children.map((child): Step => ({ title: "PUT child", request: put(name, digestOf(child), child, type) })),
        { title: "PUT by tag", request: put(name, "all", body, listType) },
        { title: "PUT by digest", request: put(name, digestOf(body), body, listType) },
        { title: "GET by tag", request: get(`/v2/${name}/manifests/all`, { Accept: listType }) },
        { title: "GET by digest", request: get(`/v2/${name}/manifests/${digestOf(body)}`, { Accept: listType }) },
        { title: "HEAD by tag", request: head(`/v2/${name}/manifests/all`, { Accept: listType }) },
        { title: "PUT an empty index", request: put(name, "empty", index(format, []), listType) },
        { title: "GET the empty index", request: get(`/v2/${name}/manifests/empty`, { Accept: listType }) },
        { title: "DELETE", request: remove(`/v2/${name}/manifests/${digestOf(body)}`) },
        { title: "GET a child after DELETE", request: get(`/v2/${name}/manifests/${digestOf(children[0] ?? "")}`, { Accept: type }) },
      ]);
    });
  }

  test("lists", async () => {
    const name = "list/one";
    await run([
      ...pushContent(name),
      ...["a", "b", "c"].map((tag): Step => ({ title: `PUT ${tag}`, request: put(name, tag, manifest("docker"), TYPES.dockerManifest) })),
      {
        title: "PUT sets no order",
        request: get(`/v2/${name}/tags/list`),
      },
    ]);
  });

  test("every row of the table of differences was seen", () => {
    expect(unseenDifferences()).toEqual([]);
  });
});
