import { join } from "node:path";
import { startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { tempFolder } from "./temp-folder.ts";

/** One address in front of several servers. */
export interface Balancer extends AsyncDisposable {
  /** For instance `http://127.0.0.1:41234`. */
  readonly url: string;
  readonly host: string;
}

/**
 * Starts nginx, which gives every request to the next of the servers in turn, and a request that one does not take to the one after.
 * @param hosts The servers, like `127.0.0.1:5000`.
 */
export async function startBalancer(hosts: readonly string[]): Promise<Balancer> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder()).path;
  const port = freePort();
  const lines = [
    "daemon off; worker_processes 1; error_log stderr crit;",
    ...(process.getuid?.() === 0 ? ["user root;"] : []),
    `pid ${join(folder, "nginx.pid")};`,
    "events { worker_connections 1024; }",
    "http {",
    "  access_log off; client_max_body_size 0; proxy_request_buffering off; proxy_buffering off; proxy_http_version 1.1;",
    ...["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `  ${kind}_temp_path ${join(folder, kind)};`),
    `  upstream registries { ${hosts.map((host) => `server ${host};`).join(" ")} }`,
    `  server { listen 127.0.0.1:${port}; location / { proxy_pass http://registries; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme; } }`,
    "}",
  ];
  await Bun.write(join(folder, "nginx.conf"), lines.join("\n"));
  const child = cleanup.use(startChild(["nginx", "-c", join(folder, "nginx.conf"), "-p", folder]));
  const host = `127.0.0.1:${port}`;
  await untilAnswered(`http://${host}/v2/`, () => child.output());
  const owned = cleanup.move();
  return { url: `http://${host}`, host, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function untilAnswered(url: string, output: () => string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while ((await fetch(url).catch(() => undefined)) === undefined) {
    if (Date.now() > deadline) throw new Error(`nginx did not come up:\n${output()}`);
    await Bun.sleep(50);
  }
}
