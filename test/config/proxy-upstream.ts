import { digestOf, seededBytes, TYPES } from "../support/http.ts";

/** A request that an upstream got. */
export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
}

/** A registry to be mirrored: it has one image in every repository, under every tag but `none`. */
export interface Upstream extends AsyncDisposable {
  readonly url: string;
  /** `127.0.0.1:41234` */
  readonly host: string;
  readonly requests: UpstreamRequest[];
  /** How often something was asked for whose path ends so. */
  count(suffix: string): number;
}

/** How it is to be. */
export interface UpstreamOptions {
  readonly tls?: Bun.TLSOptions;
  /** An answer in place of its own; undefined for its own. */
  readonly intercept?: (request: UpstreamRequest) => Response | Promise<Response> | undefined;
}

/** The layer of the image; large enough to be on its way for a while. */
export const LAYER = seededBytes(6_000_000, 77);
const CONFIG = "{}";
const LAYER_DIGEST = digestOf(LAYER);
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: TYPES.ociManifest,
  config: { mediaType: TYPES.ociConfig, digest: digestOf(CONFIG), size: CONFIG.length },
  layers: [{ mediaType: TYPES.ociLayer, digest: LAYER_DIGEST, size: LAYER.length }],
});

/** The digests of the image. */
export const DIGESTS = { manifest: digestOf(MANIFEST), layer: LAYER_DIGEST } as const;

/** Starts an upstream on loopback. */
export function startUpstream(options: UpstreamOptions = {}): Upstream {
  const requests: UpstreamRequest[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    development: false,
    idleTimeout: 60,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      const asked = { method: request.method, path: pathname + search, authorization: request.headers.get("authorization") ?? undefined };
      requests.push(asked);
      return (await options.intercept?.(asked)) ?? answer(pathname);
    },
  });
  return {
    url: server.url.origin,
    host: server.url.host,
    requests,
    count: (suffix) => requests.filter(({ path }) => path.endsWith(suffix)).length,
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
}

function answer(path: string): Response {
  const [, kind, reference = ""] = /^\/v2\/.+\/(manifests|blobs)\/(.+)$/.exec(path) ?? [];
  if (path === "/v2/") return Response.json({});
  if (kind === "manifests" && reference !== "none") return new Response(MANIFEST, { headers: { "content-type": TYPES.ociManifest, "docker-content-digest": DIGESTS.manifest } });
  if (kind === "blobs" && reference === DIGESTS.layer) return new Response(LAYER, { headers: { "content-type": "application/octet-stream" } });
  if (kind === "blobs" && reference === digestOf(CONFIG)) return new Response(CONFIG);
  return Response.json({ errors: [{ code: kind === "blobs" ? "BLOB_UNKNOWN" : "MANIFEST_UNKNOWN" }] }, { status: 404 });
}
