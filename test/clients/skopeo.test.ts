import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { ACCEPT_ALL, digestOf, expectStatus } from "../support/http.ts";
import { type Compression, writeOciLayout } from "../support/images.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type ContainersTools, containersTools } from "./containers-tools.ts";

describeWith(["skopeo"], "skopeo", () => {
  let registry: RegistryProcess;
  let tools: ContainersTools;
  beforeAll(async () => {
    registry = await startRegistry();
    tools = await containersTools();
  });
  afterAll(async () => {
    await tools[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
  });

  const remote = (name: string): string => `docker://${registry.host}/${name}`;
  const pushLayout = (source: string, name: string, ...args: string[]): Promise<string> => tools.skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", ...args, source, remote(name));

  async function served(name: string, reference: string): Promise<string> {
    const response = await expectStatus(200, `${registry.url}/v2/${name}/manifests/${reference}`, { headers: { accept: ACCEPT_ALL } });
    return digestOf(await response.bytes());
  }

  test.each(["gzip", "zstd", "none"] as const satisfies Compression[])("copies an image with %s layers in and out, byte for byte", async (compression) => {
    const name = `skopeo/${compression}`;
    const layout = await writeOciLayout(join(tools.folder, compression), { compression, layers: 5, layerBytes: 300_000, seed: compression.length });
    await pushLayout(`oci:${layout.folder}:${layout.tag}`, `${name}:1`);
    expect(await served(name, "1")).toBe(layout.digest);
    for (const reference of [":1", `@${layout.digest}`]) {
      const out = join(tools.folder, `${compression}-out${reference.length}`);
      await tools.skopeo("copy", "--preserve-digests", "--src-tls-verify=false", remote(`${name}${reference}`), `oci:${out}:latest`);
      const index = (await Bun.file(join(out, "index.json")).json()) as { manifests: { digest: string }[] };
      expect(index.manifests[0]?.digest).toBe(layout.digest);
    }
  });

  test("copies an index with all its images", async () => {
    const layout = await writeOciLayout(join(tools.folder, "index"), { architectures: ["amd64", "arm64", "s390x"], seed: 20 });
    await pushLayout(`oci:${layout.folder}:${layout.tag}`, "skopeo/index:1", "--all");
    expect(await served("skopeo/index", "1")).toBe(layout.digest);
    for (const manifest of layout.manifests) expect(await served("skopeo/index", manifest)).toBe(manifest);
    await tools.skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", remote("skopeo/index:1"), remote("skopeo/index-copy:1"));
    expect(await served("skopeo/index-copy", "1")).toBe(layout.digest);
    const raw = await tools.skopeo("inspect", "--raw", "--tls-verify=false", remote("skopeo/index:1"));
    expect(digestOf(raw)).toBe(layout.digest);
  });

  test("converts to Docker's format, image and list", async () => {
    const layout = await writeOciLayout(join(tools.folder, "convert"), { architectures: ["amd64", "arm64"], seed: 30 });
    await tools.skopeo("copy", "--all", "--format", "v2s2", "--dest-tls-verify=false", `oci:${layout.folder}:${layout.tag}`, remote("skopeo/converted:1"));
    const raw = JSON.parse(await tools.skopeo("inspect", "--raw", "--tls-verify=false", remote("skopeo/converted:1"))) as { mediaType: string; manifests: { mediaType: string }[] };
    expect(raw.mediaType).toBe("application/vnd.docker.distribution.manifest.list.v2+json");
    expect(raw.manifests.map((each) => each.mediaType)).toEqual(Array<string>(2).fill("application/vnd.docker.distribution.manifest.v2+json"));
  });

  test("copies between repositories by mounting, and pushes again", async () => {
    const layout = await writeOciLayout(join(tools.folder, "twice"), { layers: 4, seed: 40 });
    await pushLayout(`oci:${layout.folder}:${layout.tag}`, "skopeo/twice-a:1");
    await pushLayout(`oci:${layout.folder}:${layout.tag}`, "skopeo/twice-b:1");
    await pushLayout(`oci:${layout.folder}:${layout.tag}`, "skopeo/twice-a:2");
    await tools.skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", remote("skopeo/twice-a:1"), remote("skopeo/twice-c:1"));
    for (const repository of ["skopeo/twice-a", "skopeo/twice-b", "skopeo/twice-c"]) expect(await served(repository, "1")).toBe(layout.digest);
    expect(await served("skopeo/twice-a", "2")).toBe(layout.digest);
  });

  test("lists tags and inspects", async () => {
    const layout = await writeOciLayout(join(tools.folder, "tags"), { seed: 50 });
    for (const tag of ["v2", "v10", "v1"]) await pushLayout(`oci:${layout.folder}:${layout.tag}`, `skopeo/tags:${tag}`);
    const listed = JSON.parse(await tools.skopeo("list-tags", "--tls-verify=false", remote("skopeo/tags"))) as { Tags: string[] };
    expect(listed.Tags.sort()).toEqual(["v1", "v10", "v2"]);
    const inspected = JSON.parse(await tools.skopeo("inspect", "--tls-verify=false", remote("skopeo/tags:v1"))) as { Digest: string; Layers: string[] };
    expect([inspected.Digest, inspected.Layers]).toEqual([layout.digest, [...layout.layers]]);
  });

  test("deletes an image with its tags, and pushes it again", async () => {
    const layout = await writeOciLayout(join(tools.folder, "delete"), { seed: 60 });
    const push = (): Promise<string> => pushLayout(`oci:${layout.folder}:${layout.tag}`, "skopeo/delete:1");
    await push();
    await tools.skopeo("delete", "--tls-verify=false", remote("skopeo/delete:1"));
    await expect(tools.skopeo("inspect", "--tls-verify=false", remote("skopeo/delete:1"))).rejects.toThrow(/manifest unknown/);
    await push();
    expect(await served("skopeo/delete", "1")).toBe(layout.digest);
  });

  test("syncs a repository to a folder and back", async () => {
    const layout = await writeOciLayout(join(tools.folder, "sync"), { seed: 70 });
    for (const tag of ["a", "b"]) await pushLayout(`oci:${layout.folder}:${layout.tag}`, `skopeo/sync:${tag}`);
    const out = join(tools.folder, "synced");
    await tools.skopeo("sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", `${registry.host}/skopeo/sync`, out);
    await tools.skopeo("sync", "--dest-tls-verify=false", "--src", "dir", "--dest", "docker", out, `${registry.host}/skopeo/back`);
    for (const tag of ["a", "b"]) expect(await served("skopeo/back/sync", tag)).toBe(layout.digest);
  });
});
