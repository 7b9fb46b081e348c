/*
 * Writes a store as registries leave it, straight to disk, for measuring what walks over all of one:
 *
 *   bun scripts/make-store.ts FOLDER [--manifests 20000] [--blobs 100000] [--repositories 200]
 *
 * FOLDER is what `storage.filesystem.rootdirectory` names. One manifest in ten of each repository has no tag; one blob in five is needed by no manifest.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** How large a store is to be. */
export interface StoreSize {
  readonly manifests: number;
  /** Configs, layers and what nobody needs; manifests not counted. */
  readonly blobs: number;
  readonly repositories: number;
}

/** What was written. */
export interface MadeStore {
  /** Repository names with a tag each that can be pulled. */
  readonly images: readonly { readonly name: string; readonly tag: string }[];
  readonly garbageBlobs: number;
  readonly untaggedManifests: number;
}

/** Every so many manifests of a repository one is left without a tag. */
const UNTAGGED_EVERY = 10;
/** The share of blobs that manifests need. */
const NEEDED_SHARE = 0.8;
const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";

/** Fills an empty folder. The same size gives the same store. Nothing is synced to the disk: only the page cache is to hold it. */
export function makeStore(folder: string, size: StoreSize): MadeStore {
  const store = new Files(join(folder, "docker/registry/v2"));
  const images: { name: string; tag: string }[] = [];
  const perManifest = Math.max(1, Math.floor((size.blobs * NEEDED_SHARE) / size.manifests));
  let untagged = 0;
  for (let number = 0; number < size.manifests; number++) {
    const name = nameOf(number % size.repositories);
    const inRepository = Math.floor(number / size.repositories);
    const tag = `t${inRepository}`;
    const isTagged = inRepository % UNTAGGED_EVERY !== UNTAGGED_EVERY - 1;
    store.addImage(name, { tag: isTagged ? tag : undefined, number, blobs: perManifest });
    if (isTagged) images.push({ name, tag });
    else untagged++;
  }
  const garbageBlobs = Math.max(0, size.blobs - perManifest * size.manifests);
  for (let number = 0; number < garbageBlobs; number++) store.addBlob(nameOf(number % size.repositories), `garbage ${number}`);
  return { images, garbageBlobs, untaggedManifests: untagged };
}

function nameOf(number: number): string {
  return `team-${number % 10}/app-${number}`;
}

class Files {
  readonly #root: string;
  readonly #made = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  addImage(name: string, image: { readonly tag: string | undefined; readonly number: number; readonly blobs: number }): void {
    const config = this.addBlob(name, JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [] }, number: image.number }));
    const layers = Array.from({ length: image.blobs - 1 }, (_, index) => this.addBlob(name, `layer ${index} of image ${image.number}`));
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { mediaType: "application/vnd.docker.container.image.v1+json", ...config },
      layers: layers.map((layer) => ({ mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", ...layer })),
    });
    const { digest } = this.#addBytes(manifest);
    const manifests = `repositories/${name}/_manifests`;
    this.#write(`${manifests}/revisions/${hexPath(digest)}`, "link", digest);
    if (image.tag === undefined) return;
    this.#write(`${manifests}/tags/${image.tag}/current`, "link", digest);
    this.#write(`${manifests}/tags/${image.tag}/index/${hexPath(digest)}`, "link", digest);
  }

  addBlob(name: string, text: string): { readonly digest: string; readonly size: number } {
    const blob = this.#addBytes(text);
    this.#write(`repositories/${name}/_layers/${hexPath(blob.digest)}`, "link", blob.digest);
    return blob;
  }

  #addBytes(text: string): { readonly digest: string; readonly size: number } {
    const hex = new Bun.CryptoHasher("sha256").update(text).digest("hex");
    this.#write(`blobs/sha256/${hex.slice(0, 2)}/${hex}`, "data", text);
    return { digest: `sha256:${hex}`, size: Buffer.byteLength(text) };
  }

  #write(folder: string, file: string, content: string): void {
    const path = join(this.#root, folder);
    const parent = path.slice(0, path.lastIndexOf("/"));
    // Most folders hold one file: making the parents once halves the calls.
    if (!this.#made.has(parent)) mkdirSync(parent, { recursive: true });
    this.#made.add(parent);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, file), content);
  }
}

function hexPath(digest: string): string {
  return digest.replace(":", "/");
}

/** Reads a number above 0 from the command line. */
export function countOption(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number <= 0) throw new Error(`--${name}: found ${JSON.stringify(text)}, expected a whole number above 0`);
  return number;
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { manifests: { type: "string", default: "20000" }, blobs: { type: "string", default: "100000" }, repositories: { type: "string", default: "200" } },
  });
  const [folder, ...others] = positionals;
  if (folder === undefined || others.length > 0) throw new Error("expected one folder: bun scripts/make-store.ts FOLDER [--manifests N] [--blobs N] [--repositories N]");
  const startedAt = performance.now();
  const made = makeStore(folder, {
    manifests: countOption("manifests", values.manifests),
    blobs: countOption("blobs", values.blobs),
    repositories: countOption("repositories", values.repositories),
  });
  console.log(`${folder}: ${values.manifests} manifests (${made.untaggedManifests} without a tag), ${values.blobs} blobs (${made.garbageBlobs} without a manifest), in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}

if (import.meta.main) main();
