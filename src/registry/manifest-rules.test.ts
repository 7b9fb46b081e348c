import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import { type Manifest, parsePushedManifest } from "../oci/manifest.ts";
import { MEDIA_TYPES } from "../oci/media-types.ts";
import { checkClass, checkUrls, type ManifestValidation, requirementsOf } from "./manifest-rules.ts";
import { STRICT } from "./testing/test-registry.ts";

const CONFIG = digestOf("config");
const LAYER = digestOf("layer");

function image(mediaType: string, layer: object, configType: string = MEDIA_TYPES.ociConfig): Manifest {
  const json = { schemaVersion: 2, mediaType, config: { mediaType: configType, digest: CONFIG, size: 1 }, layers: [{ digest: LAYER, size: 1, ...layer }] };
  return parsePushedManifest(Buffer.from(JSON.stringify(json)), mediaType);
}

function index(): Manifest {
  return parsePushedManifest(Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [] })), MEDIA_TYPES.ociIndex);
}

function urls(allow: readonly string[], deny: readonly string[] = []): ManifestValidation {
  return { ...STRICT, urls: { allow: allow.map((text) => new RegExp(text)), deny: deny.map((text) => new RegExp(text)) } };
}

function problem(check: () => void): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return `${error.status} ${error.code} ${String(error.entries[0]?.detail ?? error.message)}`;
  }
}

const INVALID = "400 MANIFEST_INVALID invalid URL on layer";
const MISSING = "400 MANIFEST_INVALID missing URL on layer";

describe("checkUrls", () => {
  test.each([
    [["http://a.example/x"], undefined],
    [["https://a.example/x", "http://b.example"], undefined],
    [[], MISSING],
    [[""], INVALID],
    [["file:///etc/passwd"], INVALID],
    [["ftp://a.example/x"], INVALID],
    [["https://a.example/x#part"], INVALID],
    [["not a url"], INVALID],
    [["https://a.example/x", "ftp://a.example/x"], INVALID],
  ] as const)("of a Docker foreign layer with %p: %p", (list, expected) => {
    const manifest = image(MEDIA_TYPES.dockerManifest, { mediaType: MEDIA_TYPES.dockerForeignLayer, urls: list });
    expect(problem(() => checkUrls(manifest, urls(["."])))).toBe(expected);
  });

  test.each([
    ["neither allow nor deny", urls([]), INVALID],
    ["an allow that matches", urls(["^https://a\\."]), undefined],
    ["an allow that does not", urls(["^https://b\\."]), INVALID],
    ["one allow of two", urls(["^x", "example"]), undefined],
    ["a deny that matches", urls([], ["example"]), INVALID],
    ["a deny that does not", urls([], ["other"]), undefined],
    ["both that match", urls(["example"], ["/x$"]), INVALID],
    ["no validation", { ...urls([], ["example"]), enabled: false }, undefined],
  ] as const)("with %s", (_what, validation, expected) => {
    const layer = { urls: ["https://a.example/x"] };
    for (const [type, mediaType] of [
      [MEDIA_TYPES.dockerManifest, MEDIA_TYPES.dockerForeignLayer],
      [MEDIA_TYPES.ociManifest, MEDIA_TYPES.ociForeignLayerGzip],
      [MEDIA_TYPES.ociManifest, MEDIA_TYPES.ociLayer],
    ]) {
      expect(problem(() => checkUrls(image(type ?? "", { ...layer, mediaType }), validation))).toBe(expected);
    }
  });

  test("without validation still refuses what no client should fetch", () => {
    const manifest = image(MEDIA_TYPES.ociManifest, { mediaType: MEDIA_TYPES.ociForeignLayer, urls: ["file:///x"] });
    expect(problem(() => checkUrls(manifest, { ...STRICT, enabled: false }))).toBe(INVALID);
  });

  test("is not asked about layers whose URLs clients ignore", () => {
    const layers = [
      image(MEDIA_TYPES.dockerManifest, { mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", urls: ["file:///x"] }),
      image(MEDIA_TYPES.ociManifest, { mediaType: MEDIA_TYPES.ociLayerZstd, urls: ["file:///x"] }),
    ];
    for (const manifest of layers) expect(problem(() => checkUrls(manifest, STRICT))).toBeUndefined();
  });
});

describe("requirementsOf", () => {
  test.each([
    ["a Docker foreign layer", MEDIA_TYPES.dockerManifest, { mediaType: MEDIA_TYPES.dockerForeignLayer, urls: ["https://x"] }, false],
    ["a Docker layer with a URL", MEDIA_TYPES.dockerManifest, { mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", urls: ["https://x"] }, true],
    ["an OCI nondistributable layer with a URL", MEDIA_TYPES.ociManifest, { mediaType: MEDIA_TYPES.ociForeignLayer, urls: ["https://x"] }, false],
    ["an OCI nondistributable layer without", MEDIA_TYPES.ociManifest, { mediaType: MEDIA_TYPES.ociForeignLayerGzip }, true],
    ["an OCI layer with a URL", MEDIA_TYPES.ociManifest, { mediaType: MEDIA_TYPES.ociLayer, urls: ["https://x"] }, true],
    ["an artifact's file", MEDIA_TYPES.ociManifest, { mediaType: "application/x-thing" }, true],
  ])("of %s", (_what, type, layer, required) => {
    expect(requirementsOf(image(type, layer), STRICT).blobs).toEqual(required ? [CONFIG, LAYER] : [CONFIG]);
  });
});

describe("checkClass", () => {
  const layer = { mediaType: MEDIA_TYPES.ociLayer };
  const docker = image(MEDIA_TYPES.dockerManifest, layer, MEDIA_TYPES.dockerConfig);
  const oci = image(MEDIA_TYPES.ociManifest, layer);
  const plugin = image(MEDIA_TYPES.dockerManifest, layer, MEDIA_TYPES.dockerPluginConfig);
  const artifact = image(MEDIA_TYPES.ociManifest, layer, "application/x-thing");

  test.each([
    [docker, ["image"], undefined, undefined],
    [oci, ["image"], undefined, undefined],
    [plugin, ["plugin", "image"], undefined, undefined],
    [plugin, ["image"], undefined, "403 DENIED registry does not allow plugin manifest"],
    [docker, ["plugin"], undefined, "403 DENIED registry does not allow image manifest"],
    [artifact, ["image"], undefined, "403 DENIED unknown manifest class for application/x-thing"],
    [artifact, [], ["x"], undefined],
    [index(), ["plugin"], [], undefined],
    [docker, ["image"], [""], undefined],
    [docker, ["image"], ["plugin"], "403 DENIED repository not authorized for image manifest"],
    [plugin, ["plugin"], ["", "plugin"], undefined],
    [plugin, ["plugin"], [""], "403 DENIED repository not authorized for plugin manifest"],
  ])("case %#", (manifest, allowed, granted, expected) => {
    expect(problem(() => checkClass(manifest, allowed, granted))).toBe(expected);
  });
});
