import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { join } from "node:path";
import { ContainerClient, type StoragePipelineOptions, StorageSharedKeyCredential } from "@azure/storage-blob";
import { startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { tempFolder } from "./temp-folder.ts";

const ENTRY = join(import.meta.dir, "..", "..", "node_modules", "azurite", "dist", "src", "blob", "main.js");
/** Published, for everybody's Azurite. */
const KNOWN_ACCOUNT = { name: "devstoreaccount1", key: "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==" };

/** How Azurite is started. */
export interface AzuriteOptions {
  /** Default: the one that every Azurite has. */
  readonly account?: { readonly name: string; readonly key: string };
  /** It speaks TLS, and takes tokens besides the key. Files in PEM, with that of the authority. */
  readonly tls?: { readonly certificateFile: string; readonly keyFile: string; readonly authorityFile: string };
}

/** Microsoft's emulator of the blob service. */
export interface Azurite extends AsyncDisposable {
  readonly account: string;
  readonly accountKey: string;
  readonly port: number;
  /** For instance `http://127.0.0.1:41234`. */
  readonly url: string;
  /** A client of the vendor's, to look behind a driver's back. */
  container(name: string): ContainerClient;
  createContainer(name: string): Promise<void>;
  /** `storage.azure` of a configuration for a container, as it would be in a file. */
  section(container: string, more?: Readonly<Record<string, unknown>>): Record<string, unknown>;
}

/**
 * Starts Azurite on loopback, with its data in a folder that goes away with it.
 * @throws Error with its output when it does not come up.
 */
export async function startAzurite({ tls, account = KNOWN_ACCOUNT }: AzuriteOptions = {}): Promise<Azurite> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const port = freePort();
  const secure = tls === undefined ? [] : ["--cert", tls.certificateFile, "--key", tls.keyFile, "--oauth", "basic"];
  // To copy a blob, it asks itself for it.
  const env = { AZURITE_ACCOUNTS: `${account.name}:${account.key}`, ...(tls === undefined ? {} : { NODE_EXTRA_CA_CERTS: tls.authorityFile }) };
  const child = startChild([process.execPath, ENTRY, "--skipApiVersionCheck", "--disableTelemetry", "--loose", "--location", folder.path, "--blobHost", "127.0.0.1", "--blobPort", String(port), ...secure], env);
  // Asked to end it would wait for connections that are kept open.
  cleanup.defer(async () => void (await child.stop("SIGKILL")));
  await child.waitForOutput(/successfully listens/);
  const url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`;
  const serviceurl = `${url}/${account.name}`;
  const ca = tls === undefined ? undefined : await Bun.file(tls.authorityFile).text();
  // The type does not tell all that the SDK takes.
  const clientOptions = { tlsOptions: { ca } } as StoragePipelineOptions;
  const container = (name: string): ContainerClient => new ContainerClient(`${serviceurl}/${name}`, new StorageSharedKeyCredential(account.name, account.key), clientOptions);
  const owned = cleanup.move();
  return {
    account: account.name,
    accountKey: account.key,
    port,
    url,
    container,
    createContainer: async (name) => void (await container(name).create()),
    section: (name, more = {}) => ({ accountname: account.name, accountkey: account.key, container: name, serviceurl, credentials: { type: "shared_key" }, ...more }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A request on its way to Azurite. */
export interface AzuriteRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
}

/** An answer in pieces that can be changed. */
export interface AzuriteAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
  /** Only so much of the body is sent; then the connection is closed, or nothing more comes. */
  readonly breaksOff?: { readonly afterBytes: number; readonly then: "close" | "silence" };
}

/**
 * Decides on a request: undefined sends it on.
 * @param answer Sends it on, with these headers if there are any, and gives what Azurite answers.
 */
export type Interception = (request: AzuriteRequest, answer: (headers?: Headers) => Promise<AzuriteAnswer>) => Promise<AzuriteAnswer | undefined> | AzuriteAnswer | undefined;

/** Something that stands in front of an Azurite, as a network with its faults does. */
export interface AzuriteFront extends AsyncDisposable {
  readonly url: string;
  intercept: Interception | undefined;
}

/** Puts something in front of an Azurite. Signatures stay good: they do not cover the host. @param tls In PEM */
export async function startAzuriteFront(azurite: Azurite, tls?: { readonly cert: string; readonly key: string }): Promise<AzuriteFront> {
  // Not `Bun.serve`, which leaves the length of a body out that breaks off.
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse): void => void answerAt(incoming, outgoing).catch(() => outgoing.destroy());
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  const answerAt = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const body = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Uint8Array>));
    const { method = "", url: path = "/" } = incoming;
    const url = new URL(path, front.url);
    const headers = new Headers(incoming.headers as Record<string, string>);
    const answer = async (others = headers): Promise<AzuriteAnswer> => {
      // With the host's name as it was: Azurite compares it with that of the source of a copy.
      const response = await fetch(`${azurite.url}${path}`, { method, headers: others, redirect: "manual", ...(body.length === 0 ? {} : { body }) });
      return { status: response.status, headers: response.headers, body: await response.bytes() };
    };
    send(outgoing, (await front.intercept?.({ method, url, headers }, answer)) ?? (await answer()), method === "HEAD");
  };
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const front: AzuriteFront = {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    intercept: undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
  return front;
}

function send(outgoing: ServerResponse, { status, headers, body, breaksOff }: AzuriteAnswer, isHead: boolean): void {
  const { "transfer-encoding": _, connection: __, "keep-alive": ___, ...kept } = Object.fromEntries(headers);
  outgoing.writeHead(status, isHead || status === 204 ? kept : { ...kept, "content-length": String(body.length) });
  if (breaksOff === undefined) outgoing.end(isHead ? undefined : body);
  else outgoing.write(body.subarray(0, breaksOff.afterBytes), () => void (breaksOff.then === "close" && outgoing.destroy()));
}

/** An answer of failure as the service gives it. */
export function azuriteRefusal(status: number, code: string): AzuriteAnswer {
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>it is ${code}\nRequestId:1\nTime:2</Message></Error>`;
  return { status, headers: new Headers({ "content-type": "application/xml", "x-ms-error-code": code }), body: Buffer.from(body) };
}
