import { ApiError, errorResponse, selectFields, xmlError } from "./gcs/answers.ts";
import { Account, type KeyFile, makeKeyFile } from "./gcs/accounts.ts";
import { mediaHeaders, Objects, type Preconditions, resourceOf, type StoredObject } from "./gcs/objects.ts";
import { checkHashes, type ObjectMetadata, parseMetadata, parseRelated, Sessions } from "./gcs/uploads.ts";

/** What to start. */
export interface GcsServerOptions {
  /** Default `bucket`. */
  readonly bucket?: string;
  /** What a page of a listing has at most; default 1000, as the real one. */
  readonly maxPage?: number;
  /** What one call of `rewrite` copies; default 64 MiB. */
  readonly rewriteBytes?: number;
  /** How long tokens are good; default one hour. */
  readonly tokenSeconds?: number;
  /** Listens with TLS as well. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

/** A request as `intercept` is told of it. */
export interface GcsRequest {
  readonly method: string;
  /** Like `objects.get`, `media`, `upload.put`, `token`, `xml`. */
  readonly operation: string;
  readonly url: URL;
  readonly headers: Headers;
}

/** A server with one bucket, in memory, that speaks the JSON API of Cloud Storage and takes signed URLs. */
export interface GcsServer extends AsyncDisposable {
  readonly url: string;
  /** The port with TLS, if it was asked for. */
  readonly tlsPort: number | undefined;
  readonly bucket: string;
  /** A key file of the one account that may use it. */
  readonly keyFile: KeyFile;
  readonly account: Account;
  readonly objects: Objects;
  readonly sessions: Sessions;
  /** How often each operation was asked for. */
  readonly counts: Map<string, number>;
  /** Answers in the place of the server, or lets it answer. @param answer Does what was asked; whoever calls it may lose the answer. */
  intercept: ((request: GcsRequest, answer: () => Promise<Response>) => Response | Promise<Response | undefined> | undefined) | undefined;
}

/** Parameters that every call takes. */
const COMMON = ["alt", "fields", "prettyPrint", "projection", "userProject", "quotaUser", "key"];
const CONDITIONS = ["ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"];
const SOURCE_CONDITIONS = ["ifSourceGenerationMatch", "ifSourceGenerationNotMatch", "ifSourceMetagenerationMatch", "ifSourceMetagenerationNotMatch"];
const MAX_COMPOSED = 32;
const REWRITE_STEP = 1024 * 1024;

/** Where tokens are asked for: as our key file says, and where clients in Go ask whatever it says. */
const TOKEN_PATHS: ReadonlySet<string> = new Set(["/token", "/o/oauth2/token"]);

let sharedKeyFile: KeyFile | undefined;

/** Starts a server on loopback. */
export async function startGcsServer(options: GcsServerOptions = {}): Promise<GcsServer> {
  const service = new Service(options);
  const listener = { hostname: "127.0.0.1", port: 0, development: false, idleTimeout: 120, maxRequestBodySize: 1024 * 1024 * 1024, fetch: (request: Request) => service.answer(request) } as const;
  const server = Bun.serve(listener);
  const tlsServer = options.tls === undefined ? undefined : Bun.serve({ ...listener, tls: { cert: options.tls.certificate, key: options.tls.key } });
  service.listen(`http://127.0.0.1:${server.port}`);
  return Object.assign(service, {
    tlsPort: tlsServer?.port,
    async [Symbol.asyncDispose]() {
      await Promise.all([server.stop(true), tlsServer?.stop(true)]);
    },
  });
}

interface Route {
  readonly operation: string;
  readonly parameters: readonly string[];
  readonly handle: (call: ApiCall) => Promise<Response> | Response;
}

interface ApiCall {
  readonly request: Request;
  readonly url: URL;
  /** The object's name, and a second one for copies. */
  readonly names: readonly string[];
}

class Service {
  readonly bucket: string;
  readonly objects: Objects;
  readonly sessions: Sessions;
  readonly counts = new Map<string, number>();
  intercept: GcsServer["intercept"];
  url = "";
  readonly #maxPage: number;
  readonly #rewriteBytes: number;
  readonly #tokenSeconds: number;
  /** Rewrites under way, by token. */
  readonly #rewrites = new Map<string, { readonly copy: string; readonly doneBytes: number }>();
  #account: Account | undefined;

