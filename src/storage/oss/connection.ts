import type OSS from "ali-oss";
import type { ObjectStoreDeps } from "../object-store/deps.ts";
import { HttpClient, type OpenAnswer } from "../object-store/http-client.ts";
import { callFailure } from "./errors.ts";
import type { OssOptions } from "./options.ts";
import { type Exchange, type SdkAnswer, SdkTransport } from "./transport.ts";

const SILENCE_MS = 60_000;

/** What of the SDK's client is used; its declarations leave both out, or have them otherwise. */
interface SdkClient {
  /** Signs a request, sends it, and reads the answer; every operation of the SDK's goes through it. */
  request(params: Readonly<Record<string, unknown>>): Promise<SdkAnswer & { readonly data: unknown }>;
  signatureUrlV4(method: string, expirySeconds: number, request: object, objectName: string): Promise<string>;
}

/** A request to the bucket. */
export interface OssCall {
  /** Its name in the store's documentation. */
  readonly operation: string;
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Left out for the bucket itself. */
  readonly key?: string;
  readonly query?: Readonly<Record<string, string | number>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  readonly successStatuses: readonly number[];
  /** The answer is a document. */
  readonly isXml?: boolean;
}

/** What came back. */
export interface OssAnswer {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** The root element of a document; nothing for other answers. */
  readonly document: unknown;
}

/**
 * The bucket, through the SDK. Its operations are not used, but `request`, which is below all of them: it makes the URL and the
 * signature of version 4, and reads documents and errors. The operations above it cannot be told to encode names in lists (and fail
 * over lists without owners), send copies with headers that are made of others, give the SDK's whole client up when one upload is
 * aborted, and want parts as streams of node.
 */
export class OssConnection {
  readonly #client: SdkClient;
  /** Makes URLs for clients; the same, but for whose name the store has outside. */
  readonly #signer: SdkClient;
  readonly #http: HttpClient;
  readonly #bucket: string;
  readonly #closed = new AbortController();

  private constructor(clients: { readonly client: SdkClient; readonly signer: SdkClient; readonly http: HttpClient }, bucket: string) {
    this.#client = clients.client;
    this.#signer = clients.signer;
    this.#http = clients.http;
    this.#bucket = bucket;
  }

  /** Loads the SDK and makes clients. Nothing is sent. */
  static async open(options: OssOptions, deps: ObjectStoreDeps): Promise<OssConnection> {
    const { default: Client } = await import("ali-oss");
    const endpoint = endpointOf(options);
    const http = new HttpClient({ silenceMs: SILENCE_MS, proxyEnv: isThisHost(endpoint) ? {} : (deps.env ?? {}) });
    const transport = new SdkTransport(http, deps.userAgent);
    const clientFor = (url: string): SdkClient => {
      const sdkOptions: OSS.Options & { readonly urllib: SdkTransport } = {
        accessKeyId: options.accesskeyid,
        accessKeySecret: options.accesskeysecret,
        bucket: options.bucket,
        region: `oss-${signingRegion(options.region)}`,
        endpoint: url,
        // The endpoint is the bucket's own, whether it is a domain bound to it or not.
        cname: true,
        authorizationV4: true,
        urllib: transport,
      };
      return new Client(sdkOptions) as unknown as SdkClient;
    };
    return new OssConnection({ client: clientFor(endpoint), signer: clientFor(publicEndpointOf(options)), http }, options.bucket);
  }

  /** @throws OssCallError, StorageFullError */
  async call(call: OssCall): Promise<OssAnswer> {
    const { headers, data } = await this.#send(call, this.#exchange(false));
    return { headers, document: call.isXml === true ? data : undefined };
  }

  /** Makes a call whose answer is content, to be read later. @throws as `call` */
  async open(call: OssCall): Promise<OpenAnswer> {
    const exchange = this.#exchange(true);
    await this.#send(call, exchange);
    if (exchange.opened === undefined) throw new Error("oss: the SDK did not send the request that it was given");
    return exchange.opened;
  }

  /** A URL at which everybody can make a request of this method for a while. */
  async signedUrl(key: string, method: "GET" | "HEAD", expirySeconds: number): Promise<string> {
    return await this.#signer.signatureUrlV4(method, expirySeconds, {}, key);
  }

  /** Ends the pauses between tries when the driver is closed. */
  get signal(): AbortSignal {
    return this.#closed.signal;
  }

  /** Gives up what is under way and closes all connections. */
  close(): void {
    this.#closed.abort(new Error("oss: the driver was closed"));
    this.#http.close();
  }

  async #send({ operation, method, key = "", query = {}, headers = {}, body, successStatuses, isXml = false }: OssCall, exchange: Exchange): Promise<SdkAnswer & { readonly data: unknown }> {
    try {
      return await this.#client.request({
        bucket: this.#bucket,
        object: key,
        method,
        subres: { ...query },
        headers: { ...headers },
        ...(body === undefined ? {} : { content: body }),
        successStatuses,
        xmlResponse: isXml,
        ctx: exchange,
      });
    } catch (error) {
      throw callFailure(exchange.failure ?? error, { operation, target: key === "" ? `bucket ${this.#bucket}` : `${this.#bucket}/${key}` });
    }
  }

  #exchange(wantsContent: boolean): Exchange {
    return { signal: this.#closed.signal, wantsContent };
  }
}

/**
 * The URL of the bucket. As for distribution, `endpoint` is the bucket's own host: its name in the service's domain, or a domain that
 * is bound to it. The host of a whole region, too, is taken; the bucket's name is put before it.
 */
export function endpointOf(options: Pick<OssOptions, "endpoint" | "secure" | "bucket" | "region" | "internal">): string {
  const { endpoint, secure, bucket } = options;
  if (endpoint === undefined || endpoint === "") return defaultEndpoint(options, options.internal);
  const url = new URL(/^[a-z]+:\/\//i.test(endpoint) ? endpoint : `${secure ? "https" : "http"}://${endpoint}`);
  return `${url.protocol}//${/^(vpc100-)?oss-[a-z0-9-]+\.aliyuncs\.com$/.test(url.hostname) ? `${bucket}.` : ""}${url.host}`;
}

/** Where clients reach the bucket: as distribution does it, they are not sent to the internal network unless `internal` says so. */
export function publicEndpointOf(options: Pick<OssOptions, "endpoint" | "secure" | "bucket" | "region" | "internal">): string {
  const endpoint = endpointOf(options);
  return !options.internal && new URL(endpoint).hostname.endsWith("-internal.aliyuncs.com") ? defaultEndpoint(options, false) : endpoint;
}

/** A region as signatures name it: `cn-hangzhou` for `oss-cn-hangzhou`. */
export function signingRegion(region: string): string {
  return region.replace(/^(vpc100-)?oss-/, "").replace(/-internal$/, "");
}

function defaultEndpoint({ secure, bucket, region }: Pick<OssOptions, "secure" | "bucket" | "region">, isInternal: boolean): string {
  const host = /^(vpc100-)?oss-/.test(region) ? region : `oss-${region}`;
  const suffix = isInternal && !host.startsWith("vpc100-") && !host.endsWith("-internal") ? "-internal" : "";
  return `${secure ? "https" : "http"}://${bucket}.${host}${suffix}.aliyuncs.com`;
}

/** As programs in Go do, this host is asked without a proxy. */
function isThisHost(endpoint: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(endpoint).hostname);
}
