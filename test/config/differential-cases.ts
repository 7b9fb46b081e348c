import { join } from "node:path";
import { digestOf } from "../support/http.ts";
import type { ConfigSection, RegistryProcess } from "../support/registry-process.ts";
import type { Asking } from "./observe.ts";

/** What cases find on this machine. */
export interface Place {
  /** An empty folder, for one server of one case. */
  readonly folder: string;
  /** A password file with the user alice, password `secret`. */
  readonly passwordFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** A registry that has an image. */
  readonly upstreamUrl: string;
}

/** A configuration that both servers are started with. */
export interface Case {
  readonly what: string;
  /** Nothing else is looked at: the answers change while they are asked for. */
  readonly onlyLook?: true;
  /** Merged over what tests start with. */
  readonly config?: (place: Place) => ConfigSection;
  readonly env?: (place: Place) => Readonly<Record<string, string>>;
  readonly asking?: (place: Place) => Asking;
  /** Further things to look at; what it gives is compared, too. */
  readonly look?: (registry: RegistryProcess, place: Place) => Promise<unknown>;
}

const alice = { headers: { authorization: `Basic ${btoa("alice:secret")}` } };

/** Whether each of these is in the output. */
const says = (...patterns: readonly RegExp[]) => async (registry: RegistryProcess): Promise<unknown> => {
  await Bun.sleep(100);
  return patterns.map((pattern) => [pattern.source, pattern.test(registry.child.output())]);
};

/** Status and text of a page. */
async function page(url: string): Promise<unknown> {
  const response = await fetch(url, { tls: { rejectUnauthorized: false } });
  return [response.status, (await response.text()).slice(0, 200)];
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!(await condition()) && Date.now() < deadline) await Bun.sleep(50);
}

/** Below the ports that the system hands out by itself, of which other servers get one at any moment. */
const [FIRST_PORT, PORTS] = [20_000, 10_000];
const debugPorts = new Map<string, number>();

/** The port of one server's debug listener; distribution does not say which one it got when it may choose. */
function debugPort(place: Place): number {
  let port = debugPorts.get(place.folder);
  while (port === undefined || (!debugPorts.has(place.folder) && isTaken(port))) port = FIRST_PORT + Math.floor(Math.random() * PORTS);
  debugPorts.set(place.folder, port);
  return port;
}

function isTaken(port: number): boolean {
  if ([...debugPorts.values()].includes(port)) return true;
  try {
    Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
    return false;
  } catch {
    // Whatever the reason is, another one is looked for.
    return true;
  }
}

