import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { type Child, startChild } from "./child.ts";
import { tempFolder } from "./temp-folder.ts";

const ROOT = join(import.meta.dir, "../..");

/** Which program is to serve: ours from its executable or from source, or Debian's `docker-registry` (distribution 2.8). */
export type Implementation = "binary" | "source" | "distribution";

/** A part of a configuration file. */
export type ConfigSection = { readonly [key: string]: unknown };

/** What to start. */
export interface StartOptions {
  /** Default: the executable that `npm test` built, else from source; REGISTRY_TEST_IMPLEMENTATION overrides it. */
  readonly implementation?: Implementation;
  /** Merged, section by section, over `DEFAULT_CONFIG`; a section given as `undefined` is left out. */
  readonly config?: ConfigSection;
  /** Where blobs are kept; default a folder that goes away with the process. */
  readonly storageFolder?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A registry in a process of its own, listening on loopback. */
export interface RegistryProcess extends AsyncDisposable {
  /** For instance `http://127.0.0.1:41234`. */
  readonly url: string;
  /** For instance `127.0.0.1:41234`. */
  readonly host: string;
  readonly port: number;
  readonly implementation: Implementation;
  /** The folder that the filesystem driver stores under. */
  readonly storageFolder: string;
  readonly configFile: string;
  readonly child: Child;
}

/** The secret that upload tokens are signed with in every registry that these tests start. */
export const HTTP_SECRET = "a secret of the tests";

/** What `startRegistry` uses unless told otherwise. */
export function defaultConfig(storageFolder: string): ConfigSection {
  return {
    version: 0.1,
    log: { level: "info" },
    storage: { filesystem: { rootdirectory: storageFolder }, delete: { enabled: true }, cache: { blobdescriptor: "inmemory" } },
    http: { addr: "127.0.0.1:0", secret: HTTP_SECRET },
  };
}

/**
 * Starts a registry and waits until it listens.
 * @throws Error with its output when it does not come up.
 */
export async function startRegistry(options: StartOptions = {}): Promise<RegistryProcess> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const storageFolder = options.storageFolder ?? join(folder.path, "storage");
  await mkdir(storageFolder, { recursive: true });
  const config = merge(defaultConfig(storageFolder), options.config ?? {});
  const configFile = join(folder.path, "config.yml");
  await Bun.write(configFile, stringify(config));

  const implementation = options.implementation ?? defaultImplementation();
  const child = cleanup.use(startChild([...registryCommand(implementation), "serve", configFile], options.env));
  const [, address = ""] = await child.waitForOutput(/listening on ([^\s",]+)/);
  const port = Number(address.slice(address.lastIndexOf(":") + 1));
  const host = `127.0.0.1:${port}`;
  const owned = cleanup.move();
  return {
    url: `${hasTls(config) ? "https" : "http"}://${host}`,
    host,
    port,
    implementation,
    storageFolder,
    configFile,
    child,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The words before `serve`, `garbage-collect` and so on. */
export function registryCommand(implementation: Implementation = defaultImplementation()): string[] {
  switch (implementation) {
    case "binary":
      return [process.env["REGISTRY_TEST_BINARY"] ?? join(ROOT, "dist/registry")];
    case "source":
      return [process.execPath, "--max-http-header-size=131072", join(ROOT, "src/main.ts")];
    case "distribution":
      return ["docker-registry"];
  }
}

function defaultImplementation(): Implementation {
  const wanted = process.env["REGISTRY_TEST_IMPLEMENTATION"];
  if (wanted === "binary" || wanted === "source" || wanted === "distribution") return wanted;
  if (wanted !== undefined) throw new Error(`REGISTRY_TEST_IMPLEMENTATION: found "${wanted}", expected binary, source or distribution`);
  return existsSync(process.env["REGISTRY_TEST_BINARY"] ?? "") ? "binary" : "source";
}

function hasTls(config: ConfigSection): boolean {
  return isSection(config["http"]) && config["http"]["tls"] !== undefined;
}

function merge(base: ConfigSection, over: ConfigSection): ConfigSection {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    if (value === undefined) delete merged[key];
    else merged[key] = isSection(below) && isSection(value) ? merge(below, value) : value;
  }
  return merged;
}

function isSection(value: unknown): value is ConfigSection {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
