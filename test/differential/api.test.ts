import { afterAll, beforeAll, expect, test } from "bun:test";
import { digestOf, seededBytes, TYPES } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import type { ExchangeRequest, Side } from "./exchange.ts";
import { DIFFERENCES, type DifferenceId } from "./differences.ts";
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
      { title: "dots", request: get("/v2/a/../b/tags/list"), differs: "dots" },
      { title: "unrouted", request: get("/v2/a/nothing"), differs: "unrouted-path" },
      { title: "unrouted below the root", request: get("/v3/"), differs: "unrouted-path" },
      { title: "unrouted in depth", request: get("/v2/a/b/c/d/e"), differs: "unrouted-path" },
    ]);
  });

  test("names", async () => {
    const valid = ["a", "a/b", "a-b", "a--b", "a__b", "a.b", "a_b", "0", "a/b/c/d/e/f/g", "manifests/tags", "a/blobs"];
    const validHere = ["Foo/bar", "a".repeat(255)];
    const invalid = ["Foo", "a..b", "_a", "a_", "-a", "a-", "a___b", ".a", "A/B", "a/B", "é", "a%20b", "a*b"];
    await run([
      ...valid.map((name): Step => ({ title: `tags of ${name.slice(0, 20)}`, request: get(`/v2/${name}/tags/list`) })),
      ...valid.map((name): Step => ({ title: `upload to ${name.slice(0, 20)}`, request: begin(name) })),
      ...validHere.map((name): Step => ({ title: `upload to ${name.slice(0, 20)}`, request: begin(name), differs: "upper-case-name" })),
      ...invalid.map((name): Step => ({ title: `tags of ${name}`, request: get(`/v2/${name}/tags/list`), differs: "unrouted-path" })),
      { title: "escaped slash", request: get("/v2/a%2Fb/tags/list") },
    ]);
  });

  test("methods", async () => {
    const paths = ["/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/latest", `/v2/a/blobs/${digestOf("x")}`];
    await run([
      ...paths.flatMap((path) => ["POST", "PATCH"].map((method): Step => ({ title: `${method} ${path.slice(0, 30)}`, request: { method, path, body: "" }, differs: "method" }))),
      ...["/v2/_catalog", "/v2/a/manifests/latest", `/v2/a/blobs/${digestOf("x")}`].map((path): Step => ({ title: `OPTIONS ${path.slice(0, 30)}`, request: { method: "OPTIONS", path } })),
    ]);
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
      { title: "status under another name", request: (side) => get(side.location.replace(name, "life/other")), differs: "foreign-state" },
      { title: "begin for a wrong digest", request: begin(name) },
      { title: "wrong digest", request: finish("hello", digestOf("bye")) },
      { title: "begin for a forged state", request: begin(name) },
      { title: "PATCH with a forged state", request: (side) => ({ method: "PATCH", path: side.location.replace(/_state=.{10}/, "_state=AAAAAAAAAA"), body: "x" }), differs: "forged-state" },
      { title: "PATCH without state", request: (side) => ({ method: "PATCH", path: side.location.replace(/\?.*/, ""), body: "x" }), differs: "forged-state" },
      { title: "PATCH with a state that is no base64", request: (side) => ({ method: "PATCH", path: side.location.replace(/_state=.*/, "_state=****"), body: "x" }), differs: "forged-state" },
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
        { title: "If-None-Match", request: get(byTag, { Accept: type, "If-None-Match": `"${digest}"` }), differs: "not-modified-manifest" },
        { title: "If-None-Match unquoted", request: get(byDigest, { Accept: type, "If-None-Match": digest }), differs: "not-modified-manifest" },
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

  test("what is served for which Accept", async () => {
    const name = "accept/all";
    const children = [manifest("oci"), manifest("docker")];
    const stored = {
      oci: { type: TYPES.ociManifest, body: manifest("oci") },
      docker: { type: TYPES.dockerManifest, body: manifest("docker") },
      index: { type: TYPES.ociIndex, body: index("oci", [manifest("oci")]) },
      list: { type: TYPES.dockerList, body: index("docker", [manifest("docker")]) },
      "oci-typeless": { type: TYPES.ociManifest, body: manifest("oci", { mediaType: undefined, annotations: { typeless: "yes" } }) },
      "index-typeless": { type: TYPES.ociIndex, body: index("oci", [manifest("oci")], { mediaType: undefined }) },
    };
    const accepts: Record<string, string | undefined> = {
      none: undefined,
      star: "*/*",
      docker: TYPES.dockerManifest,
      list: TYPES.dockerList,
      oci: TYPES.ociManifest,
      index: TYPES.ociIndex,
      text: "text/html",
      everything: `${TYPES.dockerManifest}, ${TYPES.dockerList},${TYPES.ociManifest} , ${TYPES.ociIndex}; q=0.1`,
    };
    const steps: Step[] = [...pushContent(name), ...children.map((child, position): Step => ({ title: "PUT child", request: put(name, digestOf(child), child, position === 0 ? TYPES.ociManifest : TYPES.dockerManifest) }))];
    for (const [tag, { type, body }] of Object.entries(stored)) steps.push({ title: `PUT ${tag}`, request: put(name, tag, body, type) });
    for (const [tag, { type, body }] of Object.entries(stored)) {
      for (const [label, accept] of Object.entries(accepts)) {
        for (const reference of [tag, digestOf(body)]) {
          const isTag = reference === tag;
          const differs = acceptDifference({ type, accept: accept ?? "", isTag, isTypeless: tag.endsWith("typeless") });
          steps.push({
            title: `GET ${tag} by ${isTag ? "tag" : "digest"} for ${label}`,
            request: get(`/v2/${name}/manifests/${reference}`, accept === undefined ? {} : { Accept: accept }),
            ...(differs === undefined ? {} : { differs }),
          });
        }
      }
    }
    await run(steps);
  });

  test("manifests that are refused", async () => {
    const name = "refused/all";
    const badDigest = (digest: string): string => manifest("oci", { layers: [{ mediaType: TYPES.ociLayer, digest, size: 1 }] });
    await run([
      ...pushContent(name),
      { title: "another type than it says", request: put(name, "bad", manifest("docker"), TYPES.ociManifest) },
      { title: "a list as a manifest", request: put(name, "bad", index("docker", []), TYPES.dockerManifest) },
      { title: "a manifest as an index", request: put(name, "bad", manifest("oci", { mediaType: undefined }), TYPES.ociIndex) },
      { title: "an index as a manifest", request: put(name, "bad", index("oci", [], { mediaType: undefined }), TYPES.ociManifest) },
      { title: "a Docker manifest without its type", request: put(name, "bad", manifest("docker", { mediaType: undefined }), TYPES.dockerManifest) },
      { title: "an unknown type", request: put(name, "bad", manifest("oci"), "application/vnd.example+json") },
      { title: "plain JSON", request: put(name, "bad", manifest("oci"), "application/json"), differs: "json-type-put" },
      { title: "schema version 1", request: put(name, "bad", JSON.stringify({ schemaVersion: 1, name, tag: "bad" }), "application/vnd.docker.distribution.manifest.v1+json") },
      { title: "schema version 3", request: put(name, "bad", manifest("oci", { schemaVersion: 3 }), TYPES.ociManifest), differs: "schema-version" },
      { title: "a layer with a short digest", request: put(name, "bad", badDigest("sha256:abc"), TYPES.ociManifest), differs: "layer-digest" },
      { title: "a layer with an unknown algorithm", request: put(name, "bad", badDigest("md5:d41d8cd98f00b204e9800998ecf8427e"), TYPES.ociManifest), differs: "layer-digest" },
      { title: "a layer without digest", request: put(name, "bad", badDigest(""), TYPES.ociManifest), differs: "layer-no-digest" },
      { title: "a missing layer", request: put(name, "bad", badDigest(digestOf("missing")), TYPES.ociManifest) },
      { title: "a child that is a layer", request: put(name, "bad", index("oci", []).replace("[]", `[${JSON.stringify({ mediaType: TYPES.ociManifest, digest: digestOf(LAYER), size: LAYER.length })}]`), TYPES.ociIndex), differs: "child-layer" },
      { title: "more than 4 MiB", request: put(name, "bad", manifest("oci", { annotations: { a: "a".repeat(4 * 1024 * 1024) } }), TYPES.ociManifest), differs: "large-manifest" },
      { title: "a tag that cannot be", request: put(name, "-bad", manifest("oci"), TYPES.ociManifest), differs: "bad-tag" },
      { title: "a tag of 129 characters", request: put(name, "a".repeat(129), manifest("oci"), TYPES.ociManifest), differs: "bad-tag" },
      { title: "a tag of 128 characters", request: put(name, "a".repeat(128), manifest("oci"), TYPES.ociManifest) },
      { title: "a digest that cannot be", request: put(name, "sha256:abc", manifest("oci"), TYPES.ociManifest), differs: "bad-reference" },
      { title: "GET a digest that cannot be", request: get(`/v2/${name}/manifests/sha256:abc`), differs: "bad-reference" },
      { title: "GET a layer as a manifest", request: get(`/v2/${name}/manifests/${digestOf(LAYER)}`, { Accept: TYPES.ociManifest }), differs: "layer-as-manifest" },
      { title: "If-None-Match of what is not there", request: get(`/v2/${name}/manifests/${digestOf("x")}`, { "If-None-Match": `"${digestOf("x")}"` }), differs: "absent-not-modified" },
    ]);
  });

  test("sha512", async () => {
    const name = "sha512/all";
    const digest = digestOf(LAYER, "sha512");
    const body = manifest("oci");
    await run([
      { title: "begin", request: begin(name) },
      { title: "finish", request: finish(LAYER, digest), differs: "sha512-blob" },
      { title: "GET", request: get(`/v2/${name}/blobs/${digest}`), differs: "sha512-blob-get" },
      ...pushContent(name),
      { title: "PUT a manifest", request: put(name, digestOf(body, "sha512"), body, TYPES.ociManifest), differs: "sha512-manifest" },
    ]);
  });

  test("deleting by tag", async () => {
    const name = "delete/tag";
    await run([
      ...pushContent(name),
      { title: "PUT", request: put(name, "gone", manifest("oci"), TYPES.ociManifest) },
      { title: "DELETE by tag", request: remove(`/v2/${name}/manifests/gone`), differs: "tag-delete" },
      { title: "DELETE an unknown tag", request: remove(`/v2/${name}/manifests/nothing`), differs: "tag-delete-unknown" },
      { title: "DELETE by digest", request: remove(`/v2/${name}/manifests/${digestOf(manifest("oci"))}`) },
      { title: "tags after the last one is gone", request: get(`/v2/${name}/tags/list`), differs: "no-tags" },
    ]);
  });

  test("lists of tags", async () => {
    const name = "list/tags";
    const list = `/v2/${name}/tags/list`;
    await run([
      ...pushContent(name),
      { title: "PUT b", request: put(name, "b", manifest("docker"), TYPES.dockerManifest) },
      { title: "one tag", request: get(list) },
      ...["c", "a", "B", "1"].map((tag): Step => ({ title: `PUT ${tag}`, request: put(name, tag, manifest("docker"), TYPES.dockerManifest) })),
      { title: "all", request: get(list), differs: "tags-order" },
      { title: "a page", request: get(`${list}?n=2`), differs: "tags-page" },
      { title: "after a tag", request: get(`${list}?last=b`), differs: "tags-page" },
      { title: "a page of none", request: get(`${list}?n=0`), differs: "tags-page" },
      { title: "a page that is no number", request: get(`${list}?n=x`), differs: "bad-page" },
      { title: "a negative page", request: get(`${list}?n=-1`), differs: "bad-page" },
      { title: "HEAD", request: head(list), differs: "tags-head" },
    ]);
  });

  test("referrers and extensions", async () => {
    const name = "oci/referrers";
    const subject = { mediaType: TYPES.ociManifest, digest: digestOf(manifest("oci")), size: manifest("oci").length };
    await run([
      ...pushContent(name),
      { title: "PUT with a subject", request: put(name, "artifact", manifest("oci", { subject }), TYPES.ociManifest) },
      { title: "referrers", request: get(`/v2/${name}/referrers/${subject.digest}`), differs: "referrers" },
      { title: "extensions", request: get("/v2/_oci/ext/discover"), differs: "extensions" },
      { title: "PUT with tags in the query", request: put(name, `${digestOf(manifest("oci"))}?tag=one&tag=two`, manifest("oci"), TYPES.ociManifest) },
      { title: "GET a tag that the query named", request: get(`/v2/${name}/manifests/one`, { Accept: TYPES.ociManifest }), differs: "query-tags" },
    ]);
  });

  test("uploads, where ours is more forgiving", async () => {
    const name = "forgiving/upload";
    const keep = (key: string) => (_: unknown, side: Side): void => void side.memory.set(key, side.location);
    const kept = (key: string, side: Side): string => side.memory.get(key) ?? "";
    await run([
      { title: "one POST with the whole blob", request: { method: "POST", path: `/v2/${name}/blobs/uploads/?digest=${digestOf("hello")}`, body: "hello", headers: { "Content-Type": "application/octet-stream" } }, differs: "single-post" },
      { title: "mount without a source", request: { method: "POST", path: `/v2/forgiving/mount/blobs/uploads/?mount=${digestOf(CONFIG)}`, body: "" }, differs: "mount-anywhere" },
      { title: "begin", request: begin(name), then: keep("first") },
      { title: "status without state", request: (side) => get(side.location.replace(/\?.*/, "")), differs: "status-without-state" },
      { title: "PATCH with another type", request: (side) => ({ method: "PATCH", path: side.location, body: "x", headers: { "Content-Type": "text/plain" } }), differs: "patch-type" },
      { title: "begin for ranges", request: begin(name) },
      { title: "PATCH with a range", request: (side) => ({ method: "PATCH", path: side.location, body: "hello", headers: { "Content-Range": "0-4" } }), then: keep("second") },
      { title: "PATCH out of order", request: (side) => ({ method: "PATCH", path: side.location, body: "hello", headers: { "Content-Range": "20-24" } }), differs: "range-order" },
      { title: "begin to go stale", request: begin(name), then: keep("stale") },
      { title: "PATCH", request: (side) => ({ method: "PATCH", path: side.location, body: "hello" }) },
      { title: "PATCH with a stale state", request: (side) => ({ method: "PATCH", path: kept("stale", side), body: "hello" }), differs: "stale-state" },
      { title: "status after it", request: (side) => get(side.location) },
    ]);
  });

  test("catalog", async () => {
    await run([
      { title: "first three", request: get("/v2/_catalog?n=3"), differs: "catalog-without-manifests" },
      { title: "a page of none", request: get("/v2/_catalog?n=0") },
      { title: "too large a page", request: get("/v2/_catalog?n=1001") },
      { title: "a page that is no number", request: get("/v2/_catalog?n=x"), differs: "bad-page" },
      { title: "a negative page", request: get("/v2/_catalog?n=-1"), differs: "bad-page" },
      { title: "after the last", request: get("/v2/_catalog?last=zzzz") },
    ]);
  });

  test("ranges that cannot be served", async () => {
    const path = `/v2/ranges/blob/blobs/${digestOf(LAYER)}`;
    await run([
      { title: "begin", request: begin("ranges/blob") },
      { title: "finish", request: finish(LAYER) },
      { title: "after the end", request: get(path, { Range: "bytes=5000-10000" }), differs: "bad-range" },
      { title: "backwards", request: get(path, { Range: "bytes=500-0" }), differs: "bad-range" },
      { title: "no range", request: get(path, { Range: "bytes=x" }), differs: "bad-range" },
      { title: "If-Match", request: get(path, { "If-Match": '"other"' }), differs: "if-match" },
    ]);
  });
});

