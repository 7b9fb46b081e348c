import type { Descriptor, Platform } from "./descriptor.ts";
import { parseDigest } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { isManifestMediaType, MEDIA_TYPES, type ManifestMediaType } from "./media-types.ts";

/** What the registry needs to know of a manifest; the bytes are stored and served as they came. */
export interface Manifest {
  readonly mediaType: ManifestMediaType;
  readonly kind: "image" | "index";
  /** Absent for an index. */
  readonly config: Descriptor | undefined;
  /** Empty for an index. */
  readonly layers: readonly Descriptor[];
  /** Children of an index; empty for an image. */
  readonly manifests: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  /** As the referrers list gives it: the field, else an image's config media type, else undefined. */
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

/** Largest manifest that can be stored, however the registry is configured: whoever reads stored ones must be able to read it. */
export const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

/** Deeper JSON takes a parser a hundred times as long as flat JSON of the same length; manifests have five levels. */
const MAX_DEPTH = 1000;
const SURELY_FAST_BYTES = 64 * 1024;

/**
 * Parses a manifest that a client sends.
 * @param contentType The request's Content-Type without parameters; undefined or a generic JSON type lets the body's own
 *   `mediaType` decide.
 * @throws RegistryError MANIFEST_INVALID with what is wrong as detail, DIGEST_INVALID for a bad digest in a descriptor.
 */
export function parsePushedManifest(bytes: Uint8Array, contentType: string | undefined): Manifest {
  if (bytes.length > SURELY_FAST_BYTES && isDeep(bytes)) throw invalid(`the manifest is nested more than ${MAX_DEPTH} levels deep`);
  const json = parseJson(bytes);
  const own = optionalString(json, "mediaType");
  const generic = contentType === undefined || contentType === "" || contentType === "application/json" || contentType === MEDIA_TYPES.octetStream;
  const announced = generic ? (own ?? "") : contentType;
  refuseSchema1(json, announced);
  if (generic && own === undefined) {
    throw invalid("unsupported manifest media type and no default available: send a Content-Type or a mediaType field");
  }
  if (!isManifestMediaType(announced)) throw invalid(`unsupported manifest media type and no default available: ${announced}`);
  checkAnnounced(json, announced, own);
  return interpret(json, announced);
}

/**
 * Parses a manifest as it was stored, whoever stored it.
 * @throws RegistryError MANIFEST_INVALID when it is none that we know (schema 1 included).
 */
export function parseStoredManifest(bytes: Uint8Array): Manifest {
  const json = parseJson(bytes);
  const own = optionalString(json, "mediaType");
  refuseSchema1(json, own ?? "");
  return interpret(json, storedMediaType(json, own));
}

const [QUOTE, BACKSLASH, OPENING_BRACKET, CLOSING_BRACKET, OPENING_BRACE, CLOSING_BRACE] = Buffer.from('"\\[]{}');

/** Everything that a manifest needs in order to be pulled: config, layers and children; never its subject. */
export function referencesOf(manifest: Manifest): readonly Descriptor[] {
  if (manifest.kind === "index") return manifest.manifests;
  return manifest.config === undefined ? manifest.layers : [manifest.config, ...manifest.layers];
}

function storedMediaType(json: JsonObject, own: string | undefined): ManifestMediaType {
  if (own === undefined || own === "") return isTypelessIndex(json) ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.ociManifest;
  if (!isManifestMediaType(own)) throw invalid(`unsupported manifest media type: ${own}`);
  return own;
}

/** Clients leave out what is empty, also the list that an index is made of. */
function isTypelessIndex(json: JsonObject): boolean {
  return Array.isArray(json["manifests"]) || !["config", "layers"].some((key) => json[key] !== undefined && json[key] !== null);
}

type JsonObject = Readonly<Record<string, unknown>>;

function parseJson(bytes: Uint8Array): JsonObject {
  let value: unknown;
  try {
    // `fatal`: a manifest with broken UTF-8 would be read differently by different clients.
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RegistryError("MANIFEST_INVALID", { detail: bytes.length === 0 ? "unexpected end of JSON input" : "the manifest is not valid JSON", cause: error });
  }
  if (!isObject(value)) throw invalid("the manifest is not a JSON object");
  return value;
}

/** Whether JSON is nested deeper than it may be. */
function isDeep(bytes: Uint8Array): boolean {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index];
    if (byte === QUOTE) inString = !inString;
    else if (inString) index += byte === BACKSLASH ? 1 : 0;
    else if (byte === OPENING_BRACKET || byte === OPENING_BRACE) depth++;
    else if (byte === CLOSING_BRACKET || byte === CLOSING_BRACE) depth--;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}

function refuseSchema1(json: JsonObject, announced: string): void {
  const schema1 =
    announced === MEDIA_TYPES.dockerSchema1 || announced === MEDIA_TYPES.dockerSchema1Signed || (json["schemaVersion"] === 1 && json["fsLayers"] !== undefined);
  if (schema1) {
    throw invalid("Docker image manifest version 2, schema 1 is not supported: push the image again with a client that writes schema 2 or OCI manifests");
  }
}

