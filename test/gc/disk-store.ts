import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { type CommandResult, tryCommand } from "../support/command.ts";
import { digestOf, TYPES } from "../support/http.ts";
import { type ConfigSection, HTTP_SECRET, type Implementation, registryCommand } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** A descriptor, as manifests hold it. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** An image that was written to disk. */
export interface DiskImage {
  readonly digest: string;
  readonly descriptor: Descriptor;
  readonly config: string;
  readonly layer: string;
  /** Manifest, config and layer. */
  readonly all: readonly string[];
}

/** How an image is to be written. */
export interface DiskImageOptions {
  readonly tag?: string;
  /** Fields of the manifest beside config and layers. */
  readonly extra?: { readonly [key: string]: unknown };
  /** A layer that others have, too. */
  readonly layer?: string;
}

/** A store on disk, written as distribution writes it, without a registry: also such as no registry would write. */
export class DiskStore implements AsyncDisposable {
  /** The driver's root directory. */
  readonly folder: string;
  readonly #dispose: () => PromiseLike<void>;

  private constructor(folder: string, dispose: () => PromiseLike<void>) {
    this.folder = folder;
    this.#dispose = dispose;
  }

  static async make(): Promise<DiskStore> {
    const folder = await tempFolder();
    const store = new DiskStore(join(folder.path, "storage"), async () => await folder[Symbol.asyncDispose]());
    mkdirSync(store.folder);
    return store;
  }

  /** A path below `docker/registry/v2`, on this host. */
  path(path: string): string {
    return join(this.folder, "docker/registry/v2", path);
  }

  write(path: string, content: string | Uint8Array): void {
    mkdirSync(dirname(this.path(path)), { recursive: true });
    writeFileSync(this.path(path), content);
  }

  makeFolder(path: string): void {
    mkdirSync(this.path(path), { recursive: true });
  }

  remove(path: string): void {
    rmSync(this.path(path), { recursive: true });
  }

  has(path: string): boolean {
    return existsSync(this.path(path));
  }

  /** Makes a file or folder, and all that is in it, as old as that. */
  age(path: string, days: number): void {
    const then = Date.now() / 1000 - days * 86_400;
    const entries = statSync(this.path(path)).isDirectory() ? readdirSync(this.path(path)) : [];
    for (const name of entries) this.age(join(path, name), days);
    utimesSync(this.path(path), then, then);
  }

  /** Stores bytes without a link. @returns Their digest. */
  bytes(content: string): string {
    const digest = digestOf(content);
    this.write(blobPath(digest), content);
    return digest;
  }

  hasBytes(digest: string): boolean {
    return this.has(blobPath(digest));
  }

  /** Stores a blob and links it. */
  blob(name: string, content: string): string {
    const digest = this.bytes(content);
    this.write(layerPath(name, digest), digest);
    return digest;
  }

  /** Stores a manifest and links it, under a tag or not. */
  manifest(name: string, manifest: object, tag?: string): Descriptor {
    const text = JSON.stringify({ schemaVersion: 2, ...manifest });
    const digest = this.bytes(text);
    this.write(revisionPath(name, digest), digest);
    if (tag !== undefined) this.tag(name, tag, digest);
    return { mediaType: "mediaType" in manifest ? String(manifest.mediaType) : TYPES.ociManifest, digest, size: text.length };
  }

  tag(name: string, tag: string, digest: string): void {
    this.write(`repositories/${name}/_manifests/tags/${tag}/index/${hexPath(digest)}/link`, digest);
    this.write(tagPath(name, tag), digest);
  }

  image(name: string, seed: string, options: DiskImageOptions = {}): DiskImage {
    const config = this.blob(name, `config ${seed}`);
    const layer = options.layer ?? this.blob(name, `layer ${seed}`);
    const descriptor = this.manifest(
      name,
      {
        mediaType: TYPES.ociManifest,
        config: { mediaType: TYPES.ociConfig, digest: config, size: `config ${seed}`.length },
        layers: [{ mediaType: TYPES.ociLayer, digest: layer, size: readFileSync(this.path(blobPath(layer))).length }],
        ...options.extra,
      },
      options.tag,
    );
    return { digest: descriptor.digest, descriptor, config, layer, all: [descriptor.digest, config, layer] };
  }

