import type { Digest } from "./digest.ts";

/** The platform that a child of an index is for. */
export interface Platform {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
}

/**
 * What a manifest says of something it refers to.
 * @see OCI image-spec, "Content Descriptors"
 */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
  readonly artifactType?: string;
}

/** A descriptor in its JSON form, the field names of the specification. */
export interface DescriptorJson {
  mediaType: string;
  digest: string;
  size: number;
  artifactType?: string;
  urls?: readonly string[];
  annotations?: Readonly<Record<string, string>>;
  platform?: Platform;
}

/** The JSON form of a descriptor, in the field order that distribution prints. */
export function descriptorToJson(descriptor: Descriptor): DescriptorJson {
  const json: DescriptorJson = { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.sizeBytes };
  if (descriptor.artifactType !== undefined) json.artifactType = descriptor.artifactType;
  if (descriptor.urls !== undefined && descriptor.urls.length > 0) json.urls = descriptor.urls;
  if (descriptor.annotations !== undefined && Object.keys(descriptor.annotations).length > 0) json.annotations = descriptor.annotations;
  if (descriptor.platform !== undefined) json.platform = descriptor.platform;
  return json;
}
