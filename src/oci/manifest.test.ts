import { describe, expect, test } from "bun:test";
import { digestOf } from "./digest.ts";
import type { RegistryError } from "./errors.ts";
import { parsePushedManifest, parseStoredManifest, referencesOf } from "./manifest.ts";
import { MEDIA_TYPES } from "./media-types.ts";

const CONFIG = { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf("config"), size: 6 };
const LAYER = { mediaType: MEDIA_TYPES.ociLayerGzip, digest: digestOf("layer"), size: 5 };
const IMAGE = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config: CONFIG, layers: [LAYER] };
const INDEX = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [{ mediaType: MEDIA_TYPES.ociManifest, digest: digestOf("child"), size: 5, platform: { architecture: "amd64", os: "linux" } }] };

const bytes = (value: unknown): Uint8Array => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));

describe("parsePushedManifest", () => {
  test("reads an image", () => {
    const manifest = parsePushedManifest(bytes(IMAGE), MEDIA_TYPES.ociManifest);
    expect(manifest.kind).toBe("image");
    expect(referencesOf(manifest).map((item) => item.digest)).toEqual([CONFIG.digest, LAYER.digest]);
    expect(manifest.artifactType).toBe(MEDIA_TYPES.ociConfig);
  });
  test("reads an index and its platforms", () => {
    const manifest = parsePushedManifest(bytes(INDEX), MEDIA_TYPES.ociIndex);
    expect(manifest.kind).toBe("index");
    expect(manifest.manifests[0]?.platform).toEqual({ architecture: "amd64", os: "linux" });
    expect(manifest.artifactType).toBeUndefined();
  });
  test("reads an artifact with a subject", () => {
    const manifest = parsePushedManifest(bytes({ ...IMAGE, artifactType: "application/x", subject: LAYER, annotations: { a: "b" } }), MEDIA_TYPES.ociManifest);
    expect(manifest).toMatchObject({ artifactType: "application/x", subject: { digest: LAYER.digest }, annotations: { a: "b" } });
  });
  test("lets the body name its type when the header is generic or absent", () => {
    for (const type of [undefined, "", "application/json", "application/octet-stream"]) expect(parsePushedManifest(bytes(IMAGE), type).mediaType).toBe(MEDIA_TYPES.ociManifest);
  });
  test("accepts unknown fields, no layers, an empty index", () => {
    expect(parsePushedManifest(bytes({ ...IMAGE, layers: undefined, extra: { deep: [1] } }), MEDIA_TYPES.ociManifest).layers).toEqual([]);
    expect(parsePushedManifest(bytes({ ...INDEX, manifests: [] }), MEDIA_TYPES.ociIndex).manifests).toEqual([]);
  });

  const bad: [string, unknown, string | undefined, string][] = [
    ["no bytes", "", MEDIA_TYPES.ociManifest, "unexpected end of JSON input"],
    ["no JSON", "{", MEDIA_TYPES.ociManifest, "not valid JSON"],
    ["no object", "[]", MEDIA_TYPES.ociManifest, "not a JSON object"],
    ["no type at all", { schemaVersion: 2, config: CONFIG }, undefined, "no default available"],
    ["another type", IMAGE, "text/plain", "no default available: text/plain"],
    ["the header and the body differ", IMAGE, MEDIA_TYPES.dockerManifest, `mediaType in manifest should be '${MEDIA_TYPES.dockerManifest}' not '${MEDIA_TYPES.ociManifest}'`],
    ["an image that holds manifests", { ...IMAGE, manifests: [] }, MEDIA_TYPES.ociManifest, "expected manifest but found index"],
    ["an index that holds layers", { ...INDEX, layers: [] }, MEDIA_TYPES.ociIndex, "expected index but found manifest"],
    ["schemaVersion 3", { ...IMAGE, schemaVersion: 3 }, MEDIA_TYPES.ociManifest, "unrecognized manifest schema version 3"],
    ["schema 1", { schemaVersion: 1, fsLayers: [] }, MEDIA_TYPES.dockerSchema1Signed, "schema 1 is not supported"],
    ["a negative size", { ...IMAGE, config: { ...CONFIG, size: -1 } }, MEDIA_TYPES.ociManifest, "config.size"],
    ["layers that are none", { ...IMAGE, layers: {} }, MEDIA_TYPES.ociManifest, "layers: expected a list"],
    ["annotations that are no strings", { ...IMAGE, annotations: { a: 1 } }, MEDIA_TYPES.ociManifest, "annotations"],
  ];
  for (const [what, body, type, detail] of bad) {
    test(`refuses ${what}`, () => {
      try {
        parsePushedManifest(bytes(body), type);
      } catch (error) {
        expect(error).toMatchObject({ code: "MANIFEST_INVALID", status: 400, entries: [{ detail: expect.stringContaining(detail) }] });
        return;
      }
      throw new Error("was accepted");
    });
  }
  test("refuses a bad digest in a descriptor as such", () => {
    expect(() => parsePushedManifest(bytes({ ...IMAGE, config: { ...CONFIG, digest: "sha256:x" } }), MEDIA_TYPES.ociManifest)).toThrow(expect.objectContaining({ code: "DIGEST_INVALID" }));
  });
});