  index(name: string, manifests: readonly Descriptor[], tag?: string): Descriptor {
    return this.manifest(name, { mediaType: TYPES.ociIndex, manifests }, tag);
  }

  /** Every file below `docker`, and every folder with nothing in it (a slash at its end), in order. */
  entries(): string[] {
    return entriesBelow(join(this.folder, "docker")).sort();
  }

  /** Writes a configuration file. */
  config(sections: ConfigSection = {}, storage: ConfigSection = {}): string {
    const file = join(dirname(this.folder), `config-${Bun.randomUUIDv7()}.yml`);
    const config = {
      version: 0.1,
      log: { level: "info" },
      storage: { filesystem: { rootdirectory: this.folder }, delete: { enabled: true }, ...storage },
      http: { addr: "127.0.0.1:0", secret: HTTP_SECRET },
      ...sections,
    };
    writeFileSync(file, stringify(config));
    return file;
  }

  /** Runs a command on the store. */
  async run(words: readonly string[], options: { readonly implementation?: Implementation; readonly config?: string } = {}): Promise<CommandResult> {
    return await tryCommand([...registryCommand(options.implementation), ...words, options.config ?? this.config()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispose();
  }
}

/** `sha256/<hex>` of a digest. */
export function hexPath(digest: string): string {
  return digest.replace(":", "/");
}

export function blobPath(digest: string): string {
  const [algorithm = "", hex = ""] = digest.split(":");
  return `blobs/${algorithm}/${hex.slice(0, 2)}/${hex}/data`;
}

export function layerPath(name: string, digest: string): string {
  return `repositories/${name}/_layers/${hexPath(digest)}/link`;
}

export function revisionPath(name: string, digest: string): string {
  return `repositories/${name}/_manifests/revisions/${hexPath(digest)}/link`;
}

export function tagPath(name: string, tag: string): string {
  return `repositories/${name}/_manifests/tags/${tag}/current/link`;
}

function entriesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const children = readdirSync(folder, { withFileTypes: true });
  if (children.length === 0) return [`${folder}/`];
  return children.flatMap((child) => (child.isDirectory() ? entriesBelow(join(folder, child.name)) : [join(folder, child.name)]));
}

/** What a collector wrote, by the lines that tools look for. */
export interface CollectorOutput {
  readonly marked: ReadonlySet<string>;
  readonly eligibleBlobs: ReadonlySet<string>;
  readonly eligibleManifests: ReadonlySet<string>;
  /** The line of counts. */
  readonly counts: { readonly marked: number; readonly blobs: number; readonly manifests: number };
}

/** Reads the output of either implementation the way tools do. */
export function parseOutput(stdout: string): CollectorOutput {
  const lines = stdout.split("\n");
  const digests = (pattern: RegExp): Set<string> => new Set(lines.map((line) => pattern.exec(line)?.[1]).filter((digest) => digest !== undefined));
  const counts = lines.map((line) => /^(\d+) blobs marked, (\d+) blobs and (\d+) manifests eligible for deletion$/.exec(line)).find((match) => match !== null);
  if (counts === undefined || counts === null) throw new Error(`no line of counts in:\n${stdout}`);
  const [, marked = "", blobs = "", manifests = ""] = counts;
  return {
    marked: digests(/: marking (?:manifest|blob) (sha\d+:[0-9a-f]+) ?$/),
    eligibleBlobs: digests(/^blob eligible for deletion: (sha\d+:[0-9a-f]+)$/),
    eligibleManifests: digests(/^manifest eligible for deletion: (?:\{\S+ )?(sha\d+:[0-9a-f]+)/),
    counts: { marked: Number(marked), blobs: Number(blobs), manifests: Number(manifests) },
  };
}
