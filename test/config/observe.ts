import { readdirSync } from "node:fs";
import { join } from "node:path";
import { digestOf, TYPES } from "../support/http.ts";
import type { RegistryProcess } from "../support/registry-process.ts";

/** How a registry is to be asked. */
export interface Asking {
  /** Before `v2/`; default a slash. */
  readonly prefix?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The path of a socket, in place of the port. */
  readonly unix?: string;
  /** In place of the registry's own URL. */
  readonly url?: string;
}

/** What is seen of a registry from outside, without what differs from run to run. */
export type Observation = Readonly<Record<string, unknown>>;

/** Headers that say something about the configuration. What else differs in answers is looked at in test/differential. */
const HEADERS = ["docker-distribution-api-version", "www-authenticate", "location", "link", "allow", "x-foo", "x-frame-options", "access-control-allow-origin"];
const CONFIG = "{}";
const MANIFEST = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.dockerManifest, config: { mediaType: TYPES.dockerConfig, digest: digestOf(CONFIG), size: CONFIG.length }, layers: [] });

/** Pushes an image into three repositories, lists, pulls, deletes; notes every answer, and the files that came of it. */
export async function observe(registry: RegistryProcess, asking: Asking = {}): Promise<Observation> {
  const ask = async (method: string, path: string, init: { readonly body?: string; readonly type?: string; readonly accept?: string } = {}): Promise<Response> => {
    const headers = { ...asking.headers, ...(init.type === undefined ? {} : { "content-type": init.type }), accept: init.accept ?? "*/*" };
    const url = /^https?:/.test(path) ? path : `${asking.url ?? registry.url}${path.startsWith("/") ? path : `${asking.prefix ?? "/"}${path}`}`;
    return await fetch(url, { method, headers, redirect: "manual", tls: { rejectUnauthorized: false }, ...(asking.unix === undefined ? {} : { unix: asking.unix }), ...(init.body === undefined ? {} : { body: init.body }) });
  };
  const seen: Record<string, unknown> = {};
  const note = async (name: string, response: Response): Promise<Response> => {
    seen[name] = await describe(response, registry);
    return response;
  };
  await note("base", await ask("GET", "v2/"));
  await note("root", await ask("GET", "/"));
  for (const name of ["a", "b/c", "d"]) {
    const begun = await note(`begin ${name}`, await ask("POST", `v2/${name}/blobs/uploads/`));
    const location = begun.headers.get("location");
    if (location === null) continue;
    // Where a configured host is written into it, the path leads here all the same.
    const { pathname, search } = new URL(location, asking.url ?? registry.url);
    const target = `${asking.url ?? registry.url}${pathname.slice(pathname.indexOf("/v2/")).replace(/^\//, asking.prefix ?? "/")}${search}${search === "" ? "?" : "&"}digest=${digestOf(CONFIG)}`;
    await note(`blob ${name}`, await ask("PUT", target, { body: CONFIG, type: "application/octet-stream" }));
    await note(`manifest ${name}`, await ask("PUT", `v2/${name}/manifests/v1`, { body: MANIFEST, type: TYPES.dockerManifest }));
  }
  await note("pull", await ask("GET", "v2/a/manifests/v1", { accept: TYPES.dockerManifest }));
  await note("blob", await ask("HEAD", `v2/a/blobs/${digestOf(CONFIG)}`));
  await note("tags", await ask("GET", "v2/a/tags/list"));
  await note("catalog", await ask("GET", "v2/_catalog"));
  seen["foreign"] = (await ask("PUT", "v2/a/manifests/foreign", { body: foreignManifest(), type: TYPES.dockerManifest })).ok;
  await note("delete", await ask("DELETE", `v2/d/manifests/${digestOf(MANIFEST)}`));
  await note("unknown", await ask("GET", "v2/a/manifests/none"));
  seen["files"] = filesBelow(registry.storageFolder);
  return seen;
}

function foreignManifest(): string {
  const layer = { mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digest: digestOf("elsewhere"), size: 5, urls: ["https://layers.example/1"] };
  return JSON.stringify({ ...(JSON.parse(MANIFEST) as object), layers: [layer] });
}

async function describe(response: Response, registry: RegistryProcess): Promise<string> {
  const text = await response.text();
  const headers = HEADERS.flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [`${name}: ${value}`];
  });
  // Distribution has no body for some of these.
  const codes = response.status === 405 ? [] : [...text.matchAll(/"code":"([A-Z_]+)"/g)].map(([, code]) => code);
  const content = codes.length > 0 ? codes.join() : /^\{"(repositories|name)"/.test(text) ? text.trim() : "";
  return [response.status, ...headers, content]
    .join(" | ")
    .replaceAll(registry.host, "HOST")
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UUID")
    .replaceAll(/_state=[^&\s"|]+/g, "_state=STATE");
}

/** The folders and files that say where things are kept. */
function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => /(_manifests\/tags\/[^/]+|blobs\/sha256\/..\/[0-9a-f]{64})$/.test(path))
    .map((path) => join("/", path))
    .sort();
}
