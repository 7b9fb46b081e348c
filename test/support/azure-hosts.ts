import { type Azurite, startAzurite } from "./azurite.ts";
import { makeCertificate, writeCertificate } from "./certificates.ts";
import { startConnectProxy } from "./connect-proxy.ts";
import { tempFolder } from "./temp-folder.ts";

const ACCOUNT = { name: "registryaccount", key: Buffer.from("the key of the account of the tests").toString("base64") };
const HOST = `${ACCOUNT.name}.blob.core.windows.net`;

/** An Azurite that programs reach under the name of Microsoft's. */
export interface AzureHosts extends AsyncDisposable {
  readonly azurite: Azurite;
  /** `storage.azure` of a configuration for a container, as both kinds of distribution know it. */
  section(container: string): Record<string, unknown>;
  /** The environment in which a program finds it: a proxy that leads its name to it, and the authority that its certificate is of. */
  readonly env: Readonly<Record<"HTTPS_PROXY" | "SSL_CERT_FILE" | "NODE_EXTRA_CA_CERTS", string>>;
  /** Names that were asked for. */
  readonly asked: ReadonlySet<string>;
}

/** Starts an Azurite with TLS, and a proxy before it. */
export async function startAzureHosts(): Promise<AzureHosts> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const authority = await makeCertificate("authority", { isAuthority: true });
  const { certificateFile: authorityFile } = await writeCertificate(folder.path, "authority", authority);
  const names = [{ type: "dns", value: HOST }, { type: "ip", value: "127.0.0.1" }] as const;
  const certificate = await writeCertificate(folder.path, "store", await makeCertificate("store", { issuer: authority, alternativeNames: names }));
  const azurite = cleanup.use(await startAzurite({ account: ACCOUNT, tls: { ...certificate, authorityFile } }));
  const proxy = cleanup.use(await startConnectProxy(azurite.port, (host) => host === HOST));
  const owned = cleanup.move();
  return {
    azurite,
    section: (container) => ({ accountname: ACCOUNT.name, accountkey: ACCOUNT.key, container }),
    env: { HTTPS_PROXY: proxy.url, SSL_CERT_FILE: authorityFile, NODE_EXTRA_CA_CERTS: authorityFile },
    asked: proxy.asked,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