/** What both accept. */
export const ACCEPTED: readonly Case[] = [
  { what: "what tests start with" },
  { what: "deletion off", config: () => ({ storage: { delete: undefined } }) },
  { what: "deletion on, as YAML 1.1 says yes", config: () => ({ storage: { delete: { enabled: "yes" } } }) },
  { what: "read-only", config: () => ({ storage: { maintenance: { uploadpurging: { enabled: false }, readonly: { enabled: true } } } }) },
  { what: "storage in memory", config: () => ({ storage: { filesystem: undefined, inmemory: {} } }) },
  { what: "no cache", config: () => ({ storage: { cache: undefined } }) },
  { what: "an old name of the cache", config: () => ({ storage: { cache: { blobdescriptor: undefined, layerinfo: "inmemory" } } }) },
  { what: "headers", config: () => ({ http: { headers: { "X-Foo": ["a", "b"], "X-Frame-Options": ["DENY"] } } }) },
  { what: "a prefix", config: () => ({ http: { prefix: "/my/registry/" } }), asking: () => ({ prefix: "/my/registry/" }) },
  { what: "relative URLs", config: () => ({ http: { relativeurls: true } }) },
  { what: "a host", config: () => ({ http: { host: "https://registry.example:9000" } }) },
  { what: "a host that is none", config: () => ({ http: { host: "registry.example:9000" } }) },
  { what: "a host, and relative URLs", config: () => ({ http: { host: "https://registry.example", relativeurls: true } }) },
  { what: "no secret", config: () => ({ http: { secret: undefined } }), look: says(/No HTTP secret provided - generated random secret/) },
  { what: "a socket", config: ({ folder }) => ({ http: { net: "unix", addr: join(folder, "socket") } }), asking: ({ folder }) => ({ unix: join(folder, "socket"), url: "http://localhost" }) },
  { what: "TLS", config: ({ certificateFile, keyFile }) => ({ http: { tls: { certificate: certificateFile, key: keyFile } } }), look: says(/listening on \S+, tls/) },
  { what: "TLS 1.3 alone", config: ({ certificateFile, keyFile }) => ({ http: { tls: { certificate: certificateFile, key: keyFile, minimumtls: "tls1.3" } } }) },
  { what: "auth silly", config: () => ({ auth: { silly: { realm: "the realm", service: "the service" } } }) },
  { what: "auth silly, with a header", config: () => ({ auth: { silly: { realm: "r", service: "s" } } }), asking: () => alice },
  { what: "a password file, nobody logged in", config: ({ passwordFile }) => ({ auth: { htpasswd: { realm: "the realm", path: passwordFile } } }) },
  { what: "a password file, alice logged in", config: ({ passwordFile }) => ({ auth: { htpasswd: { realm: "r", path: passwordFile } } }), asking: () => alice },
  { what: "pages of the catalog", config: () => ({ catalog: { maxentries: 2 } }) },
  { what: "validation off", config: () => ({ validation: { disabled: true } }) },
  { what: "layers elsewhere", config: () => ({ validation: { manifests: { urls: { allow: ["^https://layers\\."] } } } }) },
  { what: "layers elsewhere, but not there", config: () => ({ validation: { manifests: { urls: { allow: [".*"], deny: ["layers"] } } } }) },
  { what: "no access log", config: () => ({ log: { accesslog: { disabled: true } } }), look: says(/"GET \/v2\/ HTTP\/1.1" 200/) },
  { what: "a log in JSON, with fields", config: () => ({ log: { formatter: "json", fields: { service: "mine" } } }), look: says(/"GET \/v2\/ HTTP\/1.1" 200/, /^\{.*"service":"mine".*\}$/m, /^\{.*"level":"info".*\}$/m, /"msg":"listening on/) },
  { what: "a log for debugging, by its old name", config: () => ({ log: { level: undefined }, loglevel: "debug" }), look: says(/level=debug/) },
  { what: "keys that nobody knows", config: () => ({ http: { adr: "x" }, nothing: { at: "all" } }) },
  {
    what: "metrics",
    config: (place) => ({ http: { debug: { addr: `127.0.0.1:${debugPort(place)}`, prometheus: { enabled: true, path: "/my/metrics" } } } }),
    async look(_registry, place) {
      const url = `http://127.0.0.1:${debugPort(place)}`;
      const metrics = await (await fetch(`${url}/my/metrics`)).text();
      const names = ["registry_http_requests_total", "registry_http_request_duration_seconds_bucket", "registry_http_in_flight_requests", "registry_http_request_size_bytes_count", "registry_http_response_size_bytes_count", "registry_storage_action_seconds_count", "process_resident_memory_bytes"];
      return [await page(`${url}/debug/health`), (await fetch(`${url}/metrics`)).status, (await fetch(`${url}/debug/vars`)).status, names.map((name) => [name, metrics.includes(`\n${name}`)])];
    },
  },
  {
    what: "a file that says that it is unhealthy",
    config: (place) => ({ http: { debug: { addr: `127.0.0.1:${debugPort(place)}` } }, health: { file: [{ file: join(place.folder, "down"), interval: "50ms" }] } }),
    async look(registry, place) {
      const url = `http://127.0.0.1:${debugPort(place)}/debug/health`;
      await Bun.write(join(place.folder, "down"), "");
      await until(async () => (await fetch(url)).status === 503);
      const api = await fetch(`${registry.url}/v2/`);
      return [String(await page(url)).replace(place.folder, "FOLDER"), api.status, /"code":"(\w+)"/.exec(await api.text())?.[1]];
    },
  },
  {
    what: "a service that is down",
    onlyLook: true,
    config: (place) => ({ http: { debug: { addr: `127.0.0.1:${debugPort(place)}` } }, health: { tcp: [{ addr: "127.0.0.1:1", interval: "50ms", timeout: "1s", threshold: 2 }], http: [{ uri: "http://127.0.0.1:1/x", interval: "50ms", timeout: "1s", threshold: 2 }] } }),
    async look(registry, place) {
      const url = `http://127.0.0.1:${debugPort(place)}/debug/health`;
      await until(async () => Object.keys((await (await fetch(url)).json()) as object).length === 2);
      return [Object.keys((await (await fetch(url)).json()) as object).sort(), (await fetch(`${registry.url}/v2/`)).status];
    },
  },
  {
    what: "a mirror",
    config: ({ upstreamUrl }) => ({ proxy: { remoteurl: upstreamUrl } }),
    async look(registry) {
      const manifest = await fetch(`${registry.url}/v2/team/app/manifests/v1`, { headers: { accept: "application/vnd.docker.distribution.manifest.v2+json" } });
      return [manifest.status, digestOf(await manifest.bytes()), await page(`${registry.url}/v2/team/app/tags/list`)];
    },
  },

  { what: "the variable of an address", config: () => ({ http: { addr: "127.0.0.1:1" } }), env: () => ({ REGISTRY_HTTP_ADDR: "127.0.0.1:0" }) },
  { what: "the variable of all headers", config: () => ({ http: { headers: { "X-Frame-Options": ["DENY"] } } }), env: () => ({ REGISTRY_HTTP_HEADERS: "{X-Foo: [bar]}" }) },
  { what: "the variable of one header", config: () => ({ http: { headers: { "X-Frame-Options": ["DENY"] } } }), env: () => ({ "REGISTRY_HTTP_HEADERS_X-Foo": "[bar]" }) },
  { what: "the variable of another driver, which takes deletion with it", env: () => ({ REGISTRY_STORAGE: "inmemory" }) },
  { what: "the variable of a driver's key", config: () => ({ storage: { filesystem: undefined } }), env: ({ folder }) => ({ REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: join(folder, "elsewhere") }), look: async (_registry, { folder }) => [...new Bun.Glob("docker/registry/v2/repositories/*").scanSync({ cwd: join(folder, "elsewhere"), onlyFiles: false })].sort() },
  { what: "the variable of storage in one piece", env: ({ folder }) => ({ REGISTRY_STORAGE: `{filesystem: {rootdirectory: ${folder}/inline}, delete: {enabled: true}}` }) },
  { what: "the variable of deletion", config: () => ({ storage: { delete: undefined } }), env: () => ({ REGISTRY_STORAGE_DELETE_ENABLED: "true" }) },
  { what: "the variable of reading only", env: () => ({ REGISTRY_STORAGE_MAINTENANCE_READONLY: '{"enabled":true}', REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING: '{"enabled":false}' }) },
  { what: "the variables of a password file", env: ({ passwordFile }) => ({ REGISTRY_AUTH: "htpasswd", REGISTRY_AUTH_HTPASSWD_REALM: "by variables", REGISTRY_AUTH_HTPASSWD_PATH: passwordFile }) },
  { what: "the variables of auth silly alone", env: () => ({ REGISTRY_AUTH_SILLY_REALM: "r", REGISTRY_AUTH_SILLY_SERVICE: "s" }) },
  { what: "the variable of a prefix", env: () => ({ REGISTRY_HTTP_PREFIX: "/p/" }), asking: () => ({ prefix: "/p/" }) },
  { what: "the variable of relative URLs", env: () => ({ REGISTRY_HTTP_RELATIVEURLS: "true" }) },
  { what: "the variable of a host", env: () => ({ REGISTRY_HTTP_HOST: "https://by.variable" }) },
  { what: "the variable of a secret that is empty", env: () => ({ REGISTRY_HTTP_SECRET: "" }), look: says(/No HTTP secret provided/) },
  { what: "the variable of the level", env: () => ({ REGISTRY_LOG_LEVEL: "debug" }), look: says(/level=debug/) },
  { what: "the variable of the catalog", env: () => ({ REGISTRY_CATALOG_MAXENTRIES: "1" }) },
  { what: "the variable of validation", env: () => ({ REGISTRY_VALIDATION_DISABLED: "true" }) },
  { what: "the variable of the version, which changes nothing", env: () => ({ REGISTRY_VERSION: "0.2" }) },
  { what: "a variable that nobody knows, and one in small letters", env: () => ({ REGISTRY_HTTP_FOO: "x", registry_http_prefix: "/p/" }) },
];

/** What is refused at the start. */
export const REFUSED: readonly (Pick<Case, "what" | "config" | "env"> & { /** In place of the file. */ readonly text?: string })[] = [
  { what: "no storage", config: () => ({ storage: undefined }) },
  { what: "two drivers", config: () => ({ storage: { filesystem: {}, inmemory: {} } }) },
  { what: "a driver that nobody knows", config: () => ({ storage: { floppy: {} } }) },
  { what: "a version that there is none of", config: () => ({ version: "0.2" }) },
  { what: "no version", config: () => ({ version: undefined }) },
  { what: "a level that is none", config: () => ({ log: { level: "loud" } }) },
  { what: "a formatter that is none", config: () => ({ log: { formatter: "xml" } }) },
  { what: "a kind of auth that nobody knows", config: () => ({ auth: { ldap: {} } }) },
  { what: "two kinds of auth", config: ({ passwordFile }) => ({ auth: { silly: { realm: "r", service: "s" }, htpasswd: { realm: "r", path: passwordFile } } }) },
  { what: "a password file without a realm", config: ({ passwordFile }) => ({ auth: { htpasswd: { path: passwordFile } } }) },
  { what: "a net that is none", config: () => ({ http: { net: "udp", addr: "127.0.0.1:0" } }) },
  { what: "a certificate that is not there", config: () => ({ http: { addr: "127.0.0.1:0", tls: { certificate: "/nowhere.pem", key: "/nowhere.key" } } }) },
  { what: "authorities that are none", config: ({ certificateFile, keyFile }) => ({ http: { addr: "127.0.0.1:0", tls: { certificate: certificateFile, key: keyFile, clientcas: [keyFile] } } }) },
  { what: "a TLS version that is none", config: ({ certificateFile, keyFile }) => ({ http: { addr: "127.0.0.1:0", tls: { certificate: certificateFile, key: keyFile, minimumtls: "ssl3" } } }) },
  { what: "a pattern that is none", config: () => ({ validation: { manifests: { urls: { allow: ["("] } } } }) },
  { what: "a middleware that nobody knows", config: () => ({ middleware: { storage: [{ name: "magic" }] } }) },
  { what: "a cache in Redis, without Redis", config: () => ({ storage: { inmemory: {}, cache: { blobdescriptor: "redis" } } }) },
  { what: "text that is not YAML", text: "version: 0.1\nstorage: {\n" },
  { what: "a duration that is none, by variable", env: () => ({ REGISTRY_HTTP_DRAINTIMEOUT: "soon" }) },
  { what: "a second driver, by variable", config: () => ({ storage: { inmemory: {} } }), env: () => ({ REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: "/x" }) },
];

/** Where ours differs on purpose: by the case and the name of what is seen. */
export interface ConfigDifference {
  readonly what: string;
  readonly seen: string;
  readonly reason: string;
}

/** Nothing else may differ. */
export const DIFFERENCES: readonly ConfigDifference[] = [
  ...["headers", "the variable of all headers", "the variable of one header"].map((what) => ({ what, seen: "root", reason: "configured headers are on every answer; distribution leaves those out that no route made" })),
];
