import { isIP } from "node:net";
import type { ObjectStoreDeps } from "../object-store/deps.ts";
import { HttpClient, type OpenAnswer } from "../object-store/http-client.ts";
import { callFailure, orUnreadable } from "./errors.ts";
import type { OssOptions } from "./options.ts";
import { type Exchange, type SdkAnswer, SdkTransport } from "./transport.ts";

const DEFAULT_SILENCE_MS = 60_000;

/** What a driver is given besides its options. */
export interface OssDeps extends ObjectStoreDeps {
  /** How long the store may be silent; default one minute. */
  readonly silenceMs?: number;
}

/** What of the SDK's client is used; its declarations leave it out. */
interface SdkClient {
  /** Signs a request, sends it, and reads the answer; every operation of the SDK's goes through it. */
  request(params: Readonly<Record<string, unknown>>): Promise<SdkAnswer & { readonly data: unknown }>;
  /** Signs a request with version 4. @returns The value for its `Authorization`. */
  authorizationV4(method: string, request: { readonly headers: object; readonly queries: Readonly<Record<string, string>> }, bucket: string, key: string): string;
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
  readonly #http: HttpClient;
  readonly #options: OssOptions;
  readonly #closed = new AbortController();

  private constructor(client: SdkClient, http: HttpClient, options: OssOptions) {
    this.#client = client;
    this.#http = http;
    this.#options = options;
  }

  /** Loads the SDK and makes a client. Nothing is sent. */
  static async open(options: OssOptions, deps: OssDeps): Promise<OssConnection> {
    const { default: Client } = await import("ali-oss");
    const endpoint = new URL(endpointOf(options));
    // An address says nothing of the bucket, so its name goes into the Host header. The SDK does it, too, but with `url.parse`, of which
    // Bun warns on stderr; it is not told of the address.
    const { protocol, host, hostname } = isAddress(endpoint.hostname) ? new URL(defaultEndpoint(options, options.internal)) : endpoint;
    const http = new HttpClient({ silenceMs: deps.silenceMs ?? DEFAULT_SILENCE_MS, proxyEnv: isThisHost(endpoint.hostname) ? {} : (deps.env ?? {}) });
    const sdkOptions = {
      accessKeyId: options.accesskeyid,
      accessKeySecret: options.accesskeysecret,
      bucket: options.bucket,
      region: `oss-${signingRegion(options.region)}`,
      endpoint: { protocol, slashes: true, host, hostname },
      // The endpoint is the bucket's own, whether it is a domain bound to it or not.
      cname: true,
      sldEnable: false,
      authorizationV4: true,
      headerEncoding: "utf-8",
      urllib: new SdkTransport(http, { endpoint, host, userAgent: deps.userAgent }),
      // These are all that there are. Without this the SDK would add its own, and parse the endpoint, with `url.parse` again.
      inited: true,
    };
    return new OssConnection(new Client(sdkOptions as unknown as ConstructorParameters<typeof Client>[0]) as unknown as SdkClient, http, options);
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

  /**
   * A URL at which everybody can make a request of this method for a while. It is the one that the SDK's `signatureUrlV4` gives, which
   * is not used as it goes through `url.parse`, too.
   */
  signedUrl(key: string, method: "GET" | "HEAD", expirySeconds: number): string {
    const { accesskeyid, region, bucket } = this.#options;
    const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    const queries = {
      "x-oss-credential": `${accesskeyid}/${date.slice(0, 8)}/${signingRegion(region)}/oss/aliyun_v4_request`,
      "x-oss-date": date,
      "x-oss-expires": String(expirySeconds),
      "x-oss-signature-version": "OSS4-HMAC-SHA256",
    };
    const signature = /Signature=([0-9a-f]+)$/.exec(this.#client.authorizationV4(method, { headers: {}, queries }, bucket, key))?.[1];
    if (signature === undefined) throw new Error("oss: the SDK gave no signature");
    return `${publicEndpointOf(this.#options)}/${key.split("/").map(encodeURIComponent).join("/")}?${new URLSearchParams({ ...queries, "x-oss-signature": signature })}`;
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
        bucket: this.#options.bucket,
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
      throw callFailure(exchange.failure ?? (exchange.isAnswered === true ? orUnreadable(error) : error), { operation, target: key === "" ? `bucket ${this.#options.bucket}` : `${this.#options.bucket}/${key}` });
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

function isAddress(hostname: string): boolean {
  return isIP(hostname.replace(/^\[|\]$/g, "")) !== 0;
}

/** As programs in Go do, this host is asked without a proxy. */
function isThisHost(hostname: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
}