/** Which row of the table an Accept matrix entry falls under. */
function acceptDifference(asked: { readonly type: string; readonly accept: string; readonly isTag: boolean; readonly isTypeless: boolean }): DifferenceId | undefined {
  if (asked.accept.includes(asked.type)) return undefined;
  switch (asked.type) {
    case TYPES.ociManifest:
      return "accept-oci";
    case TYPES.ociIndex:
      return asked.isTypeless ? undefined : "accept-oci";
    case TYPES.dockerManifest:
      return asked.isTag ? "accept-schema1" : undefined;
    default:
      // Who takes images but no lists gets the image for linux/amd64 from both.
      return asked.isTag && !asked.accept.includes(TYPES.dockerManifest) ? "accept-list" : undefined;
  }
}

const CONFIGURED: readonly { readonly title: string; readonly config: ConfigSection; readonly steps: readonly Step[] }[] = [
  {
    title: "deletion off",
    config: { storage: { delete: { enabled: false } } },
    steps: [
      { title: "begin", request: begin("off/delete") },
      { title: "finish", request: finish(LAYER) },
      { title: "DELETE blob", request: remove(`/v2/off/delete/blobs/${digestOf(LAYER)}`) },
      { title: "DELETE manifest", request: remove(`/v2/off/delete/manifests/${digestOf("x")}`) },
      { title: "DELETE tag", request: remove("/v2/off/delete/manifests/x") },
    ],
  },
  {
    title: "relative URLs",
    config: { http: { relativeurls: true } },
    steps: [
      { title: "begin", request: begin("relative/urls") },
      { title: "PATCH", request: (side) => ({ method: "PATCH", path: side.location, body: "x" }) },
      { title: "finish", request: finish("", digestOf("x")) },
      ...pushContent("relative/urls"),
      { title: "PUT", request: put("relative/urls", "x", manifest("docker"), TYPES.dockerManifest) },
    ],
  },
  {
    title: "a prefix",
    config: { http: { prefix: "/my/reg/" } },
    steps: [
      { title: "base", request: get("/my/reg/v2/") },
      { title: "base without the prefix", request: get("/v2/"), differs: "unrouted-path" },
      { title: "begin", request: { method: "POST", path: "/my/reg/v2/pre/fix/blobs/uploads/", body: "" } },
      { title: "finish", request: finish(LAYER) },
      { title: "base without slash", request: get("/my/reg/v2") },
    ],
  },
  {
    title: "a host",
    config: { http: { host: "https://registry.example:8443" } },
    steps: [{ title: "begin", request: begin("some/host") }],
  },
  {
    title: "proxies in front",
    config: {},
    steps: [
      ["X-Forwarded-Proto", { "X-Forwarded-Proto": "https" }],
      ["X-Forwarded-Host", { "X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example, inner.example" }],
      ["X-Forwarded-Port is not looked at", { "X-Forwarded-Host": "registry.example", "X-Forwarded-Port": "8443" }],
      ["Forwarded", { Forwarded: 'for=192.0.2.1;proto=https;host="registry.example:8443", for=10.0.0.1;host=other' }],
      ["Forwarded before X-Forwarded", { Forwarded: "proto=https;host=one.example", "X-Forwarded-Host": "two.example", "X-Forwarded-Proto": "http" }],
      ["a broken Forwarded", { Forwarded: 'host="unterminated', "X-Forwarded-Host": "two.example" }],
    ].map(([title, headers]) => ({ title: String(title), request: { method: "POST", path: "/v2/forwarded/all/blobs/uploads/", body: "", headers: headers as Record<string, string> } })),
  },
  {
    title: "headers",
    config: { http: { headers: { "X-Custom": ["one", "two"] } } },
    steps: [
      { title: "base", request: get("/v2/") },
      { title: "an error", request: get("/v2/custom/headers/tags/list") },
      { title: "begin", request: begin("custom/headers") },
      { title: "finish", request: finish(LAYER) },
      { title: "a blob", request: get(`/v2/custom/headers/blobs/${digestOf(LAYER)}`) },
    ],
  },
  {
    title: "read-only",
    config: { storage: { maintenance: { readonly: { enabled: true } } } },
    steps: [
      { title: "base", request: get("/v2/") },
      { title: "begin", request: begin("read/only"), differs: "method" },
      { title: "PUT", request: put("read/only", "x", manifest("oci"), TYPES.ociManifest), differs: "method" },
      { title: "DELETE", request: remove(`/v2/read/only/manifests/${digestOf("x")}`), differs: "method" },
      { title: "DELETE blob", request: remove(`/v2/read/only/blobs/${digestOf("x")}`), differs: "method" },
      { title: "GET", request: get("/v2/read/only/manifests/x", { Accept: TYPES.ociManifest }) },
    ],
  },
  {
    title: "silly auth",
    config: { auth: { silly: { realm: "silly-realm", service: "silly-service" } } },
    steps: [
      { title: "base", request: get("/v2/") },
      { title: "base with any credentials", request: get("/v2/", { Authorization: "anything" }) },
      { title: "GET", request: get("/v2/silly/auth/manifests/x") },
      { title: "begin", request: begin("silly/auth") },
      { title: "DELETE", request: remove(`/v2/silly/auth/blobs/${digestOf("x")}`) },
      { title: "catalog", request: get("/v2/_catalog") },
      { title: "mount", request: { method: "POST", path: `/v2/silly/auth/blobs/uploads/?mount=${digestOf("x")}&from=silly/from`, body: "" } },
      { title: "unrouted", request: get("/v2/silly/nothing"), differs: "unrouted-path" },
      { title: "root", request: get("/") },
    ],
  },
];

describeWith(["reference"], "ours answers as distribution 2.8 does when configured with", () => {
  test.each(CONFIGURED.map(({ title, ...rest }) => [title, rest] as const))("%s", async (_, { config, steps }) => {
    await using both = await startBoth(config);
    await compare(both.distribution, both.ours, steps);
  });

  test("and every row of the table of differences was seen", () => {
    expect(unseenDifferences(DIFFERENCES)).toEqual([]);
  });
});
