import { type Digest, digestOf } from "../../oci/digest.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";

/** A request that an upstream got. */
export interface Asked {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: Headers;
}

/** Answers a request in place of the upstream; undefined lets it answer itself. */
export type Trick = (asked: Asked) => Response | undefined | Promise<Response | undefined>;

/** An image that an upstream has. */
export interface FakeImage {
  readonly manifest: Uint8Array;
  readonly digest: Digest;
  readonly config: Digest;
  readonly layer: Digest;
}

/** An upstream registry on a free port, with contents in memory, that can be made to misbehave. */
export class FakeUpstream implements AsyncDisposable {
  readonly asked: Asked[] = [];
  readonly blobs = new Map<string, Uint8Array>();
  readonly manifests = new Map<string, { readonly bytes: Uint8Array; readonly mediaType: string }>();
  readonly referrers = new Map<string, unknown[]>();
  trick: Trick | undefined;
  readonly #server: Bun.Server<undefined>;

  constructor(port = 0) {
    this.#server = Bun.serve({ port, hostname: "127.0.0.1", development: false, idleTimeout: 0, fetch: (request) => this.#serve(request) });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  get port(): number {
    return this.#server.port ?? 0;
  }

  /** How often a method asked for a path. */
  count(method: string, path: string | RegExp): number {
    return this.asked.filter((each) => each.method === method && (typeof path === "string" ? each.path === path : path.test(each.path))).length;
  }

  addBlob(repository: string, bytes: Uint8Array): Digest {
    const digest = digestOf(bytes);
    this.blobs.set(`${repository}@${digest}`, bytes);
    return digest;
  }

  addManifest(repository: string, json: object, tag?: string): { readonly digest: Digest; readonly bytes: Uint8Array } {
    const bytes = new TextEncoder().encode(JSON.stringify(json));
    const digest = digestOf(bytes);
    const manifest = { bytes, mediaType: (json as { mediaType?: string }).mediaType ?? MEDIA_TYPES.ociManifest };
    this.manifests.set(`${repository}:${digest}`, manifest);
    if (tag !== undefined) this.manifests.set(`${repository}:${tag}`, manifest);
    return { digest, bytes };
  }

  /** Adds an image of a config and one layer, whose contents depend on the text. */
  addImage(repository: string, tag: string, text = `${repository}:${tag}`): FakeImage {
    const config = new TextEncoder().encode(`{"text":${JSON.stringify(text)}}`);
    const layer = new TextEncoder().encode(`layer ${text}`);
    const descriptor = (bytes: Uint8Array, mediaType: string): object => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
    const json = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config: descriptor(config, MEDIA_TYPES.ociConfig), layers: [descriptor(layer, MEDIA_TYPES.ociLayer)] };
    const { digest, bytes } = this.addManifest(repository, json, tag);
    return { manifest: bytes, digest, config: this.addBlob(repository, config), layer: this.addBlob(repository, layer) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server.stop(true);
  }

  async #serve(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const asked = { method: request.method, path: pathname + search, headers: request.headers };
    this.asked.push(asked);
    return (await this.trick?.(asked)) ?? this.#answer(asked, pathname);
  }

  #answer({ method, headers }: Asked, path: string): Response {
    if (path === "/v2/") return Response.json({});
    const [, repository = "", kind = "", reference = ""] = /^\/v2\/(.+)\/(blobs|manifests|tags|referrers)\/(.+)$/.exec(path) ?? [];
    switch (kind) {
      case "manifests": {
        const manifest = this.manifests.get(`${repository}:${reference}`);
        if (manifest === undefined) return notFound();
        return new Response(method === "HEAD" ? null : manifest.bytes, {
          headers: { "content-type": manifest.mediaType, "docker-content-digest": digestOf(manifest.bytes), "content-length": String(manifest.bytes.length) },
        });
      }
      case "blobs":
        return blobResponse(this.blobs.get(`${repository}@${reference}`), method, headers.get("range"));
      case "tags": {
        const tags = [...this.manifests.keys()].filter((key) => key.startsWith(`${repository}:`) && !key.includes("sha256:")).map((key) => key.slice(repository.length + 1)).sort();
        return tags.length === 0 ? notFound() : Response.json({ name: repository, tags });
      }
      case "referrers":
        return Response.json({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: this.referrers.get(`${repository}@${reference}`) ?? [] });
      default:
        return notFound();
    }
  }
}

function blobResponse(bytes: Uint8Array | undefined, method: string, range: string | null): Response {
  if (bytes === undefined) return notFound();
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  const body = bytes.subarray(start);
  const headers = { "content-type": "application/octet-stream", "content-length": String(body.length), ...(start > 0 && { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` }) };
  return new Response(method === "HEAD" ? null : body, { status: start > 0 ? 206 : 200, headers });
}

function notFound(): Response {
  return Response.json({ errors: [{ code: "NOT_FOUND" }] }, { status: 404 });
}