  constructor({ bucket = "bucket", maxPage = 1000, rewriteBytes = 64 * 1024 * 1024, tokenSeconds = 3600 }: GcsServerOptions) {
    this.bucket = bucket;
    this.objects = new Objects(bucket);
    this.sessions = new Sessions(this.objects);
    this.#maxPage = maxPage;
    this.#rewriteBytes = rewriteBytes;
    this.#tokenSeconds = tokenSeconds;
  }

  get account(): Account {
    if (this.#account === undefined) throw new Error("the server does not listen yet");
    return this.#account;
  }

  get keyFile(): KeyFile {
    return this.account.keyFile;
  }

  listen(url: string): void {
    this.url = url;
    sharedKeyFile ??= makeKeyFile("");
    this.#account = new Account({ ...sharedKeyFile, token_uri: `${url}/token` }, this.#tokenSeconds);
  }

  async answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const isMedia = url.searchParams.get("alt") === "media";
    try {
      const { operation, answer } = this.#route(request, url);
      this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1);
      const own = await this.intercept?.({ method: request.method, operation, url, headers: request.headers }, async () => await answer());
      return own ?? (await answer());
    } catch (error) {
      if (error instanceof ApiError) return error.status === 304 ? new Response(null, { status: 304 }) : errorResponse(error, isMedia);
      throw error;
    }
  }

  #route(request: Request, url: URL): { readonly operation: string; readonly answer: () => Promise<Response> | Response } {
    const { method } = request;
    const path = url.pathname;
    if (method === "POST" && TOKEN_PATHS.has(path)) return { operation: "token", answer: () => this.account.token(request) };
    const uploadId = url.searchParams.get("upload_id");
    // The session's id is the credential here.
    if (path.startsWith("/upload/") && uploadId !== null && method === "PUT") return { operation: "upload.put", answer: async () => this.sessions.put(uploadId, request.headers, await request.bytes()) };
    if (path.startsWith("/upload/") && uploadId !== null && method === "DELETE") return { operation: "upload.cancel", answer: () => this.sessions.cancel(uploadId) };
    if (path.startsWith("/storage/v1/b/") || path.startsWith("/upload/storage/v1/b/")) return this.#apiRoute(request, url);
    return { operation: "xml", answer: () => this.#xml(request, url) };
  }

