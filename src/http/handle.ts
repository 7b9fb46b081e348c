import type { AccessController } from "../auth/controller.ts";
import { type ErrorCode, ERROR_CODES } from "../oci/errors.ts";
import { hasNameForm, isName, MAX_NAME_LENGTH, parseName } from "../oci/name.ts";
import { drainBody } from "./body.ts";
import { type AppParts, type Peer, RequestContext } from "./context.ts";
import { RequestCredentials } from "./credentials.ts";
import { errorReply, requestFields } from "./errors.ts";
import { hasTooLongHeaders } from "./header-size.ts";
import { type Match, matchPath } from "./match.ts";
import { issueToken } from "./handlers/token.ts";
import { emptyReply, jsonReply, type Reply } from "./reply.ts";
import { allowedMethods, findRoute, requiredAccess, type Route } from "./routes.ts";

/**
 * Serves one request, whatever it is: the pipeline of the registry, on one screen.
 * Never rejects.
 */
export async function handleRequest(parts: AppParts, request: Request, peer: Peer): Promise<Response> {
  const { path, queryText } = splitUrl(request.url);
  const context = new RequestContext(parts, request, { peer, path, queryText });
  const local = stripPrefix(path, parts.options.urls.prefix);
  const match = local === undefined || local.includes("//") ? undefined : matchPath(local);
  const label = match !== undefined && "resource" in match ? match.resource : undefined;
  if (label !== undefined) parts.metrics?.begin(label);
  const span = parts.tracing?.startRequest(request, path);
  let reply: Reply;
  try {
    const unhealthy = parts.unhealthy();
    if (unhealthy !== undefined) reply = refusal(context, "UNAVAILABLE", { detail: unhealthy, headers: { "Retry-After": "10" } });
    else if (hasTooLongHeaders(request, parts.options.maxHeaderBytes)) reply = refusal(context, "UNSUPPORTED", { status: 431, message: "request header fields too large" });
    else if (isTokenRequest(parts, local)) reply = await issueToken(context);
    else if (match === undefined) reply = unrouted(context);
    else if ("redirectTo" in match) reply = redirection(context, parts.options.urls.prefix + match.redirectTo);
    else reply = await (span === undefined ? routed(context, match) : span.run(async () => await routed(context, match)));
  } catch (error) {
    reply = errorReply(error, context);
  }
  if (reply.status >= 400 && request.body !== null) await drainBody(request);
  finish(context, reply, label);
  span?.end(reply.status);
  return toResponse(context, reply, path);
}

// Neither this nor what it calls is `async` without need: each such function on the way costs a request more than a header does, and an
// error that passes through it several times as much.
function routed(context: RequestContext, match: Match): Reply | Promise<Reply> {
  // Before anything else: the name goes into rules, challenges and log lines. A name that no repository can have is an unknown resource.
  if (match.name !== "" && !hasNameForm(match.name)) return refusal(context, "NAME_INVALID", { status: 404, detail: "the repository name has a form that no repository can have" });
  if (match.name.length > MAX_NAME_LENGTH) parseName(match.name);
  const name = servedName(context, match.name);
  const route = findRoute(match.resource, context.request.method);
  const { access } = context.parts;
  if (access === undefined) return handled(context, { match, name, route });
  return authorize(context, access, { match, name, route }).then(() => handled(context, { match, name, route }));
}

/** What a request turned out to ask for. */
interface Target {
  readonly match: Match;
  /** The repository that is served. */
  readonly name: string;
  /** Undefined for a method that the resource does not have. */
  readonly route: Route | undefined;
}

function handled(context: RequestContext, { match, name, route }: Target): Reply | Promise<Reply> {
  if (name !== "") context.repository = parseName(name);
  context.argument = match.argument;
  if (route === undefined) return methodNotAllowed(context, match);
  if (route.writes && context.parts.options.readOnly) return refusal(context, "UNSUPPORTED", { status: 405, message: "the registry is in read-only mode", headers: { Allow: "GET, HEAD" } });
  return route.handle(context);
}

async function authorize(context: RequestContext, access: AccessController, { match, name, route }: Target): Promise<void> {
  const from = match.resource === "blob_upload" ? context.query.get("from") : null;
  const required = route === undefined ? [] : requiredAccess(route.access, name, from !== null && isName(from) ? from : undefined);
  context.grant = await access.authorize(new RequestCredentials(context), required);
  if (context.parts.log.isEnabled("debug")) context.parts.log.debug("authorized request", requestFields(context));
}

/** The repository that is served, which is the one that must be allowed: in a mirror's name space another one than the path names. */
function servedName(context: RequestContext, name: string): string {
  const { resolveNamespace } = context.parts;
  if (resolveNamespace === undefined || !context.queryText.includes("ns=") || !isName(name)) return name;
  const namespace = context.query.get("ns");
  return namespace === null || namespace === "" ? name : (resolveNamespace(namespace, name) ?? name);
}

