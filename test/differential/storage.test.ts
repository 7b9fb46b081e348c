import { expect, test } from "bun:test";
import { join } from "node:path";
import {
  ACCEPT_ALL,
  digestOf,
  expectStatus,
  pushBlob,
  type PushedImage,
  pushImage,
  pushIndex,
  type Repository,
  seededBytes,
  startUpload,
  TYPES,
  uploadLocation,
  withQuery,
} from "../support/http.ts";
import { type Implementation, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** Distribution 2.8, and whichever of ours is under test. */
const OURS = undefined;
const DIRECTIONS: [string, Implementation | undefined, Implementation | undefined][] = [
  ["distribution wrote is served by ours", "distribution", OURS],
  ["ours wrote is served by distribution", OURS, "distribution"],
];
const UPLOADED = seededBytes(500_000, 21);

async function start(storageFolder: string, implementation: Implementation | undefined): Promise<RegistryProcess> {
  return await startRegistry({ storageFolder, ...(implementation === undefined ? {} : { implementation }) });
}

/** What was pushed. */
interface Content {
  readonly docker: PushedImage;
  readonly oci: PushedImage;
  readonly moved: PushedImage;
  readonly index: { readonly digest: string; readonly bytes: Uint8Array };
  readonly list: { readonly digest: string; readonly bytes: Uint8Array };
}

async function pushEverything(registry: RegistryProcess): Promise<Content> {
  const main: Repository = { url: registry.url, name: "tree/main" };
  const docker = await pushImage(main, "docker", { format: "docker", seed: 1, layers: [seededBytes(70_000, 1), seededBytes(100, 2), new Uint8Array(0)] });
  const oci = await pushImage(main, "oci", { seed: 2, extra: { annotations: { note: "ü" } } });
  await pushImage(main, "moved", { seed: 3 });
  const moved = await pushImage(main, "moved", { seed: 4 });
  const index = await pushIndex(main, "index", [oci, moved]);
  const list = await pushIndex(main, "list", [docker]);
  const deleted = await pushImage(main, "deleted", { seed: 5 });
  await expectStatus(202, `${registry.url}/v2/tree/main/manifests/${deleted.digest}`, { method: "DELETE" });
  const unlinked = await pushBlob(main, "unlinked");
  await expectStatus(202, `${registry.url}/v2/tree/main/blobs/${unlinked}`, { method: "DELETE" });
  const layer = docker.layers[0]?.digest ?? "";
  await expectStatus(201, `${registry.url}/v2/tree/mounted/blobs/uploads/?mount=${layer}&from=tree/main`, { method: "POST" });
  await pushImage({ url: registry.url, name: "tree/main/nested" }, "latest", { seed: 6 });
  await pushImage({ url: registry.url, name: "another" }, "latest", { seed: 7 });
  return { docker, oci, moved, index, list };
}

async function expectEverything(registry: RegistryProcess, content: Content): Promise<void> {
  const manifests = `${registry.url}/v2/tree/main/manifests`;
  const tagged = { docker: content.docker, oci: content.oci, moved: content.moved, index: content.index, list: content.list };
  for (const [tag, { digest, bytes }] of Object.entries(tagged)) {
    for (const reference of [tag, digest]) {
      const response = await expectStatus(200, `${manifests}/${reference}`, { headers: { accept: ACCEPT_ALL } });
      expect(response.headers.get("docker-content-digest")).toBe(digest);
      expect(Buffer.from(await response.bytes()).equals(Buffer.from(bytes))).toBe(true);
    }
  }
  for (const { digest, size } of [...content.docker.layers, content.docker.config, ...content.oci.layers, content.oci.config]) {
    const response = await expectStatus(200, `${registry.url}/v2/tree/main/blobs/${digest}`);
    const bytes = await response.bytes();
    expect([bytes.length, digestOf(bytes)]).toEqual([size, digest]);
  }
  await expectStatus(200, `${registry.url}/v2/tree/mounted/blobs/${content.docker.layers[0]?.digest}`);
  await expectStatus(404, `${registry.url}/v2/tree/mounted/blobs/${content.docker.layers[1]?.digest}`);
  await expectStatus(404, `${registry.url}/v2/tree/main/blobs/${digestOf("unlinked")}`);
  await expectStatus(404, `${manifests}/deleted`, { headers: { accept: ACCEPT_ALL } });
  const { tags } = (await (await expectStatus(200, `${registry.url}/v2/tree/main/tags/list`)).json()) as { tags: string[] };
  expect(tags.sort()).toEqual(["docker", "index", "list", "moved", "oci"]);
  const { repositories } = (await (await expectStatus(200, `${registry.url}/v2/_catalog`)).json()) as { repositories: string[] };
  // Distribution 2.8 also lists repositories without a manifest.
  expect(repositories.filter((name) => name !== "tree/mounted")).toEqual(["another", "tree/main", "tree/main/nested"]);
}

async function append(repository: Repository, location: string, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return uploadLocation(repository, await expectStatus(202, location, { method: "PATCH", body: bytes, headers: { "content-type": "application/octet-stream" } }));
}

/** The same upload at another registry. */
function movedTo(registry: RegistryProcess, location: string): string {
  const url = new URL(location);
  return `${registry.url}${url.pathname}${url.search}`;
}

async function finishUpload(location: string, last: Uint8Array<ArrayBuffer>): Promise<void> {
  await expectStatus(201, withQuery(location, { digest: digestOf(UPLOADED) }), { method: "PUT", body: last, headers: { "content-type": "application/octet-stream" } });
}

describeWith(["reference"], "a folder", () => {
  test.each(DIRECTIONS)("that %s, unfinished uploads included", async (_, writer, reader) => {
    await using folder = await tempFolder();
    let content: Content;
    let location: string;
    let untouched: string;
    {
      await using registry = await start(folder.path, writer);
      content = await pushEverything(registry);
      const repository = { url: registry.url, name: "tree/uploads" };
      untouched = await startUpload(repository);
      location = await append(repository, await startUpload(repository), UPLOADED.slice(0, 100_001));
      location = await append(repository, location, UPLOADED.slice(100_001, 200_000));
    }
    await using registry = await start(folder.path, reader);
    await expectEverything(registry, content);
    const repository = { url: registry.url, name: "tree/uploads" };
    location = await append(repository, movedTo(registry, location), UPLOADED.slice(200_000, 300_000));
    await finishUpload(location, UPLOADED.slice(300_000));
    await finishUpload(movedTo(registry, untouched), UPLOADED);
    const response = await expectStatus(200, `${registry.url}/v2/tree/uploads/blobs/${digestOf(UPLOADED)}`);
    expect(digestOf(await response.bytes())).toBe(digestOf(UPLOADED));

    // Writing goes on in it: what is there is not pushed again, tags move, manifests go.
    const moved = await pushImage({ url: registry.url, name: "tree/main" }, "oci", { seed: 9 });
    await expectStatus(202, `${registry.url}/v2/tree/main/manifests/${content.docker.digest}`, { method: "DELETE" });
    const answer = await expectStatus(200, `${registry.url}/v2/tree/main/manifests/oci`, { method: "HEAD", headers: { accept: ACCEPT_ALL } });
    expect(answer.headers.get("docker-content-digest")).toBe(moved.digest);
    await expectStatus(404, `${registry.url}/v2/tree/main/manifests/docker`, { headers: { accept: ACCEPT_ALL } });
  });

  test.each(DIRECTIONS)("that %s while both run: one upload goes back and forth", async (_, first, second) => {
    await using folder = await tempFolder();
    await using here = await start(folder.path, first);
    await using there = await start(folder.path, second);
    let location = await startUpload({ url: here.url, name: "tree/shared" });
    for (const [part, registry] of [there, here, there].entries()) {
      const bytes = UPLOADED.slice(part * 100_000, (part + 1) * 100_000);
      location = await append({ url: registry.url, name: "tree/shared" }, movedTo(registry, location), bytes);
    }
    await finishUpload(movedTo(here, location), UPLOADED.slice(300_000));
    for (const registry of [here, there]) {
      const response = await expectStatus(200, `${registry.url}/v2/tree/shared/blobs/${digestOf(UPLOADED)}`);
      expect(digestOf(await response.bytes())).toBe(digestOf(UPLOADED));
    }
    const image = await pushImage({ url: here.url, name: "tree/shared" }, "latest", { format: "docker" });
    for (const registry of [there, here]) {
      const response = await expectStatus(200, `${registry.url}/v2/tree/shared/manifests/latest`, { headers: { accept: TYPES.dockerManifest } });
      expect(response.headers.get("docker-content-digest")).toBe(image.digest);
    }
  });

  test("that ours writes has the files that distribution's has, byte for byte", async () => {
    const trees: Map<string, string>[] = [];
    for (const implementation of ["distribution", OURS] as const) {
      await using folder = await tempFolder();
      {
        await using registry = await start(folder.path, implementation);
        await pushEverything(registry);
        await append({ url: registry.url, name: "tree/uploads" }, await startUpload({ url: registry.url, name: "tree/uploads" }), UPLOADED);
      }
      trees.push(await readTree(folder.path));
    }
    expect(trees[1]).toEqual(trees[0] ?? new Map());
  });
});

/** Every file below a folder and the digest of its content; without hash states, which are optional, and with upload ids masked. */
async function readTree(folder: string): Promise<Map<string, string>> {
  const tree = new Map<string, string>();
  const files = await Array.fromAsync(new Bun.Glob("**/*").scan({ cwd: folder, onlyFiles: true, dot: true }));
  for (const file of files.sort()) {
    if (file.includes("/hashstates/")) continue;
    const isStart = file.endsWith("/startedat");
    const text = isStart ? (await Bun.file(join(folder, file)).text()).replace(/\d/g, "0") : digestOf(await Bun.file(join(folder, file)).bytes());
    tree.set(file.replace(/_uploads\/[^/]+/, "_uploads/ID"), text);
  }
  return tree;
}
