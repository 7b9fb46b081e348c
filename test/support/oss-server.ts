import { randomUUID } from "node:crypto";
import { BucketStore } from "./oss/bucket.ts";
import { OssRefusal, refusals } from "./oss/error.ts";
import { type OssAnswer, perform } from "./oss/operations.ts";
import { checkSignature, type SignatureRules } from "./oss/signatures.ts";
import { xmlDocument } from "./oss/xml.ts";

/** What a server is to be like. */
export interface OssServerOptions {
  readonly bucket?: string;
  /** The time, for signatures. */
  readonly nowMs?: () => number;
  /** Entries in a page of a list, however many are asked for; default 1000, as the service has it. */
  readonly maxPage?: number;
  /** Serves with TLS, too. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

/**
 * Stands between the network and the service: answers itself, or lets the request be done and answers otherwise.
 * @param perform Does what was asked for.
 * @returns undefined for "nothing special".
 */
export type Interception = (request: SeenRequest, perform: () => Response) => Promise<Response | undefined> | Response | undefined;

/** A request, as tests look at it. */
export interface SeenRequest {
  readonly method: string;
  readonly key: string;
  /** Names of parameters with their values. */
  readonly query: ReadonlyMap<string, string>;
  readonly headers: Headers;
  readonly sizeBytes: number;
}

/**
 * A server with one bucket that speaks the REST API of Aliyun OSS as it is published: signatures of version 1 and 4, in headers and in
 * queries, are checked; what the service refuses is refused, and what this server does not know is answered with 501.
 */
export interface OssServer extends AsyncDisposable {
  /** A domain that is bound to the bucket, as URL. */
  readonly endpoint: string;
  readonly tlsPort: number | undefined;
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  readonly region: string;
  /** What is in the bucket; also for looking behind a driver's back. */
  readonly bucket: BucketStore;
  /** Every request that came, refused ones included. */
  readonly requests: readonly SeenRequest[];
  intercept: Interception | undefined;
}

const REGION = "oss-cn-hangzhou";
const MAX_PAGE = 1000;
const MAX_BODY_BYTES = 1024 ** 3;

/** Starts a server on a free port of the loopback. */
export function startOssServer(options: OssServerOptions = {}): OssServer {
  const bucket = new BucketStore(options.bucket ?? "contract");
  const rules: SignatureRules = { accessKeyId: "test-access-key", accessKeySecret: "test-access-secret", region: REGION.replace("oss-", ""), nowMs: options.nowMs ?? Date.now };
  const requests: SeenRequest[] = [];
  const serving = {
    hostname: "127.0.0.1",
    port: 0,
    development: false,
    idleTimeout: 120,
    maxRequestBodySize: MAX_BODY_BYTES,
    fetch: async (request: Request): Promise<Response> => {
      const url = new URL(request.url);
      const key = decodeURIComponent(url.pathname.slice(1));
      const query = new Map(url.search === "" ? [] : url.search.slice(1).split("&").map(parameter));
      const body = new Uint8Array(await request.arrayBuffer());
      const seen: SeenRequest = { method: request.method, key, query, headers: request.headers, sizeBytes: body.length };
      requests.push(seen);
      const answer = (): Response => respond(request.method, () => {
        const bucketName = bucketOf(request.headers.get("host") ?? "", bucket.name);
        checkSignature({ ...seen, bucket: bucketName }, rules);
        if (bucketName !== bucket.name) throw refusals.noSuchBucket();
        return perform({ ...seen, body, bucket, maxPage: options.maxPage ?? MAX_PAGE });
      });
      return (await started.intercept?.(seen, answer)) ?? answer();
    },
  };
  const server = Bun.serve(serving);
  const tlsServer = options.tls === undefined ? undefined : Bun.serve({ ...serving, tls: { cert: options.tls.certificate, key: options.tls.key } });
  const started: OssServer = {
    endpoint: `http://127.0.0.1:${server.port}`,
    tlsPort: tlsServer?.port,
    accessKeyId: rules.accessKeyId,
    accessKeySecret: rules.accessKeySecret,
    region: REGION,
    bucket,
    requests,
    intercept: undefined,
    async [Symbol.asyncDispose]() {
      await server.stop(true);
      await tlsServer?.stop(true);
    },
  };
  return started;
}

/** `storage.oss` of a configuration for the bucket, as it would be in a file. */
export function ossSection(server: OssServer, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const { accessKeyId, accessKeySecret, region, endpoint, bucket } = server;
  return { accesskeyid: accessKeyId, accesskeysecret: accessKeySecret, region, bucket: bucket.name, endpoint, ...more };
}

/** An error as the service writes it. */
export function errorResponse(refusal: OssRefusal, method = "GET"): Response {
  const requestId = requestIdOf();
  const headers = { ...refusal.headers, "x-oss-request-id": requestId, "content-type": "application/xml" };
  const document = xmlDocument("Error", { Code: refusal.code, Message: refusal.message, RequestId: requestId, HostId: "127.0.0.1" });
  // An answer to HEAD has no body.
  if (method === "HEAD") return new Response(null, { status: refusal.status, headers: { ...headers, "x-oss-err": Buffer.from(document).toString("base64") } });
  return new Response(document, { status: refusal.status, headers });
}

function respond(method: string, work: () => OssAnswer): Response {
  try {
    const { status, headers = {}, body } = work();
    const isDocument = typeof body === "string";
    return new Response(method === "HEAD" || body === undefined ? null : isDocument ? body : Buffer.concat([...body]), {
      status,
      headers: { ...(isDocument ? { "content-type": "application/xml" } : {}), ...headers, "x-oss-request-id": requestIdOf() },
    });
  } catch (error) {
    if (error instanceof OssRefusal) return errorResponse(error, method);
    throw error;
  }
}

/** The bucket that a host stands for: its own domain in the service's, or a domain that is bound to it. */
function bucketOf(host: string, bound: string): string {
  return /^([a-z0-9][a-z0-9-]+)\.oss-[a-z0-9-]+\.aliyuncs\.com$/.exec(host)?.[1] ?? bound;
}

function parameter(text: string): [string, string] {
  const [name = "", value = ""] = text.split(/=(.*)/s, 2).map((part) => decodeURIComponent(part.replaceAll("+", " ")));
  return [name, value];
}

function requestIdOf(): string {
  return randomUUID().replaceAll("-", "").slice(0, 24).toUpperCase();
}
