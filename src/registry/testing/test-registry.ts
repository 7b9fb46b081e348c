import { type Digest, digestOf } from "../../oci/digest.ts";
import { type ErrorCode, RegistryError } from "../../oci/errors.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import { parseName, parseTag, type RepositoryName } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { openInMemoryDriver } from "../../storage/inmemory/driver.ts";
import type { LogFields, Logger } from "../../telemetry/log.ts";
import { type LocalRegistry, type LocalRegistryOptions, openLocalRegistry } from "../local-registry.ts";
import type { ManifestValidation } from "../manifest-rules.ts";
import type { BlobContent } from "../registry.ts";
import { bodyOf } from "./bodies.ts";
import { type Abilities, FaultyDriver } from "./faulty-driver.ts";
import { TestClock } from "./test-clock.ts";

/** The repository that most tests use. */
export const NAME: RepositoryName = parseName("team/app");

/** The defaults of distribution. */
export const STRICT: ManifestValidation = { enabled: true, urls: { allow: [], deny: [] }, indexes: { platforms: "all", platformList: [] }, sparseImages: false };

/** One line of the log. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** A registry in memory, with what tests want to see of it. */
export interface TestRegistry extends AsyncDisposable {
  readonly registry: LocalRegistry;
  readonly driver: FaultyDriver;
  readonly clock: TestClock;
  readonly log: readonly LogLine[];
  /** Another process on the same store. */
  another(): LocalRegistry;
}

/** Opens a registry for a test. @param abilities What its store can do besides. */
export function openTestRegistry(options: Partial<LocalRegistryOptions> = {}, abilities: Abilities = {}): TestRegistry {
  const driver = new FaultyDriver(options.driver ?? openInMemoryDriver(), abilities);
  const clock = new TestClock();
  const lines: LogLine[] = [];
  const opened: LocalRegistry[] = [];
  const another = (): LocalRegistry => {
    const registry = openLocalRegistry({
      log: collectingLogger(lines),
      clock,
      deleteEnabled: true,
      redirectEnabled: true,
      validation: STRICT,
      tagConcurrency: 8,
      hashThreads: 1,
      ...options,
      driver,
    });
    opened.push(registry);
    return registry;
  };
  return {
    registry: another(),
    driver,
    clock,
    log: lines,
    another,
    async [Symbol.asyncDispose]() {
      for (const registry of opened) await registry[Symbol.asyncDispose]();
    },
  };
}

/** Pushes a blob in one go. */
export async function pushBlob(registry: LocalRegistry, bytes: Uint8Array | string, name: RepositoryName = NAME): Promise<Digest> {
  const digest = digestOf(bytes);
  await registry.uploads.put(name, bodyOf(bytes), digest);
  return digest;
}

/** How an image is made. */
export interface ImageOptions {
  readonly name?: RepositoryName;
  readonly tags?: readonly string[];
  readonly subject?: Digest;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Pushes an image of a config and a layer. */
export async function pushImage(registry: LocalRegistry, seed: string, options: ImageOptions = {}): Promise<Digest> {
  const name = options.name ?? NAME;
  const config = await pushBlob(registry, `{"seed":"${seed}"}`, name);
  const layer = await pushBlob(registry, `layer of ${seed}`, name);
  return await pushManifest(registry, imageManifest({ config, layers: [layer], ...options }), { name, tags: options.tags ?? [] });
}

/** An OCI image manifest. */
export function imageManifest(parts: Omit<ImageOptions, "name" | "tags"> & { readonly config: Digest; readonly layers: readonly Digest[] }): object {
  return {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    ...(parts.artifactType === undefined ? {} : { artifactType: parts.artifactType }),
    config: { mediaType: MEDIA_TYPES.ociConfig, digest: parts.config, size: 2 },
    layers: parts.layers.map((digest) => ({ mediaType: MEDIA_TYPES.ociLayerGzip, digest, size: 2 })),
    ...(parts.subject === undefined ? {} : { subject: { mediaType: MEDIA_TYPES.ociManifest, digest: parts.subject, size: 2 } }),
    ...(parts.annotations === undefined ? {} : { annotations: parts.annotations }),
  };
}

/** Pushes a manifest. */
export async function pushManifest(registry: LocalRegistry, manifest: object | string, options: { readonly name?: RepositoryName; readonly tags?: readonly string[] } = {}): Promise<Digest> {
  const bytes = Buffer.from(typeof manifest === "string" ? manifest : JSON.stringify(manifest));
  const put = await registry.manifests.put(options.name ?? NAME, { bytes, contentType: undefined, digest: undefined, tags: (options.tags ?? []).map(parseTag) });
  return put.digest;
}

/** The bytes of an opened blob. */
export async function readContent(content: BlobContent): Promise<Uint8Array> {
  switch (content.kind) {
    case "bytes":
      return content.bytes;
    case "file":
      return await Bun.file(content.file).bytes();
    case "stream":
      return await new Response(await content.open(0, content.sizeBytes)).bytes();
    case "redirect":
      throw new Error("the blob is elsewhere");
  }
}

/** The bytes of a blob as a client gets them. */
export async function readBlob(registry: LocalRegistry, digest: Digest, name: RepositoryName = NAME): Promise<Uint8Array> {
  return await readContent(await registry.blobs.open(name, digest, { method: "GET" }));
}

/**
 * What a call throws; fails when it does not. In place of `expect(…).rejects`, which Bun waits for in a loop of its own, where no
 * message of a worker arrives.
 */
export async function thrownBy(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("the call did not fail");
}

/** The error that a call ends with; fails when it does not, or with something that is no RegistryError. */
export async function failureOf(call: Promise<unknown>): Promise<RegistryError> {
  const error = await thrownBy(call);
  if (error instanceof RegistryError) return error;
  throw error;
}

/** The code of the error that a call ends with. */
export async function codeOf(call: Promise<unknown>): Promise<ErrorCode> {
  return (await failureOf(call)).code;
}

/** Every file of a store, by path. */
export async function filesOf(driver: StorageDriver, folder = "/"): Promise<string[]> {
  const files: string[] = [];
  for (const entry of (await driver.list(folder)).entries) {
    const path = folder === "/" ? `/${entry.name}` : `${folder}/${entry.name}`;
    files.push(...(entry.isDirectory ? await filesOf(driver, path) : [path]));
  }
  return files;
}

function collectingLogger(lines: LogLine[]): Logger {
  const at = (level: string) => (message: string, fields: LogFields = {}) => void lines.push({ level, message, fields });
  const logger: Logger = { error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug"), isEnabled: () => true, child: () => logger };
  return logger;
}
