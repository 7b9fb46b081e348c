import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { type ErrorEntry, RegistryError } from "../oci/errors.ts";
import { type Manifest, referencesOf } from "../oci/manifest.ts";
import { isForeignLayerMediaType, isManifestMediaType, MEDIA_TYPES } from "../oci/media-types.ts";

/** What manifests must hold to be accepted. */
export interface ManifestValidation {
  /** Off: URLs of layers need only be http or https without a fragment, and children of indexes are not looked for. */
  readonly enabled: boolean;
  /** Which URLs layers may carry, searched for in the URL. Neither given: none. Only `deny` given: all others. */
  readonly urls: { readonly allow: readonly RegExp[]; readonly deny: readonly RegExp[] };
  /** Which children of an index must exist: all, none, or those of a platform of the list. */
  readonly indexes: { readonly platforms: "all" | "none" | "list"; readonly platformList: readonly IndexPlatform[] };
  /** Whether layers of an image may be missing (its config may not). */
  readonly sparseImages: boolean;
}

/** A platform whose images must exist when an index is pushed; both fields are compared exactly. */
export interface IndexPlatform {
  readonly architecture: string;
  readonly os: string;
}

/** What must be in the repository before a manifest may be. */
export interface Requirements {
  readonly blobs: readonly Digest[];
  readonly children: readonly RequiredChild[];
}

/** A child of an index that must exist. */
export interface RequiredChild {
  readonly digest: Digest;
  /** Build caches of older BuildKits are indexes of layers. */
  readonly mayBeBlob: boolean;
}

/**
 * Refuses manifests of classes that are not allowed. Indexes have no class.
 * @param granted Classes that the caller's token grants; undefined when nobody restricts them.
 * @throws RegistryError DENIED
 */
export function checkClass(manifest: Manifest, allowed: readonly string[], granted: readonly string[] | undefined): void {
  if (allowed.length === 0 || manifest.kind === "index") return;
  const configType = manifest.config?.mediaType ?? "";
  const manifestClass = classOf(configType);
  if (manifestClass === undefined) throw new RegistryError("DENIED", { message: `unknown manifest class for ${configType}` });
  if (!allowed.includes(manifestClass)) throw new RegistryError("DENIED", { message: `registry does not allow ${manifestClass} manifest` });
  if (granted !== undefined && !granted.some((each) => (each === "" ? "image" : each) === manifestClass)) {
    throw new RegistryError("DENIED", { message: `repository not authorized for ${manifestClass} manifest` });
  }
}

/**
 * Checks the URLs from which clients are told to fetch layers.
 * @throws RegistryError MANIFEST_INVALID with the reason as detail
 */
export function checkUrls(manifest: Manifest, validation: ManifestValidation): void {
  for (const layer of manifest.layers) {
    const urls = layer.urls ?? [];
    if (isDockerForeign(manifest, layer) && urls.length === 0) throw invalid("missing URL on layer");
    if (!urlsMatter(manifest, layer)) continue;
    if (!urls.every((url) => isAllowedUrl(url, validation))) throw invalid("invalid URL on layer");
  }
}

/** What must be there for a manifest to be accepted, each digest once. */
export function requirementsOf(manifest: Manifest, validation: ManifestValidation): Requirements {
  const children = new Map<Digest, RequiredChild>();
  for (const child of manifest.manifests) {
    if (isRequiredChild(child, validation)) children.set(child.digest, { digest: child.digest, mayBeBlob: !isManifestMediaType(child.mediaType) });
  }
  const blobs = new Set<Digest>();
  if (manifest.kind === "image") {
    for (const blob of referencesOf(manifest)) {
      if (blob === manifest.config || isRequiredLayer(manifest, blob, validation)) blobs.add(blob.digest);
    }
  }
  return { blobs: [...blobs], children: [...children.values()] };
}

/** The error that names everything that is missing, an entry each. */
export function missingContent(missing: readonly Digest[]): RegistryError {
  const [first, ...rest] = missing;
  const more = rest.map((digest): ErrorEntry => ({ code: "MANIFEST_BLOB_UNKNOWN", message: "blob unknown to registry", detail: digest }));
  return new RegistryError("MANIFEST_BLOB_UNKNOWN", { detail: first, more });
}

function classOf(configType: string): string | undefined {
  switch (configType) {
    case MEDIA_TYPES.dockerConfig:
    case MEDIA_TYPES.ociConfig:
      return "image";
    case MEDIA_TYPES.dockerPluginConfig:
      return "plugin";
    default:
      return undefined;
  }
}

function isDockerForeign(manifest: Manifest, layer: Descriptor): boolean {
  return manifest.mediaType === MEDIA_TYPES.dockerManifest && layer.mediaType === MEDIA_TYPES.dockerForeignLayer;
}

// Docker clients fetch from URLs for foreign layers alone; OCI ones for every layer of a filesystem.
function urlsMatter(manifest: Manifest, layer: Descriptor): boolean {
  if (manifest.mediaType === MEDIA_TYPES.dockerManifest) return isDockerForeign(manifest, layer);
  return isForeignLayerMediaType(layer.mediaType) || layer.mediaType === MEDIA_TYPES.ociLayer || layer.mediaType === MEDIA_TYPES.ociLayerGzip;
}

function isRequiredLayer(manifest: Manifest, layer: Descriptor, validation: ManifestValidation): boolean {
  if (validation.sparseImages || isDockerForeign(manifest, layer)) return false;
  const fetchedElsewhere = manifest.mediaType !== MEDIA_TYPES.dockerManifest && isForeignLayerMediaType(layer.mediaType) && (layer.urls?.length ?? 0) > 0;
  return !fetchedElsewhere;
}

function isRequiredChild(child: Descriptor, validation: ManifestValidation): boolean {
  if (!validation.enabled) return false;
  const { platforms, platformList } = validation.indexes;
  if (platforms !== "list") return platforms === "all";
  return platformList.some(({ architecture, os }) => child.platform?.architecture === architecture && child.platform.os === os);
}

function isAllowedUrl(text: string, validation: ManifestValidation): boolean {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:") || text.includes("#")) return false;
  if (!validation.enabled) return true;
  const { allow, deny } = validation.urls;
  if (allow.length === 0 && deny.length === 0) return false;
  return (allow.length === 0 || allow.some((pattern) => pattern.test(text))) && !deny.some((pattern) => pattern.test(text));
}

function invalid(detail: string): RegistryError {
  return new RegistryError("MANIFEST_INVALID", { detail });
}
