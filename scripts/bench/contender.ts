import { closeSync, openSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { stringify } from "yaml";
import type { LoginSetup } from "./logins.ts";
import { cpuSeconds, memoryMiB, resetPeakMemory } from "./process-stats.ts";

/** A server that takes part: ours, another registry, or nginx as the limit. */
export interface Contender {
  readonly name: string;
  /** Whether it speaks the registry API, or only sends files. */
  readonly isRegistry: boolean;
  start(options: StartOptions): Promise<Server>;
}

/** What a server is started on. */
export interface StartOptions {
  /** The storage folder. */
  readonly folder: string;
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** `auth` in the configuration. */
  readonly auth?: LoginSetup["auth"];
  /** The registry that a registry mirrors. */
  readonly mirrorOf?: string;
  /** Bytes a second that nginx sends to each connection, as in its `limit_rate`. */
  readonly bytesPerSecond?: number;
}

/** A running server; what is measured of several processes is their sum. */
export interface Server extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** From the start of the process to its first answer. */
  readonly startupMs: number;
  cpuSeconds(): number;
  memoryMiB(what: "VmRSS" | "VmHWM"): number;
  /** Lets `VmHWM` begin anew. */
  resetPeakMemory(): void;
}

/** How long a server may take to answer for the first time. */
const START_LIMIT_MS = 20_000;
/** How much later than the first one the others of several processes may be. */
const SETTLE_MS = 500;

/**
 * A registry that takes `serve config.yml`. Its log, access lines included, goes to a file, as in production.
 * @param processes So many of them on one port and one folder; only ours can do it.
 */
export function registryContender(name: string, command: string, processes = 1): Contender {
  return {
    name,
    isRegistry: true,
    async start({ folder, tls, auth, mirrorOf }) {
      await mkdir(join(folder, "data"), { recursive: true });
      const port = await freePort();
      const config = {
        version: 0.1,
        log: { level: "info", accesslog: { disabled: false } },
        storage: { filesystem: { rootdirectory: join(folder, "data") }, delete: { enabled: true }, cache: { blobdescriptor: "inmemory" }, maintenance: { uploadpurging: { enabled: false } } },
        http: { addr: `127.0.0.1:${port}`, secret: "a secret of the benchmark", ...(processes === 1 ? {} : { reuseport: true }), ...(tls === undefined ? {} : { tls }) },
        // Distribution serves 1000 entries at most unless told; both are asked for whole pages.
        catalog: { maxentries: 100_000 },
        ...(auth === undefined ? {} : { auth }),
        ...(mirrorOf === undefined ? {} : { proxy: { remoteurl: mirrorOf } }),
      };
      await Bun.write(join(folder, "config.yml"), stringify(config));
      return await launch([command, "serve", join(folder, "config.yml")], { folder, port, scheme: tls === undefined ? "http" : "https", processes });
    },
  };
}

/** nginx with sendfile, serving the files of `folder/files`. */
export function nginxContender(): Contender {
  return {
    name: "nginx",
    isRegistry: false,
    async start({ folder, bytesPerSecond = 0 }) {
      const port = await freePort();
      const lines = [
        "daemon off; user root; worker_processes auto; error_log stderr crit;",
        `pid ${join(folder, "nginx.pid")};`,
        "events { worker_connections 4096; }",
        "http {",
        "  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type application/octet-stream;",
        ...["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `  ${kind}_temp_path ${join(folder, `nginx-${kind}`)};`),
        `  server { listen 127.0.0.1:${port}; root ${join(folder, "files")}; limit_rate ${bytesPerSecond}; }`,
        "}",
      ];
      await Bun.write(join(folder, "nginx.conf"), lines.join("\n"));
      return await launch(["nginx", "-c", join(folder, "nginx.conf"), "-p", folder], { folder, port, scheme: "http" });
    },
  };
}

/** A folder for one server; gone when disposed of. */
export async function benchFolder(parent: string): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(parent, "registry-bench-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

interface LaunchOptions {
  readonly folder: string;
  readonly port: number;
  readonly scheme: "http" | "https";
  readonly processes?: number;
}

async function launch(command: readonly string[], { folder, port, scheme, processes = 1 }: LaunchOptions): Promise<Server> {
  const log = openSync(join(folder, "server.log"), "a");
  const started = performance.now();
  const children = Array.from({ length: processes }, () => Bun.spawn([...command], { env: { PATH: process.env["PATH"] ?? "", HOME: folder, OTEL_TRACES_EXPORTER: "none" }, stdin: "ignore", stdout: log, stderr: log }));
  closeSync(log);
  try {
    await firstAnswer(port, () => children.some((child) => child.exitCode !== null));
  } catch (error) {
    for (const child of children) child.kill("SIGKILL");
    throw new Error(`${command.join(" ")}: ${error instanceof Error ? error.message : String(error)}\n${await Bun.file(join(folder, "server.log")).text()}`);
  }
  const startupMs = performance.now() - started;
  // One that is a little later would get no connections of a client that makes them all at once.
  if (processes > 1) await Bun.sleep(SETTLE_MS);
  const sum = (measure: (pid: number) => number): number => children.reduce((total, { pid }) => total + measure(pid), 0);
  return {
    port,
    url: `${scheme}://127.0.0.1:${port}`,
    startupMs,
    cpuSeconds: () => sum(cpuSeconds),
    memoryMiB: (what) => sum((pid) => memoryMiB(pid, what)),
    resetPeakMemory: () => children.forEach(({ pid }) => resetPeakMemory(pid)),
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGTERM");
      const timer = setTimeout(() => children.forEach((child) => child.kill("SIGKILL")), 5000);
      await Promise.all(children.map(async (child) => await child.exited));
      clearTimeout(timer);
    },
  };
}

/** Knocks every millisecond until an answer comes; under TLS, until the port is open. */
async function firstAnswer(port: number, hasEnded: () => boolean): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  while (!(await knock(port))) {
    if (hasEnded()) throw new Error("it ended before it answered");
    if (performance.now() > deadline) throw new Error(`no answer after ${START_LIMIT_MS} ms`);
    await Bun.sleep(1);
  }
}

function knock(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => socket.write("GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    socket.once("data", () => {
      resolve(true);
      socket.destroy();
    });
    socket.once("error", () => resolve(false));
    // A TLS server closes on plain text: that is an answer too.
    socket.once("close", (hadError) => resolve(!hadError));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