function isTokenRequest(parts: AppParts, path: string | undefined): boolean {
  const endpoint = parts.access?.tokenEndpoint;
  return endpoint !== undefined && path === endpoint.path;
}

function unrouted(context: RequestContext): Reply {
  if (context.path === "/") return emptyReply(200, { "Cache-Control": "no-cache" });
  if (context.path.includes("//")) return redirection(context, context.path.replace(/\/{2,}/g, "/"));
  return refusal(context, "UNSUPPORTED", { status: 404, message: "404 page not found", detail: "no such resource in the registry API" });
}

function redirection(context: RequestContext, target: string): Reply {
  // A location that began with two slashes would name another host.
  const location = encodeURI(target).replace(/^\/+/, "/");
  return emptyReply(301, { Location: context.queryText === "" ? location : `${location}?${context.queryText}` });
}

function methodNotAllowed(context: RequestContext, match: Match): Reply {
  const headers = { Allow: allowedMethods(match.resource) };
  if (context.request.method === "OPTIONS") return emptyReply(200, headers);
  return refusal(context, "UNSUPPORTED", { status: 405, message: "Method not allowed", headers });
}

function refusal(context: RequestContext, code: ErrorCode, options: { readonly status?: number; readonly message?: string; readonly detail?: unknown; readonly headers?: Record<string, string> }): Reply {
  const entry = { code, message: options.message ?? ERROR_CODES[code].message, ...(options.detail === undefined ? {} : { detail: options.detail }) };
  return jsonReply(options.status ?? ERROR_CODES[code].status, { errors: [entry] }, { headers: options.headers ?? {}, withBody: context.withBody });
}

function toResponse(context: RequestContext, reply: Reply, path: string): Response {
  const headers = reply.headers;
  if (path !== "/") headers["Docker-Distribution-Api-Version"] = "registry/2.0";
  headers["X-Content-Type-Options"] = "nosniff";
  headers["X-Request-Id"] = context.id;
  // HTTP/2 has no such header, and Bun leaves it out there.
  if (context.parts.isCrowded?.() === true) headers["Connection"] = "close";
  for (const name in context.parts.options.headers) {
    const own = headers[name];
    const configured = context.parts.options.headers[name] ?? "";
    headers[name] = own === undefined || own === configured ? configured : `${own}, ${configured}`;
  }
  return new Response(reply.body as ConstructorParameters<typeof Response>[0], { status: reply.status, headers });
}

function finish(context: RequestContext, reply: Reply, label: Match["resource"] | undefined): void {
  const { parts, request } = context;
  const durationMs = performance.now() - context.startedAt;
  if (label !== undefined) {
    parts.metrics?.end(label, request.method, { status: reply.status, durationSeconds: durationMs / 1000, requestBytes: Number(request.headers.get("content-length") ?? 0), responseBytes: reply.sizeBytes });
  }
  if (parts.log.isEnabled("info") && label !== undefined) {
    const outcome = { "http.response.duration": `${durationMs.toFixed(3)}ms`, "http.response.status": reply.status, "http.response.written": reply.sizeBytes };
    parts.log.info(reply.status >= 400 ? "response completed with error" : "response completed", requestFields(context, outcome));
  }
  parts.accessLog?.write({
    clientAddress: context.peer.address,
    method: request.method,
    uri: context.queryText === "" ? context.path : `${context.path}?${context.queryText}`,
    protocol: "HTTP/1.1",
    status: reply.status,
    bytes: reply.sizeBytes,
    referer: request.headers.get("referer") ?? "",
    userAgent: request.headers.get("user-agent") ?? "",
    requestId: context.id,
    user: context.grant.user,
    repository: context.repository === "" ? undefined : context.repository,
    durationMs,
    startedAt: Date.now() - durationMs,
  });
}

/** Splits an absolute URL of Bun's into its decoded path and its raw query, without building a URL object. */
function splitUrl(url: string): { readonly path: string; readonly queryText: string } {
  // Bun gives the path alone when a request of HTTP/1.0 names no host.
  const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
  if (start < 0) return { path: "/", queryText: "" };
  const question = url.indexOf("?", start);
  const raw = question < 0 ? url.slice(start) : url.slice(start, question);
  return { path: raw.includes("%") ? decode(raw) : raw, queryText: question < 0 ? "" : url.slice(question + 1) };
}

function decode(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    // Broken escapes name nothing: the raw text matches no route and no grammar.
    return raw;
  }
}

function stripPrefix(path: string, prefix: string): string | undefined {
  if (prefix === "") return path;
  return path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : undefined;
}
