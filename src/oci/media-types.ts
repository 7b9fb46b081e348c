/** Media types that the registry treats by name. */
export const MEDIA_TYPES = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociEmpty: "application/vnd.oci.empty.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  ociLayerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  ociForeignLayer: "application/vnd.oci.image.layer.nondistributable.v1.tar",
  ociForeignLayerGzip: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
  ociForeignLayerZstd: "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerPluginConfig: "application/vnd.docker.plugin.v1+json",
  dockerForeignLayer: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  dockerSchema1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerSchema1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
  octetStream: "application/octet-stream",
} as const;

/** The media types under which a manifest of ours may be stored and served. */
export type ManifestMediaType =
  | typeof MEDIA_TYPES.ociManifest
  | typeof MEDIA_TYPES.ociIndex
  | typeof MEDIA_TYPES.dockerManifest
  | typeof MEDIA_TYPES.dockerList;

/** Whether a media type is one of the four that manifests have. */
export function isManifestMediaType(text: string): text is ManifestMediaType {
  return (
    text === MEDIA_TYPES.ociManifest ||
    text === MEDIA_TYPES.ociIndex ||
    text === MEDIA_TYPES.dockerManifest ||
    text === MEDIA_TYPES.dockerList
  );
}

/** Whether a manifest media type is that of a list of manifests. */
export function isIndexMediaType(text: string): boolean {
  return text === MEDIA_TYPES.ociIndex || text === MEDIA_TYPES.dockerList;
}

/** Whether layers of this type may be absent from the registry when they carry URLs. */
export function isForeignLayerMediaType(text: string): boolean {
  return (
    text === MEDIA_TYPES.dockerForeignLayer ||
    text === MEDIA_TYPES.ociForeignLayer ||
    text === MEDIA_TYPES.ociForeignLayerGzip ||
    text === MEDIA_TYPES.ociForeignLayerZstd
  );
}
