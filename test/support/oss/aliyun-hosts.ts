import { makeCertificate, writeCertificate } from "../certificates.ts";
import { type ConnectProxy, startConnectProxy } from "../connect-proxy.ts";
import { type OssServer, startOssServer } from "../oss-server.ts";
import { tempFolder } from "../temp-folder.ts";

/** A server that programs reach under the names of Aliyun's. */
export interface AliyunHosts extends AsyncDisposable {
  readonly server: OssServer;
  /** The environment in which a program finds it: a proxy that leads all names to it, and the authority that its certificate is of. */
  readonly env: Readonly<Record<"HTTPS_PROXY" | "SSL_CERT_FILE" | "NODE_EXTRA_CA_CERTS", string>>;
  readonly asked: ConnectProxy["asked"];
}

/** Starts a server with TLS, and a proxy before it. */
export async function startAliyunHosts(bucket: string): Promise<AliyunHosts> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const hosts = ["oss-cn-hangzhou", "oss-cn-hangzhou-internal"].map((region) => `${bucket}.${region}.aliyuncs.com`);
  const certificate = await makeCertificate("Aliyun's hosts", { isAuthority: true, alternativeNames: hosts.map((value) => ({ type: "dns", value }) as const) });
  const { certificateFile } = await writeCertificate(folder.path, "aliyun", certificate);
  const server = cleanup.use(startOssServer({ bucket, tls: certificate }));
  const proxy = cleanup.use(await startConnectProxy(server.tlsPort ?? 0, (host) => hosts.includes(host)));
  const owned = cleanup.move();
  return { server, asked: proxy.asked, env: { HTTPS_PROXY: proxy.url, SSL_CERT_FILE: certificateFile, NODE_EXTRA_CA_CERTS: certificateFile }, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
