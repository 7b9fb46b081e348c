import { link, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { seededBytes } from "./client.ts";

/** A file of random bytes and its digest. */
export interface BigFile {
  readonly path: string;
  readonly digest: string;
  readonly sizeBytes: number;
}

/** Media type of the manifests made here. */
export const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";

/** An image that was put into a store. */
export interface SeededImage {
  readonly name: string;
  readonly manifestDigest: string;
  readonly layers: readonly string[];
}

const MIB = 1024 * 1024;

/** Writes a file that cannot be compressed; different seeds give different files. */
export async function writeBigFile(path: string, options: { readonly sizeMiB: number; readonly seed: number }): Promise<BigFile> {
  const block = seededBytes(MIB, options.seed);
  const counter = new DataView(block.buffer);
  const hasher = new Bun.CryptoHasher("sha256");
  const writer = Bun.file(path).writer({ highWaterMark: 8 * MIB });
  for (let index = 0; index < options.sizeMiB; index++) {
    counter.setUint32(0, index);
    hasher.update(block);
    await writer.write(block.slice());
  }
  await writer.end();
  return { path, digest: `sha256:${hasher.digest("hex")}`, sizeBytes: options.sizeMiB * MIB };
}

/**
 * A store as distribution lays it out, written straight to disk: pushing 20,000 repositories through the servers would take longer than
 * all the measuring.
 */
export class SeededStore {
  readonly #root: string;

  /** @param dataFolder The root directory of the filesystem driver. */
  constructor(dataFolder: string) {
    this.#root = join(dataFolder, "docker/registry/v2");
  }

  /** Stores a blob and makes it readable in a repository. */
  async addBlob(name: string, bytes: Uint8Array): Promise<string> {
    const digest = `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
    await this.#write(blobPath(digest), bytes);
    await this.#linkLayer(name, digest);
    return digest;
  }

  /** Makes a big file readable as a blob, without copying it. */
  async addFile(name: string, file: BigFile): Promise<void> {
    const path = this.fileOf(file.digest);
    await mkdir(dirname(path), { recursive: true });
    await link(file.path, path);
    await this.#linkLayer(name, file.digest);
  }

  /** Stores an image under some tags. */
  async addImage(name: string, options: { readonly tags: readonly string[]; readonly layers: number; readonly layerBytes: number }): Promise<SeededImage> {
    const config = new TextEncoder().encode(JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [] } }));
    const configDigest = await this.addBlob(name, config);
    const layers: string[] = [];
    for (let index = 0; index < options.layers; index++) layers.push(await this.addBlob(name, seededBytes(options.layerBytes, index + 1)));
    const manifest = {
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { mediaType: "application/vnd.docker.container.image.v1+json", digest: configDigest, size: config.length },
      layers: layers.map((digest) => ({ mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", digest, size: options.layerBytes })),
    };
    const bytes = new TextEncoder().encode(JSON.stringify(manifest));
    const manifestDigest = `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
    await this.#write(blobPath(manifestDigest), bytes);
    const manifests = `repositories/${name}/_manifests`;
    await this.#write(`${manifests}/revisions/${hexPath(manifestDigest)}/link`, manifestDigest);
    for (const tag of options.tags) {
      await this.#write(`${manifests}/tags/${tag}/current/link`, manifestDigest);
      await this.#write(`${manifests}/tags/${tag}/index/${hexPath(manifestDigest)}/link`, manifestDigest);
    }
    return { name, manifestDigest, layers };
  }

  /** Where the bytes of a digest are. */
  fileOf(digest: string): string {
    return join(this.#root, blobPath(digest));
  }

  #linkLayer(name: string, digest: string): Promise<void> {
    return this.#write(`repositories/${name}/_layers/${hexPath(digest)}/link`, digest);
  }

  async #write(path: string, content: Uint8Array | string): Promise<void> {
    const file = join(this.#root, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }
}

function hexPath(digest: string): string {
  return digest.replace(":", "/");
}

function blobPath(digest: string): string {
  const hex = digest.slice("sha256:".length);
  return `blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
}
