import { describe, expect, test } from "bun:test";
import { digestOf, pushBlob, pushImage, type Repository, TYPES } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";

const FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const ABSENT = digestOf("nobody has this");

async function startValidating(validation: ConfigSection, more: ConfigSection = {}): Promise<RegistryProcess> {
  return await startRegistry({ config: { validation, ...more } });
}

/** What pushing a manifest comes to: the status, and the code of the error. */
async function push(repository: Repository, manifest: Readonly<Record<string, unknown>>): Promise<string> {
  const mediaType = String(manifest["mediaType"]);
  const response = await fetch(`${repository.url}/v2/${repository.name}/manifests/t`, { method: "PUT", headers: { "content-type": mediaType }, body: JSON.stringify({ schemaVersion: 2, ...manifest }) });
  if (response.status === 201) return "201";
  const { errors } = (await response.json()) as { errors: { code: string }[] };
  return `${response.status} ${errors[0]?.code}`;
}

/** Pushes an image with a layer that is elsewhere. */
async function pushForeign(registry: RegistryProcess, url: string): Promise<string> {
  const repository = { url: registry.url, name: "a" };
  const config = { mediaType: TYPES.ociConfig, digest: await pushBlob(repository, "{}"), size: 2 };
  return await push(repository, { mediaType: TYPES.ociManifest, config, layers: [{ mediaType: FOREIGN_LAYER, digest: ABSENT, size: 5, urls: [url] }] });
}

/** Pushes an index of an image that is there (linux/amd64) and of one that is not. */
async function pushIndexOf(registry: RegistryProcess, absent: { readonly os: string; readonly architecture: string }): Promise<string> {
  const repository = { url: registry.url, name: "a" };
  const image = await pushImage(repository, undefined);
  const manifests = [
    { mediaType: image.mediaType, digest: image.digest, size: image.bytes.length, platform: { os: "linux", architecture: "amd64" } },
    { mediaType: image.mediaType, digest: ABSENT, size: 5, platform: absent },
  ];
  return await push(repository, { mediaType: TYPES.ociIndex, manifests });
}

const WINDOWS = { os: "windows", architecture: "amd64" };
const ARM = { os: "linux", architecture: "arm64" };

describe("validation.manifests.urls", () => {
  test("validation.manifests.urls.allow and deny: which URLs layers may carry", async () => {
    await using none = await startValidating({});
    expect(await pushForeign(none, "https://a.example/layer")).toStartWith("400 ");
    await using allow = await startValidating({ manifests: { urls: { allow: ["^https://a\\.", "^https://b\\."], deny: ["secret"] } } });
    expect(await pushForeign(allow, "https://b.example/layer")).toBe("201");
    expect(await pushForeign(allow, "https://c.example/layer")).toStartWith("400 ");
    expect(await pushForeign(allow, "https://a.example/secret")).toStartWith("400 ");
    await using deny = await startValidating({ manifests: { urls: { deny: ["^https://c\\."] } } });
    expect(await pushForeign(deny, "https://d.example/layer")).toBe("201");
    expect(await pushForeign(deny, "https://c.example/layer")).toStartWith("400 ");
  });
});

describe("validation.manifests.indexes", () => {
  test("validation.manifests.indexes.platforms and platformlist: which children must be there", async () => {
    await using all = await startValidating({});
    expect(await pushIndexOf(all, ARM)).toBe("400 MANIFEST_BLOB_UNKNOWN");
    await using none = await startValidating({ manifests: { indexes: { platforms: "none" } } });
    expect(await pushIndexOf(none, ARM)).toBe("201");
    await using list = await startValidating({ manifests: { indexes: { platforms: "LIST", platformlist: [{ architecture: "amd64", os: "linux" }, ARM] } } });
    expect(await pushIndexOf(list, ARM)).toBe("400 MANIFEST_BLOB_UNKNOWN");
    expect(await pushIndexOf(list, WINDOWS)).toBe("201");
    expect(await pushIndexOf(list, { os: "freebsd", architecture: "arm64" })).toBe("201");
  });
});

describe("validation", () => {
  test("validation.disabled and enabled: nothing is looked for, unless enabled says so too", async () => {
    await using disabled = await startValidating({ disabled: true });
    expect(await pushIndexOf(disabled, ARM)).toBe("201");
    expect(await pushForeign(disabled, "https://a.example/layer")).toBe("201");
    await using both = await startValidating({ disabled: true, enabled: true });
    expect(await pushIndexOf(both, ARM)).toBe("400 MANIFEST_BLOB_UNKNOWN");
  });
  test("validation.manifests.images.sparse: layers of an image may be missing, its config may not", async () => {
    const image = (config: string): Readonly<Record<string, unknown>> => ({ mediaType: TYPES.ociManifest, config: { mediaType: TYPES.ociConfig, digest: config, size: 2 }, layers: [{ mediaType: TYPES.ociLayer, digest: ABSENT, size: 5 }] });
    for (const [sparse, outcome] of [[true, "201"], [false, "400 MANIFEST_BLOB_UNKNOWN"]] as const) {
      await using registry = await startValidating({ manifests: { images: { sparse } } });
      const repository = { url: registry.url, name: "a" };
      expect(await push(repository, image(await pushBlob(repository, "{}")))).toBe(outcome);
      expect(await push(repository, image(digestOf("no config")))).toBe("400 MANIFEST_BLOB_UNKNOWN");
    }
  });
});

describe("policy", () => {
  test("policy.repository.classes: manifests of other classes are refused", async () => {
    const pushAs = async (registry: RegistryProcess, config: string): Promise<string> => {
      const repository = { url: registry.url, name: "a" };
      return await push(repository, { mediaType: TYPES.dockerManifest, config: { mediaType: config, digest: await pushBlob(repository, "{}"), size: 2 }, layers: [] });
    };
    const plugin = "application/vnd.docker.plugin.v1+json";
    await using images = await startValidating({}, { policy: { repository: { classes: ["image"] } } });
    expect([await pushAs(images, TYPES.dockerConfig), await pushAs(images, plugin)]).toEqual(["201", "403 DENIED"]);
    await using plugins = await startValidating({}, { policy: { repository: { classes: ["plugin"] } } });
    expect([await pushAs(plugins, TYPES.dockerConfig), await pushAs(plugins, plugin)]).toEqual(["403 DENIED", "201"]);
    await using all = await startRegistry();
    expect([await pushAs(all, TYPES.dockerConfig), await pushAs(all, plugin)]).toEqual(["201", "201"]);
  });
});
