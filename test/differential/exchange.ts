import { RawSocket } from "../support/raw-socket.ts";
import { type RegistryProcess } from "../support/registry-process.ts";

/** One of the two registries that are compared, and what a sequence of requests remembers of it. */
export interface Side {
  readonly registry: RegistryProcess;
  /** Path and query of the newest Location, for the steps of an upload. */
  location: string;
  /** What steps keep for later ones. */
  readonly memory: Map<string, string>;
}

/** A request, sent byte for byte. */
export interface ExchangeRequest {
  readonly method?: string;
  /** Path and query; nothing is escaped or cleaned. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** An answer, as far as it can be compared. */
export interface Answer {
  readonly status: number;
  /** Values by lower-case name, joined by a comma. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** Sends a request on a connection of its own. Lenient in reading: distribution 2.8 breaks the framing of some of its errors. */
export async function exchange(side: Side, request: ExchangeRequest): Promise<Answer> {
  const body = Buffer.from(request.body ?? "");
  const headers = { Host: side.registry.host, Connection: "close", ...(request.body === undefined ? {} : { "Content-Length": String(body.length) }), ...request.headers };
  await using socket = await RawSocket.open(side.registry.port);
  await socket.writeHead(`${request.method ?? "GET"} ${request.path} HTTP/1.1`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`));
  if (body.length > 0) await socket.write(body);
  if (!(await socket.closes(15_000))) throw new Error(`${side.registry.implementation}: ${request.method ?? "GET"} ${request.path}: no end of the answer`);
  const answer = parse(Buffer.from(socket.pending), request.method ?? "GET");
  const location = answer.headers.get("location");
  if (location !== undefined && answer.status < 300) {
    const url = new URL(location, side.registry.url);
    side.location = url.pathname + url.search;
  }
  return answer;
}

function parse(bytes: Buffer, method: string): Answer {
  const end = bytes.indexOf("\r\n\r\n");
  const [statusLine = "", ...lines] = bytes.subarray(0, Math.max(0, end)).toString("latin1").split("\r\n");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers.set(name, headers.has(name) ? `${headers.get(name)}, ${value}` : value);
  }
  let body = method === "HEAD" ? Buffer.alloc(0) : bytes.subarray(end + 4);
  if (headers.get("transfer-encoding") === "chunked") body = unchunk(body);
  return { status: Number(statusLine.split(" ")[1] ?? 0), headers, body: body.toString("latin1") };
}

function unchunk(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let offset = 0; ; ) {
    const lineEnd = bytes.indexOf("\r\n", offset);
    const size = Number.parseInt(bytes.subarray(offset, lineEnd).toString("latin1"), 16);
    if (lineEnd === -1 || !(size > 0)) return Buffer.concat(parts);
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    offset = lineEnd + 2 + size + 2;
  }
}

/** Headers that the two must agree on. */
const COMPARED = [
  "accept-ranges",
  "allow",
  "cache-control",
  "content-length",
  "content-range",
  "content-type",
  "docker-content-digest",
  "docker-distribution-api-version",
  "docker-upload-uuid",
  "etag",
  "link",
  "location",
  "range",
  "www-authenticate",
  "x-custom",
] as const;

/** An answer without what must differ: hosts, tokens, ids; and without what differs everywhere (see `EVERYWHERE` in differences.ts). */
export function normalise(answer: Answer, side: Side): { status: number; headers: Record<string, string>; body: unknown } {
  const headers: Record<string, string> = {};
  for (const name of COMPARED) {
    const value = answer.headers.get(name);
    if (value !== undefined) headers[name] = normaliseText(value, side);
  }
  if (headers["www-authenticate"] !== undefined) headers["www-authenticate"] = sortScopes(headers["www-authenticate"]);
  headers["content-type"] = (headers["content-type"] ?? "").replace("; charset=utf-8", "");
  const body = normaliseBody(answer, side);
  // The length of an error's text, and of a redirection's page, is nobody's business.
  if (answer.status >= 300) delete headers["content-length"];
  if (answer.status < 400 ? answer.status >= 300 : answer.body === "") delete headers["content-type"];
  return { status: answer.status, headers, body };
}

/** Distribution names the resources and the actions of a challenge in whatever order its maps give them. */
function sortScopes(challenge: string): string {
  return challenge.replace(/scope="([^"]*)"/, (_, scope: string) => {
    const sorted = scope.split(" ").map((each) => each.replace(/[^:]*$/, (actions) => actions.split(",").sort().join(",")));
    return `scope="${sorted.sort().join(" ")}"`;
  });
}

function normaliseText(text: string, side: Side): string {
  return text
    .replaceAll(side.registry.host, "HOST")
    .replace(/_state=[^&"]*/g, "_state=STATE")
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UUID");
}

function normaliseBody(answer: Answer, side: Side): unknown {
  if (answer.status >= 300 && answer.status < 400) return "";
  if (!(answer.headers.get("content-type") ?? "").startsWith("application/json")) return normaliseText(answer.body, side);
  let parsed: unknown;
  try {
    parsed = JSON.parse(answer.body);
  } catch {
    return answer.body;
  }
  return answer.status >= 400 ? errorCodes(parsed) : parsed;
}

/** Codes and messages; of the details only what a login would be needed for is compared. */
function errorCodes(body: unknown): unknown {
  const { errors } = body as { errors?: { code?: string; message?: string; detail?: unknown }[] };
  return errors?.map(({ code, message, detail }) => `${code}: ${message}${code === "UNAUTHORIZED" ? ` ${JSON.stringify(detail)}` : ""}`);
}