  #apiRoute(request: Request, url: URL): { readonly operation: string; readonly answer: () => Promise<Response> | Response } {
    const [, prefix = "", bucket = "", rest = ""] = /^(.*?\/b)\/([^/]+)(.*)$/.exec(url.pathname) ?? [];
    const segments = rest.split("/").slice(1).map(decodeURIComponent);
    const route = this.#apiOperation({ method: request.method, isUpload: prefix.startsWith("/upload"), isMedia: url.searchParams.get("alt") === "media", segments });
    const answer = async (): Promise<Response> => {
      this.account.authorize(request);
      if (bucket !== this.bucket) throw new ApiError(404, "notFound", "The specified bucket does not exist.");
      for (const name of url.searchParams.keys()) {
        if (![...COMMON, ...route.parameters].includes(name)) throw new ApiError(400, "invalidParameter", `Unknown parameter ${name}`);
        if (url.searchParams.getAll(name).length > 1) throw new ApiError(400, "invalidParameter", `Parameter ${name} was given twice`);
      }
      return await route.handle({ request, url, names: [segments[1] ?? "", segments.at(-1) ?? ""] });
    };
    return { operation: route.operation, answer };
  }

  #apiOperation({ method, isUpload, isMedia, segments }: { readonly method: string; readonly isUpload: boolean; readonly isMedia: boolean; readonly segments: readonly string[] }): Route {
    const [o, , verb, b, bucket, o2] = segments;
    const what = `${method} ${segments.length}`;
    if (isUpload && what === "POST 1" && o === "o") return { operation: "objects.insert", parameters: ["uploadType", "name", ...CONDITIONS], handle: (call) => this.#insert(call) };
    if (!isUpload && what === "GET 0") return { operation: "buckets.get", parameters: [], handle: ({ url }) => this.#json(url, { kind: "storage#bucket", id: this.bucket, name: this.bucket, location: "TEST", storageClass: "STANDARD" }) };
    if (!isUpload && what === "GET 1" && o === "o") return { operation: "objects.list", parameters: ["prefix", "delimiter", "pageToken", "maxResults", "startOffset", "endOffset", "versions"], handle: (call) => this.#list(call) };
    if (!isUpload && what === "GET 2" && o === "o") return { operation: isMedia ? "media" : "objects.get", parameters: ["generation", ...CONDITIONS], handle: (call) => this.#get(call, isMedia) };
    if (!isUpload && what === "DELETE 2" && o === "o") return { operation: "objects.delete", parameters: ["generation", ...CONDITIONS], handle: (call) => this.#delete(call) };
    if (!isUpload && what === "PATCH 2" && o === "o") return { operation: "objects.patch", parameters: ["generation", ...CONDITIONS], handle: (call) => this.#patch(call) };
    if (!isUpload && what === "POST 3" && verb === "compose") return { operation: "objects.compose", parameters: ["ifGenerationMatch", "ifMetagenerationMatch"], handle: (call) => this.#compose(call) };
    const isCopy = !isUpload && what === "POST 7" && b === "b" && bucket === this.bucket && o2 === "o";
    if (isCopy && verb === "copyTo") return { operation: "objects.copy", parameters: ["sourceGeneration", ...CONDITIONS, ...SOURCE_CONDITIONS], handle: (call) => this.#copy(call) };
    if (isCopy && verb === "rewriteTo") return { operation: "objects.rewrite", parameters: ["sourceGeneration", "rewriteToken", "maxBytesRewrittenPerCall", ...CONDITIONS, ...SOURCE_CONDITIONS], handle: (call) => this.#rewrite(call) };
    throw new ApiError(404, "notFound", "Not Found");
  }

  async #insert({ request, url }: ApiCall): Promise<Response> {
    const name = url.searchParams.get("name") ?? undefined;
    const type = request.headers.get("content-type") ?? "";
    const preconditions = preconditionsOf(url);
    const body = await request.bytes();
    switch (url.searchParams.get("uploadType")) {
      case "media":
        return this.#store(url, { metadata: { ...(name === undefined ? {} : { name }) }, contentType: type, content: body });
      case "multipart": {
        const related = parseRelated(type, body);
        return this.#store(url, { ...related, metadata: { ...related.metadata, ...(name === undefined ? {} : { name }) } });
      }
      case "resumable": {
        const metadata = parseMetadata(body);
        const contentType = metadata.contentType ?? request.headers.get("x-upload-content-type") ?? "application/octet-stream";
        const objectName = requireName(name ?? metadata.name);
        this.objects.check(objectName, preconditions);
        const id = this.sessions.start({ name: objectName, contentType, metadata: metadata.metadata, preconditions, crc32c: metadata.crc32c, md5: metadata.md5Hash });
        // Where the client asked: it may be a proxy's address.
        const location = new URL(`${url.protocol}//${request.headers.get("host")}${url.pathname}`);
        location.search = new URLSearchParams({ uploadType: "resumable", name: objectName, upload_id: id }).toString();
        return new Response(null, { headers: { location: location.href, "x-guploader-uploadid": id } });
      }
      default:
        throw new ApiError(400, "required", "Required parameter: uploadType");
    }
  }

  #store(url: URL, { metadata, contentType, content }: { readonly metadata: ObjectMetadata; readonly contentType: string; readonly content: Uint8Array }): Response {
    const name = requireName(metadata.name);
    checkHashes(content, { crc32c: metadata.crc32c, md5: metadata.md5Hash });
    this.objects.check(name, preconditionsOf(url));
    return this.#resource(url, this.objects.put({ name, content, contentType: metadata.contentType ?? (contentType === "" ? "application/octet-stream" : contentType), metadata: metadata.metadata }));
  }

  #list({ url }: ApiCall): Response {
    const value = (name: string): string => url.searchParams.get(name) ?? "";
    const wanted = value("maxResults") === "" ? this.#maxPage : Number(value("maxResults"));
    if (!Number.isInteger(wanted) || wanted < 1) throw new ApiError(400, "invalid", `Invalid value for maxResults: ${value("maxResults")}`);
    const request = { prefix: value("prefix"), delimiter: value("delimiter"), startOffset: value("startOffset"), endOffset: value("endOffset"), pageToken: value("pageToken"), limit: Math.min(wanted, this.#maxPage) };
    const { items, prefixes, nextPageToken } = this.objects.list(request);
    return this.#json(url, {
      kind: "storage#objects",
      ...(items.length === 0 ? {} : { items: items.map((object) => resourceOf(object, this.bucket)) }),
      ...(prefixes.length === 0 ? {} : { prefixes }),
      ...(nextPageToken === undefined ? {} : { nextPageToken }),
    });
  }

  #get({ request, url, names: [name = ""] }: ApiCall, isMedia: boolean): Response {
    const object = this.objects.get(name, generationOf(url, "generation"));
    this.objects.check(name, preconditionsOf(url), true);
    return isMedia ? mediaResponse(object, request) : this.#resource(url, object);
  }

  #delete({ url, names: [name = ""] }: ApiCall): Response {
    this.objects.get(name, generationOf(url, "generation"));
    this.objects.check(name, preconditionsOf(url));
    this.objects.remove(name);
    return new Response(null, { status: 204 });
  }

  async #patch({ request, url, names: [name = ""] }: ApiCall): Promise<Response> {
    const change = parseMetadata(await request.bytes());
    const object = this.objects.get(name, generationOf(url, "generation"));
    this.objects.check(name, preconditionsOf(url));
    return this.#resource(url, this.objects.patch(object, change));
  }

  async #compose({ request, url, names: [name = ""] }: ApiCall): Promise<Response> {
    const { sourceObjects = [], destination = {} } = parseMetadata(await request.bytes()) as { readonly sourceObjects?: readonly { readonly name: string }[]; readonly destination?: ObjectMetadata };
    if (sourceObjects.length === 0 || sourceObjects.length > MAX_COMPOSED) throw new ApiError(400, "invalid", `The number of source components provided (${sourceObjects.length}) is not between 1 and ${MAX_COMPOSED}.`);
    const sources = sourceObjects.map((source) => this.objects.get(source.name, undefined));
    const target = url.pathname.split("/").slice(-2)[0] ?? name;
    const targetName = decodeURIComponent(target);
    this.objects.check(targetName, preconditionsOf(url));
    const content = new Uint8Array(Buffer.concat(sources.map((source) => source.content)));
    return this.#resource(url, this.objects.put({ name: targetName, content, contentType: destination.contentType ?? "application/octet-stream", metadata: destination.metadata, isComposed: true }));
  }

  async #copy(call: ApiCall): Promise<Response> {
    const { source, target, metadata } = await this.#copyPlan(call);
    return this.#resource(call.url, this.#copyObject(source, target, metadata));
  }

  /** Copies so many bytes in a call, as the real one does between places; until then a token says how far it is. */
  async #rewrite(call: ApiCall): Promise<Response> {
    const { source, target, metadata } = await this.#copyPlan(call);
    const copy = `${source.name} ${source.generation} ${target}`;
    const given = call.url.searchParams.get("rewriteToken");
    const known = given === null ? { copy, doneBytes: 0 } : this.#rewrites.get(given);
    if (known?.copy !== copy) throw new ApiError(400, "invalid", "The rewrite token is not one of this copy.");
    const perCall = Number(call.url.searchParams.get("maxBytesRewrittenPerCall") ?? this.#rewriteBytes);
    if (!Number.isInteger(perCall) || perCall % REWRITE_STEP !== 0) throw new ApiError(400, "invalid", "maxBytesRewrittenPerCall must be a multiple of 1 MiB");
    const doneBytes = Math.min(known.doneBytes + perCall, source.content.length);
    const progress = { kind: "storage#rewriteResponse", totalBytesRewritten: String(doneBytes), objectSize: String(source.content.length) };
    if (doneBytes === source.content.length) return this.#json(call.url, { ...progress, done: true, resource: resourceOf(this.#copyObject(source, target, metadata), this.bucket) });
    const token = Buffer.from(crypto.randomUUID()).toString("base64url");
    this.#rewrites.set(token, { copy, doneBytes });
    return this.#json(call.url, { ...progress, done: false, rewriteToken: token });
  }

  async #copyPlan({ request, url, names: [from = "", to = ""] }: ApiCall): Promise<{ readonly source: StoredObject; readonly target: string; readonly metadata: ObjectMetadata }> {
    const metadata = parseMetadata(await request.bytes());
    const source = this.objects.get(from, generationOf(url, "sourceGeneration"));
    this.objects.check(from, preconditionsOf(url, "Source"));
    this.objects.check(to, preconditionsOf(url));
    return { source, target: to, metadata };
  }

  #copyObject(source: StoredObject, target: string, metadata: ObjectMetadata): StoredObject {
    return this.objects.put({ name: target, content: source.content, contentType: metadata.contentType ?? source.contentType, metadata: metadata.metadata ?? source.metadata, isComposed: source.md5 === undefined });
  }

  /** The XML API, as far as content is read by it: with a signed URL, or with a token. */
  #xml(request: Request, url: URL): Response {
    if (request.method !== "GET" && request.method !== "HEAD") return xmlError(405, "MethodNotAllowed", "The specified method is not allowed against this resource.");
    if (url.searchParams.has("X-Goog-Signature")) {
      const fault = this.account.signatureFault(request, url);
      if (fault !== undefined) return xmlError(fault[0], fault[1], "The URL is not good.");
    } else if (request.headers.has("authorization")) this.account.authorize(request);
    else return xmlError(403, "AccessDenied", "Access denied.");
    const [, bucket = "", ...rest] = url.pathname.split("/").map(decodeURIComponent);
    if (bucket !== this.bucket) return xmlError(404, "NoSuchBucket", "The specified bucket does not exist.");
    const object = this.objects.find(rest.join("/"));
    if (object === undefined) return xmlError(404, "NoSuchKey", "The specified key does not exist.");
    return mediaResponse(object, request);
  }

  #resource(url: URL, object: StoredObject): Response {
    return this.#json(url, resourceOf(object, this.bucket));
  }

  #json(url: URL, resource: object): Response {
    return Response.json(selectFields(resource, url.searchParams.get("fields")), { headers: { "cache-control": "no-cache" } });
  }
}

