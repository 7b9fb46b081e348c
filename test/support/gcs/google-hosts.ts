import { connect, createServer } from "node:net";
import { join } from "node:path";
import { makeCertificate, writeCertificate } from "../certificates.ts";
import { type GcsServer, type GcsServerOptions, startGcsServer } from "../gcs-server.ts";
import { tempFolder } from "../temp-folder.ts";

const HOSTS = ["storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com", "accounts.google.com"];

/** A server that programs reach under the names of Google's. */
export interface GoogleHosts extends AsyncDisposable {
  readonly server: GcsServer;
  /** A key file, on disk. */
  readonly keyFile: string;
  /** The environment in which a program finds it: a proxy that leads all names to it, and the authority that its certificate is of. */
  readonly env: Readonly<Record<"HTTPS_PROXY" | "SSL_CERT_FILE" | "NODE_EXTRA_CA_CERTS", string>>;
  /** Names that were asked for. */
  readonly asked: ReadonlySet<string>;
}

/** Starts a server with TLS, and a proxy before it. */
export async function startGoogleHosts(options: GcsServerOptions = {}): Promise<GoogleHosts> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const certificate = await makeCertificate("Google's hosts", { isAuthority: true, alternativeNames: HOSTS.map((value) => ({ type: "dns", value }) as const) });
  const { certificateFile } = await writeCertificate(folder.path, "google", certificate);
  const server = cleanup.use(await startGcsServer({ ...options, tls: certificate }));
  const keyFile = join(folder.path, "key.json");
  await Bun.write(keyFile, JSON.stringify({ ...server.keyFile, token_uri: "https://oauth2.googleapis.com/token" }));
  const asked = new Set<string>();
  const proxy = cleanup.use(await startProxy(server.tlsPort ?? 0, asked));
  const owned = cleanup.move();
  return { server, keyFile, asked, env: { HTTPS_PROXY: proxy.url, SSL_CERT_FILE: certificateFile, NODE_EXTRA_CA_CERTS: certificateFile }, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** A proxy that knows CONNECT, and leads every name to one port. */
async function startProxy(port: number, asked: Set<string>): Promise<{ readonly url: string } & AsyncDisposable> {
  const proxy = createServer((client) => {
    client.on("error", () => undefined);
    client.once("data", (data) => {
      const [, host] = /^CONNECT ([^:]+):443 HTTP/.exec(data.toString("latin1")) ?? [];
      if (host === undefined || !HOSTS.includes(host)) return void client.end("HTTP/1.1 403 Forbidden\r\n\r\n");
      asked.add(host);
      const upstream = connect(port, "127.0.0.1", () => {
        client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        client.pipe(upstream).pipe(client);
      });
      upstream.on("error", () => client.destroy());
      client.on("close", () => upstream.destroy());
    });
  });
  await new Promise<void>((resolve) => void proxy.listen(0, "127.0.0.1", resolve));
  const address = proxy.address();
  return {
    url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => void proxy.close(() => resolve())),
  };
}
