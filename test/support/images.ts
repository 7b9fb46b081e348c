import { join } from "node:path";
import { digestOf, seededBytes, TYPES } from "./http.ts";

/** How the layers of an image are packed. */
export type Compression = "gzip" | "zstd" | "none";

/** An image to be laid out. */
export interface LayoutOptions {
  readonly layers?: number;
  readonly layerBytes?: number;
  readonly compression?: Compression;
  /** Architectures; more than one make an index. */
  readonly architectures?: readonly string[];
  /** Different seeds give different images. */
  readonly seed?: number;
}

/** An image on disk that `skopeo`, `podman` and `buildah` read as `oci:<folder>:<tag>`. */
export interface OciLayout {
  readonly folder: string;
  readonly tag: string;
  /** Digest of the top: the manifest, or the index when there are several architectures. */
  readonly digest: string;
  /** Digest of each architecture's manifest. */
  readonly manifests: readonly string[];
  readonly layers: readonly string[];
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/**
 * Writes an OCI image layout, real enough to be unpacked: every layer is a tar archive with one file.
 * @see OCI image-spec, "Image Layout Specification"
 */
export async function writeOciLayout(folder: string, options: LayoutOptions = {}): Promise<OciLayout> {
  const { layers: layerCount = 3, layerBytes = 5000, compression = "gzip", architectures = ["amd64"], seed = 1 } = options;
  const layers: Descriptor[] = [];
  const manifests: (Descriptor & { platform: { os: string; architecture: string } })[] = [];
  for (const [index, architecture] of architectures.entries()) {
    const image = await writeImage(folder, { architecture, layerCount, layerBytes, compression, seed: seed * 100 + index });
    layers.push(...image.layers);
    manifests.push({ ...image.manifest, platform: { os: "linux", architecture } });
  }
  const [only, ...more] = manifests;
  if (only === undefined) throw new Error("an image needs an architecture");
  const top = more.length === 0 ? only : await writeJson(folder, TYPES.ociIndex, { schemaVersion: 2, mediaType: TYPES.ociIndex, manifests });
  const annotations = { "org.opencontainers.image.ref.name": "latest" };
  const { mediaType, digest, size } = top;
  await Bun.write(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size, annotations }] }));
  await Bun.write(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  return { folder, tag: "latest", digest, manifests: manifests.map((each) => each.digest), layers: layers.map((each) => each.digest) };
}

interface ImagePlan {
  readonly architecture: string;
  readonly layerCount: number;
  readonly layerBytes: number;
  readonly compression: Compression;
  readonly seed: number;
}

async function writeImage(folder: string, plan: ImagePlan): Promise<{ manifest: Descriptor; layers: Descriptor[] }> {
  const layers: Descriptor[] = [];
  const diffIds: string[] = [];
  for (let index = 0; index < plan.layerCount; index++) {
    const archive = tarOf(`file-${plan.seed}-${index}`, seededBytes(plan.layerBytes, plan.seed * 1000 + index));
    diffIds.push(digestOf(archive));
    const mediaType = `application/vnd.oci.image.layer.v1.tar${plan.compression === "none" ? "" : `+${plan.compression}`}`;
    layers.push(await writeBlob(folder, mediaType, pack(archive, plan.compression)));
  }
  const config = await writeJson(folder, TYPES.ociConfig, {
    created: "2020-01-01T00:00:00Z",
    architecture: plan.architecture,
    os: "linux",
    config: { Cmd: ["/nothing"] },
    rootfs: { type: "layers", diff_ids: diffIds },
    history: diffIds.map((_, index) => ({ created: "2020-01-01T00:00:00Z", created_by: `layer ${index}` })),
  });
  const manifest = await writeJson(folder, TYPES.ociManifest, { schemaVersion: 2, mediaType: TYPES.ociManifest, config, layers });
  return { manifest, layers };
}

function pack(archive: Uint8Array<ArrayBuffer>, compression: Compression): Uint8Array {
  if (compression === "none") return archive;
  return compression === "gzip" ? Bun.gzipSync(archive) : Bun.zstdCompressSync(archive);
}

function writeJson(folder: string, mediaType: string, value: unknown): Promise<Descriptor> {
  return writeBlob(folder, mediaType, new TextEncoder().encode(JSON.stringify(value)));
}

async function writeBlob(folder: string, mediaType: string, content: Uint8Array): Promise<Descriptor> {
  const digest = digestOf(content);
  await Bun.write(join(folder, "blobs", "sha256", digest.slice("sha256:".length)), content);
  return { mediaType, digest, size: content.length };
}

/** A tar archive with one file. @see POSIX.1-1988, ustar */
export function tarOf(name: string, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write(`${(1577836800).toString(8).padStart(11, "0")}\0`, 136);
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  // Content is padded to whole blocks; two empty blocks end the archive.
  const archive = new Uint8Array(512 + Math.ceil(content.length / 512) * 512 + 1024);
  archive.set(header);
  archive.set(content, 512);
  return archive;
}