/** Content, or a range of it, for GET and HEAD. */
function mediaResponse(object: StoredObject, request: Request): Response {
  const { content } = object;
  const headers = mediaHeaders(object);
  const range = request.headers.get("range");
  const [, first, last] = range === null ? [] : (/^bytes=(\d*)-(\d*)$/.exec(range) ?? []);
  if (range === null || first === undefined || last === undefined || (first === "" && last === "")) {
    return new Response(request.method === "HEAD" ? null : content, { headers: { ...headers, "content-length": String(content.length) } });
  }
  const start = first === "" ? Math.max(0, content.length - Number(last)) : Number(first);
  const end = first === "" || last === "" ? content.length : Math.min(Number(last) + 1, content.length);
  if (start >= content.length || end <= start) return new Response("The requested range cannot be satisfied.", { status: 416, headers: { "content-range": `bytes */${content.length}` } });
  const part = content.subarray(start, end);
  return new Response(request.method === "HEAD" ? null : part, { status: 206, headers: { ...headers, "content-length": String(part.length), "content-range": `bytes ${start}-${end - 1}/${content.length}` } });
}

function preconditionsOf(url: URL, whose: "" | "Source" = ""): Preconditions {
  return {
    generationMatch: generationOf(url, `if${whose}GenerationMatch`),
    generationNotMatch: generationOf(url, `if${whose}GenerationNotMatch`),
    metagenerationMatch: generationOf(url, `if${whose}MetagenerationMatch`),
    metagenerationNotMatch: generationOf(url, `if${whose}MetagenerationNotMatch`),
  };
}

function generationOf(url: URL, parameter: string): bigint | undefined {
  const value = url.searchParams.get(parameter);
  if (value === null) return undefined;
  if (!/^\d+$/.test(value)) throw new ApiError(400, "invalid", `Invalid value for ${parameter}: ${value}`);
  return BigInt(value);
}

function requireName(name: string | undefined): string {
  if (name === undefined || name === "") throw new ApiError(400, "required", "Required parameter: name");
  return name;
}
