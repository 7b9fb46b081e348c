/** A request that a store got. */
export interface StoreRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: Headers;
  readonly sizeBytes: number;
}

/** Something that answers like S3, keeps nothing, and notes what it is asked. */
export interface S3Recorder extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  readonly requests: readonly StoreRequest[];
  /** The most requests with this in their target that were answered at once. */
  mostAtOnce(part: string): number;
}

/** How it answers. */
export interface RecorderOptions {
  readonly tls?: Bun.TLSOptions;
  /** The size that every object is said to have. */
  readonly objectBytes?: number;
  /** In place of every answer. */
  readonly status?: number;
  /** Before every answer. */
  readonly delayMs?: number;
}

const ETAG = '"0123456789abcdef0123456789abcdef"';

/** Starts a recorder on loopback. */
export function startS3Recorder(options: RecorderOptions = {}): S3Recorder {
  const requests: StoreRequest[] = [];
  const underWay = new Map<string, number>();
  const most = new Map<string, number>();
  const kindOf = (method: string, target: string): string => `${method} ${target.includes("partNumber") ? "partNumber" : ""}`;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    development: false,
    maxRequestBodySize: 2 ** 31,
    idleTimeout: 60,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      const [target, kind, headers] = [pathname + search, kindOf(request.method, pathname + search), new Headers(request.headers)];
      const now = (underWay.get(kind) ?? 0) + 1;
      underWay.set(kind, now);
      most.set(kind, Math.max(now, most.get(kind) ?? 0));
      requests.push({ method: request.method, target, headers, sizeBytes: (await request.arrayBuffer()).byteLength });
      await Bun.sleep(options.delayMs ?? 0);
      underWay.set(kind, (underWay.get(kind) ?? 1) - 1);
      return options.status === undefined ? answer(request.method, target, headers, options.objectBytes ?? 0) : new Response(null, { status: options.status });
    },
  });
  return {
    url: server.url.origin,
    host: server.url.host,
    requests,
    mostAtOnce: (part) => Math.max(0, ...[...most].filter(([kind]) => kind.includes(part)).map(([, count]) => count)),
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
}

function answer(method: string, target: string, headers: Headers, objectBytes: number): Response {
  if (method === "HEAD") return new Response(null, { headers: { etag: ETAG, "content-length": String(objectBytes), "last-modified": new Date(0).toUTCString() } });
  if (method === "DELETE") return new Response(null, { status: 204 });
  if (method === "POST" && target.includes("uploads")) return xml("InitiateMultipartUploadResult", "<UploadId>upload</UploadId>");
  if (method === "POST") return xml("CompleteMultipartUploadResult", `<ETag>${ETAG}</ETag>`);
  if (method === "PUT" && headers.has("x-amz-copy-source")) return xml(target.includes("partNumber") ? "CopyPartResult" : "CopyObjectResult", `<ETag>${ETAG}</ETag>`);
  if (method === "PUT") return new Response(null, { headers: { etag: ETAG } });
  return xml("ListBucketResult", "<IsTruncated>false</IsTruncated>");
}

function xml(name: string, content: string): Response {
  return new Response(`<?xml version="1.0"?><${name}>${content}</${name}>`, { headers: { "content-type": "application/xml" } });
}