describe("parsePushedManifest of a hostile client", () => {
  const refusal = (text: string): unknown => {
    try {
      return parsePushedManifest(bytes(text), MEDIA_TYPES.ociManifest);
    } catch (error) {
      return error;
    }
  };
  const image = JSON.stringify(IMAGE).slice(0, -1);

  test.each([["[", "]"], ['{"a":', "0}"]])("refuses what is nested very deep in %s", (open, close) => {
    expect(refusal(`${image},"x":${open.repeat(200_000)}${close}`)).toMatchObject({ code: "MANIFEST_INVALID", entries: [{ detail: "the manifest is nested more than 1000 levels deep" }] });
  });

  test("takes brackets in long strings for what they are", () => {
    const texts = [`${"[".repeat(70_000)}`, `\\"${"{".repeat(70_000)}`, `${"\\\\".repeat(40_000)}`, `${"[]".repeat(40_000)}`];
    for (const text of texts) expect(refusal(`${image},"annotations":{"a":"${text}"}}`)).toMatchObject({ kind: "image" });
    expect(refusal(`${image},"x":[${"[],{},".repeat(20_000)}0]}`)).toMatchObject({ kind: "image" });
  });

  test.each([`[${"[".repeat(900)}${"]".repeat(900)}]`, `"${"x".repeat(1_000_000)}"`, "{}", "1", "null"])("repeats no schema version of any length or depth", (value) => {
    const error = refusal(`{"schemaVersion":${value}}`);
    expect(error).toMatchObject({ code: "MANIFEST_INVALID" });
    expect(JSON.stringify((error as RegistryError).entries).length).toBeLessThan(300);
  });
});

describe("parseStoredManifest", () => {
  test("takes whatever was accepted for what it was announced as", () => {
    const values = { mediaType: [undefined, null, "", ...Object.values(MEDIA_TYPES)], config: [undefined, null, CONFIG], layers: [undefined, null, [], [LAYER]], manifests: [undefined, null, [], INDEX.manifests] };
    let accepted = 0;
    for (const mediaType of values.mediaType) for (const config of values.config) for (const layers of values.layers) for (const manifests of values.manifests) for (const contentType of [undefined, ...Object.values(MEDIA_TYPES)]) {
      const text = bytes({ schemaVersion: 2, mediaType, config, layers, manifests });
      let pushed: unknown;
      try {
        pushed = parsePushedManifest(text, contentType);
      } catch {
        continue;
      }
      accepted++;
      expect<unknown>(parseStoredManifest(text)).toEqual(pushed);
    }
    expect(accepted).toBeGreaterThan(50);
  });

  test("tells typeless ones apart by what they hold", () => {
    expect(parseStoredManifest(bytes({ ...IMAGE, mediaType: undefined })).mediaType).toBe(MEDIA_TYPES.ociManifest);
    expect(parseStoredManifest(bytes({ ...INDEX, mediaType: "" })).mediaType).toBe(MEDIA_TYPES.ociIndex);
  });
  test("refuses schema 1", () => expect(() => parseStoredManifest(bytes({ schemaVersion: 1, fsLayers: [], name: "x" }))).toThrow(expect.objectContaining({ code: "MANIFEST_INVALID" })));
});