function checkAnnounced(json: JsonObject, announced: ManifestMediaType, own: string | undefined): void {
  switch (announced) {
    case MEDIA_TYPES.dockerManifest:
      if (own !== announced) throw invalid(`mediaType in manifest should be '${announced}' not '${own ?? ""}'`);
      return;
    case MEDIA_TYPES.dockerList:
      if (own !== announced) throw invalid(`mediaType in manifest list should be '${announced}' not '${own ?? ""}'`);
      return;
    case MEDIA_TYPES.ociManifest:
      if (own !== undefined && own !== "" && own !== announced) throw invalid(`if present, mediaType in manifest should be '${announced}' not '${own}'`);
      if (json["manifests"] !== undefined && json["manifests"] !== null) throw invalid("ocimanifest: expected manifest but found index");
      return;
    case MEDIA_TYPES.ociIndex:
      if (own !== undefined && own !== "" && own !== announced) throw invalid(`if present, mediaType in image index should be '${announced}' not '${own}'`);
      if ((json["config"] !== undefined && json["config"] !== null) || (json["layers"] !== undefined && json["layers"] !== null)) {
        throw invalid("index: expected index but found manifest");
      }
      return;
  }
}

function interpret(json: JsonObject, mediaType: ManifestMediaType): Manifest {
  if (json["schemaVersion"] !== 2) throw invalid(`unrecognized manifest schema version ${shown(json["schemaVersion"])}, expected 2`);
  const index = mediaType === MEDIA_TYPES.ociIndex || mediaType === MEDIA_TYPES.dockerList;
  const config = index || json["config"] === undefined || json["config"] === null ? undefined : descriptor(json["config"], "config");
  if (!index && config === undefined) throw invalid("config: a descriptor is required");
  const ownArtifactType = optionalString(json, "artifactType");
  return {
    mediaType,
    kind: index ? "index" : "image",
    config,
    layers: index ? [] : descriptors(json, "layers"),
    manifests: index ? descriptors(json, "manifests") : [],
    subject: json["subject"] === undefined || json["subject"] === null ? undefined : descriptor(json["subject"], "subject"),
    artifactType: ownArtifactType !== undefined && ownArtifactType !== "" ? ownArtifactType : config?.mediaType,
    annotations: annotations(json, "annotations"),
  };
}

function shown(value: unknown): string {
  const text = typeof value === "object" && value !== null ? "that is no number" : JSON.stringify(value ?? null);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

function descriptors(json: JsonObject, key: string): readonly Descriptor[] {
  const value = json[key];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(`${key}: expected a list of descriptors`);
  return value.map((item: unknown, index) => descriptor(item, `${key}[${index}]`));
}

function descriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalid(`${where}: expected a descriptor`);
  const digest = value["digest"];
  if (typeof digest !== "string") throw invalid(`${where}.digest: expected a string`);
  const size = value["size"] ?? 0;
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw invalid(`${where}.size: expected a whole number of bytes`);
  const urls = value["urls"];
  if (urls !== undefined && urls !== null && !isStringList(urls)) throw invalid(`${where}.urls: expected a list of strings`);
  const result: { -readonly [K in keyof Descriptor]: Descriptor[K] } = {
    mediaType: optionalString(value, "mediaType", where) ?? "",
    digest: parseDigest(digest),
    sizeBytes: size,
  };
  if (isStringList(urls) && urls.length > 0) result.urls = urls;
  const notes = annotations(value, "annotations", where);
  if (notes !== undefined) result.annotations = notes;
  const place = platform(value["platform"], where);
  if (place !== undefined) result.platform = place;
  const artifactType = optionalString(value, "artifactType", where);
  if (artifactType !== undefined && artifactType !== "") result.artifactType = artifactType;
  return result;
}

function platform(value: unknown, where: string): Platform | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) throw invalid(`${where}.platform: expected an object`);
  const variant = optionalString(value, "variant", `${where}.platform`);
  const base = {
    architecture: optionalString(value, "architecture", `${where}.platform`) ?? "",
    os: optionalString(value, "os", `${where}.platform`) ?? "",
  };
  return variant === undefined ? base : { ...base, variant };
}

function annotations(json: JsonObject, key: string, where?: string): Readonly<Record<string, string>> | undefined {
  const value = json[key];
  if (value === undefined || value === null) return undefined;
  if (!isObject(value) || !Object.values(value).every((item) => typeof item === "string")) {
    throw invalid(`${where === undefined ? "" : `${where}.`}${key}: expected an object of strings`);
  }
  return value as Readonly<Record<string, string>>;
}

function optionalString(json: JsonObject, key: string, where?: string): string | undefined {
  const value = json[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw invalid(`${where === undefined ? "" : `${where}.`}${key}: expected a string`);
  return value;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isStringList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function invalid(detail: string): RegistryError {
  return new RegistryError("MANIFEST_INVALID", { detail });
}
