import { createHmac } from "node:crypto";
import { type Azurite, type AzuriteRequest, startAzurite, startAzuriteFront } from "./azurite.ts";
import { makeCertificate, writeCertificate } from "./certificates.ts";
import { startConnectProxy } from "./connect-proxy.ts";
import { tempFolder } from "./temp-folder.ts";

const ACCOUNT = { name: "registryaccount", key: Buffer.from("the key of the account of the tests").toString("base64") };
const HOST = `${ACCOUNT.name}.blob.core.windows.net`;
/** What a signature covers besides what begins with `x-ms-`, in this order. */
const SIGNED_HEADERS = ["content-encoding", "content-language", "content-length", "content-md5", "content-type", "date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"];

/** An Azurite that programs reach under the name of Microsoft's. */
export interface AzureHosts extends AsyncDisposable {
  readonly azurite: Azurite;
  readonly account: string;
  readonly accountKey: string;
  /** The environment in which a program finds it: a proxy that leads its name to it, and the authority that its certificate is of. */
  readonly env: Readonly<Record<"HTTPS_PROXY" | "SSL_CERT_FILE" | "NODE_EXTRA_CA_CERTS", string>>;
  /** Names that were asked for. */
  readonly asked: ReadonlySet<string>;
}

/** Starts an Azurite with TLS, and a proxy before it. */
export async function startAzureHosts(): Promise<AzureHosts> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const { certificate, key, ...pair } = await makeCertificate("Microsoft's host", { isAuthority: true, alternativeNames: [{ type: "dns", value: HOST }] });
  const { certificateFile } = await writeCertificate(folder.path, "azure", { certificate, key, ...pair });
  const azurite = cleanup.use(await startAzurite({ account: ACCOUNT }));
  const front = cleanup.use(await startAzuriteFront(azurite, { cert: certificate, key }));
  front.intercept = async (request, answer) => {
    // Distribution 2.8 tells the type of blob also when it appends to one, and Azurite takes it for making a new one.
    if (request.url.searchParams.get("comp") !== "appendblock" || !request.headers.has("x-ms-blob-type")) return undefined;
    const headers = new Headers(request.headers);
    headers.delete("x-ms-blob-type");
    headers.set("authorization", `SharedKey ${ACCOUNT.name}:${signatureOf({ ...request, headers })}`);
    return await answer(headers);
  };
  const proxy = cleanup.use(await startConnectProxy(Number(new URL(front.url).port), (host) => host === HOST));
  const owned = cleanup.move();
  return {
    azurite,
    account: ACCOUNT.name,
    accountKey: ACCOUNT.key,
    env: { HTTPS_PROXY: proxy.url, SSL_CERT_FILE: certificateFile, NODE_EXTRA_CA_CERTS: certificateFile },
    asked: proxy.asked,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** @see Azure Storage, "Authorize with Shared Key" */
function signatureOf({ method, url, headers }: AzuriteRequest): string {
  const plain = SIGNED_HEADERS.map((name) => headers.get(name) ?? "").map((value) => (value === "0" ? "" : value));
  const own = [...headers].filter(([name]) => name.startsWith("x-ms-")).map(([name, value]) => `${name}:${value}`).sort();
  const query = [...url.searchParams].map(([name, value]) => `\n${name.toLowerCase()}:${value}`).sort();
  const text = [method, ...plain, ...own, `/${ACCOUNT.name}${url.pathname}${query.join("")}`].join("\n");
  return createHmac("sha256", Buffer.from(ACCOUNT.key, "base64")).update(text).digest("base64");
}
