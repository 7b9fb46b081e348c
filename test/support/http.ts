import type { DigestAlgorithm } from "../../src/oci/digest.ts";

/** Media types that tests push under. */
export const TYPES = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar+gzip",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
} as const;

/** An Accept header that takes every manifest there is. */
export const ACCEPT_ALL = [TYPES.ociManifest, TYPES.ociIndex, TYPES.dockerManifest, TYPES.dockerList].join(", ");

/** A repository on a registry: `http://127.0.0.1:41234` and `library/busybox`. */
export interface Repository {
  readonly url: string;
  readonly name: string;
}

/** A descriptor, as manifests hold it. */
export interface TestDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string };
}

/** An image as it was pushed. */
export interface PushedImage {
  readonly digest: string;
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly config: TestDescriptor;
  readonly layers: readonly TestDescriptor[];
}

/** The digest of bytes or text. */
export function digestOf(content: Uint8Array | string, algorithm: DigestAlgorithm = "sha256"): string {
  return `${algorithm}:${new Bun.CryptoHasher(algorithm).update(content).digest("hex")}`;
}

/** Bytes that look random and are the same for the same seed. */
export function seededBytes(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** Fetches, and throws with the body's text when the status is another than expected. */
export async function expectStatus(status: number, url: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(url, { redirect: "manual", ...init });
  if (response.status === status) return response;
  throw new Error(`${init.method ?? "GET"} ${url}: status ${response.status}, expected ${status}: ${await response.text()}`);
}

/** Begins an upload. @returns Its absolute URL, token included. */
export async function startUpload(repository: Repository): Promise<string> {
  const response = await expectStatus(202, `${repository.url}/v2/${repository.name}/blobs/uploads/`, { method: "POST" });
  return uploadLocation(repository, response);
}

/** The absolute URL in a Location header. */
export function uploadLocation(repository: Repository, response: Response): string {
  return new URL(response.headers.get("location") ?? "", repository.url).href;
}

/** Adds query parameters to a URL that may have some. */
export function withQuery(url: string, parameters: Readonly<Record<string, string>>): string {
  const result = new URL(url);
  for (const [name, value] of Object.entries(parameters)) result.searchParams.set(name, value);
  return result.href;
}

/** Pushes a blob by POST and PUT. @returns Its digest. */
export async function pushBlob(repository: Repository, content: Uint8Array | string, algorithm: DigestAlgorithm = "sha256"): Promise<string> {
  const digest = digestOf(content, algorithm);
  const location = withQuery(await startUpload(repository), { digest });
  await expectStatus(201, location, { method: "PUT", body: new Blob([content]), headers: { "content-type": "application/octet-stream" } });
  return digest;
}

/** Pushes a manifest under a tag or a digest. @returns The digest that the registry answers. */
export async function pushManifest(
  repository: Repository,
  reference: string,
  manifest: { readonly content: Uint8Array | string; readonly mediaType: string },
): Promise<string> {
  const response = await expectStatus(201, `${repository.url}/v2/${repository.name}/manifests/${reference}`, {
    method: "PUT",
    body: new Blob([manifest.content]),
    headers: { "content-type": manifest.mediaType },
  });
  return response.headers.get("docker-content-digest") ?? "";
}

/** How an image is to be made. */
export interface ImageOptions {
  readonly format?: "oci" | "docker";
  /** Default: one small layer that depends on the seed. */
  readonly layers?: readonly Uint8Array[];
  readonly seed?: number;
  /** More fields of the manifest. */
  readonly extra?: { readonly [key: string]: unknown };
}

/** Pushes config, layers and manifest of a small image under a tag or, without one, under its digest. */
export async function pushImage(repository: Repository, tag: string | undefined, options: ImageOptions = {}): Promise<PushedImage> {
  const isDocker = options.format === "docker";
  const seed = options.seed ?? 1;
  const configText = JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [] }, seed });
  const config = await describe(repository, configText, isDocker ? TYPES.dockerConfig : TYPES.ociConfig);
  const layers: TestDescriptor[] = [];
  for (const layer of options.layers ?? [Bun.gzipSync(seededBytes(1000, seed))]) {
    layers.push(await describe(repository, layer, isDocker ? TYPES.dockerLayer : TYPES.ociLayer));
  }
  const mediaType = isDocker ? TYPES.dockerManifest : TYPES.ociManifest;
  const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType, config, layers, ...options.extra }));
  const digest = digestOf(bytes);
  await pushManifest(repository, tag ?? digest, { content: bytes, mediaType });
  return { digest, bytes, mediaType, config, layers };
}

async function describe(repository: Repository, content: Uint8Array | string, mediaType: string): Promise<TestDescriptor> {
  return { mediaType, digest: await pushBlob(repository, content), size: Buffer.byteLength(content) };
}

/** Pushes an index (or, for Docker, a list) over images that the repository has. */
export async function pushIndex(
  repository: Repository,
  tag: string,
  images: readonly PushedImage[],
): Promise<{ readonly digest: string; readonly bytes: Uint8Array; readonly mediaType: string }> {
  const mediaType = images[0]?.mediaType === TYPES.dockerManifest ? TYPES.dockerList : TYPES.ociIndex;
  const architectures = ["amd64", "arm64", "s390x", "riscv64"];
  const manifests = images.map((image, index) => ({
    mediaType: image.mediaType,
    digest: image.digest,
    size: image.bytes.length,
    platform: { os: "linux", architecture: architectures[index % architectures.length] },
  }));
  const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
  const digest = await pushManifest(repository, tag, { content: bytes, mediaType });
  return { digest, bytes, mediaType };
}
