import { algorithmOf, type Digest, digestOf, isDigest } from "../../oci/digest.ts";
import { type Manifest, parseStoredManifest, referencesOf } from "../../oci/manifest.ts";
import { isManifestMediaType } from "../../oci/media-types.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { blobData } from "../layout.ts";
import { type Doubt, messageOf } from "./doubt.ts";

/** What a manifest needs and says; kept between walks, as a digest's content never changes. */
export interface Facts {
  readonly blobs: readonly Digest[];
  readonly children: readonly Child[];
  readonly subject: Digest | undefined;
  /** What was not understood, with the path. */
  readonly doubt?: Doubt;
}

/** A child of an index. BuildKit's old caches are indexes of plain blobs. */
export interface Child {
  readonly digest: Digest;
  readonly isManifest: boolean;
}

const NOTHING: Facts = { blobs: [], children: [], subject: undefined };

/**
 * What the bytes of a manifest say; undefined when they are missing.
 * @param outcome The bytes, or why they could not be read.
 */
export function factsIn(outcome: Uint8Array | Error, digest: Digest): Facts | undefined {
  if (!(outcome instanceof Error)) return interpret(digest, outcome, blobData(digest));
  if (outcome instanceof PathNotFoundError) return undefined;
  return { ...NOTHING, doubt: { path: blobData(digest), problem: `the manifest cannot be read: ${messageOf(outcome)}` } };
}

function interpret(digest: Digest, bytes: Uint8Array, path: string): Facts {
  if (digestOf(bytes, algorithmOf(digest)) !== digest) return { ...NOTHING, doubt: { path, problem: "the manifest does not hash to its digest" } };
  try {
    return factsOf(parseStoredManifest(bytes));
  } catch (error) {
    const old = schema1Layers(bytes);
    if (old !== undefined) return { ...NOTHING, blobs: old };
    return { ...NOTHING, doubt: { path, problem: `the manifest cannot be understood: ${messageOf(error)}` } };
  }
}

function factsOf(manifest: Manifest): Facts {
  const subject = manifest.subject?.digest;
  if (manifest.kind === "image") return { blobs: referencesOf(manifest).map((item) => item.digest), children: [], subject };
  return { blobs: [], children: manifest.manifests.map((item) => ({ digest: item.digest, isManifest: isManifestMediaType(item.mediaType) })), subject };
}

// Stores of old hold schema 1 manifests. They are not served any more, but what they need is kept while they are there.
function schema1Layers(bytes: Uint8Array): readonly Digest[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // Not JSON at all: the parser of manifests said so.
    return undefined;
  }
  const layers = (json as { schemaVersion?: unknown; fsLayers?: unknown } | null)?.fsLayers;
  if ((json as { schemaVersion?: unknown } | null)?.schemaVersion !== 1 || !Array.isArray(layers)) return undefined;
  const digests = layers.map((layer: unknown) => (layer as { blobSum?: unknown } | null)?.blobSum);
  return digests.every((digest): digest is Digest => typeof digest === "string" && isDigest(digest)) ? digests : undefined;
}
