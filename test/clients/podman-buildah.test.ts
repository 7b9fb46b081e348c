import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { ACCEPT_ALL, digestOf, expectStatus, seededBytes } from "../support/http.ts";
import { writeOciLayout } from "../support/images.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type ContainersTools, containersTools } from "./containers-tools.ts";

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
beforeEach(() => tools.forget());

const INSECURE = "--tls-verify=false";

async function served(name: string, reference: string): Promise<{ digest: string; manifest: { layers?: { mediaType: string }[]; manifests?: unknown[] } }> {
  const response = await expectStatus(200, `${registry.url}/v2/${name}/manifests/${reference}`, { headers: { accept: ACCEPT_ALL } });
  const text = await response.text();
  return { digest: digestOf(text), manifest: JSON.parse(text) as { layers?: { mediaType: string }[] } };
}

describeWith(["podman"], "podman", () => {
  test("pushes and pulls an image by tag and by digest", async () => {
    const layout = await writeOciLayout(join(tools.folder, "podman"), { layers: 4, layerBytes: 400_000, seed: 101 });
    const name = `${registry.host}/podman/image`;
    const id = (await tools.podman("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim();
    await tools.podman("push", INSECURE, id, `${name}:1`);
    const { digest } = await served("podman/image", "1");
    await tools.forget();
    expect((await tools.podman("pull", "--quiet", INSECURE, `${name}:1`)).trim()).toBe(id);
    await tools.forget();
    expect((await tools.podman("pull", "--quiet", INSECURE, `${name}@${digest}`)).trim()).toBe(id);
  });

  test("pushes zstd layers and pulls them", async () => {
    const layout = await writeOciLayout(join(tools.folder, "podman-zstd"), { compression: "none", seed: 102 });
    const name = `${registry.host}/podman/zstd:1`;
    const id = (await tools.podman("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim();
    await tools.podman("push", INSECURE, "--compression-format", "zstd", id, name);
    const { manifest } = await served("podman/zstd", "1");
    for (const layer of manifest.layers ?? []) expect(layer.mediaType).toEndWith("tar+zstd");
    expect(manifest.layers).toHaveLength(3);
    await tools.forget();
    expect((await tools.podman("pull", "--quiet", INSECURE, name)).trim()).toBe(id);
  });

  test("pushes Docker's format", async () => {
    const layout = await writeOciLayout(join(tools.folder, "podman-docker"), { seed: 103 });
    const name = `${registry.host}/podman/docker:1`;
    const id = (await tools.podman("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim();
    await tools.podman("push", INSECURE, "--format", "v2s2", id, name);
    await tools.forget();
    await tools.podman("pull", "--quiet", INSECURE, name);
  });

  test("pushes a manifest list made of images of two repositories", async () => {
    const list = `${registry.host}/podman/list:1`;
    const images: string[] = [];
    for (const [index, architecture] of ["amd64", "arm64"].entries()) {
      const layout = await writeOciLayout(join(tools.folder, `podman-list-${index}`), { architectures: [architecture], seed: 104 + index });
      const image = `${registry.host}/podman/list-${architecture}:1`;
      await tools.podman("push", INSECURE, (await tools.podman("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim(), image);
      images.push(image);
    }
    await tools.podman("manifest", "create", "both");
    for (const image of images) await tools.podman("manifest", "add", INSECURE, "both", `docker://${image}`);
    await tools.podman("manifest", "push", INSECURE, "--all", "both", `docker://${list}`);
    expect((await served("podman/list", "1")).manifest.manifests).toHaveLength(2);
    await tools.forget();
    await tools.podman("pull", "--quiet", INSECURE, list);
  });

  test("searches nothing, and is told that an image does not exist", async () => {
    await expect(tools.podman("pull", "--quiet", INSECURE, `${registry.host}/podman/nothing:1`)).rejects.toThrow(/manifest unknown|not found/);
  });
});

describeWith(["buildah"], "buildah", () => {
  test("builds on an image of the registry, pushes the result, and pulls it by digest", async () => {
    const layout = await writeOciLayout(join(tools.folder, "buildah"), { layers: 2, seed: 111 });
    const base = `${registry.host}/buildah/base:1`;
    await tools.buildah("push", INSECURE, (await tools.buildah("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim(), base);
    await tools.forget();
    const container = (await tools.buildah("from", INSECURE, base)).trim();
    const file = join(tools.folder, "added");
    await Bun.write(file, seededBytes(1_000_000, 112));
    await tools.buildah("copy", "--quiet", container, file, "/added");
    await tools.buildah("commit", "--quiet", container, "result");
    await tools.buildah("push", INSECURE, "result", `${registry.host}/buildah/result:1`);
    const { digest, manifest } = await served("buildah/result", "1");
    expect(manifest.layers).toHaveLength(3);
    await tools.forget();
    await tools.buildah("pull", "--quiet", INSECURE, `${registry.host}/buildah/result@${digest}`);
  });

  test("pushes one image to two repositories and again under another tag", async () => {
    const layout = await writeOciLayout(join(tools.folder, "buildah-two"), { layers: 3, seed: 113 });
    const id = (await tools.buildah("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim();
    for (const name of ["buildah/one:1", "buildah/two:1", "buildah/one:2", "buildah/one:1"]) await tools.buildah("push", INSECURE, id, `${registry.host}/${name}`);
    const digests = await Promise.all([served("buildah/one", "1"), served("buildah/two", "1"), served("buildah/one", "2")]);
    expect(new Set(digests.map(({ digest }) => digest)).size).toBe(1);
  });
});
