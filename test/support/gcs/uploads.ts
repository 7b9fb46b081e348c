import { randomBytes } from "node:crypto";
import { ApiError } from "./answers.ts";
import { crc32cOf, md5Of, type NewObject, type Objects, type Preconditions, resourceOf, type StoredObject } from "./objects.ts";

const STEP = 256 * 1024;

/** What a resumable upload is to become. */
interface Plan {
  readonly name: string;
  readonly contentType: string;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  readonly preconditions: Preconditions;
  readonly crc32c: string | undefined;
  readonly md5: string | undefined;
}

interface Session {
  readonly plan: Plan;
  readonly chunks: Uint8Array[];
  sizeBytes: number;
  state: "open" | "cancelled" | StoredObject;
}

/** What a client says of an object that it uploads. */
export interface ObjectMetadata {
  readonly name?: string;
  readonly contentType?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly crc32c?: string;
  readonly md5Hash?: string;
}

/** @throws ApiError 400 when a checksum that the client gave is another */
export function checkHashes(content: Uint8Array, { crc32c, md5 }: { readonly crc32c: string | undefined; readonly md5: string | undefined }): void {
  if (crc32c !== undefined && crc32c !== crc32cOf(content)) throw new ApiError(400, "invalid", `Provided CRC32C "${crc32c}" doesn't match calculated CRC32C "${crc32cOf(content)}".`);
  if (md5 !== undefined && md5 !== md5Of(content)) throw new ApiError(400, "invalid", `Provided MD5 hash "${md5}" doesn't match calculated MD5 hash "${md5Of(content)}".`);
}

/** Takes the two parts of a body of the type `multipart/related` apart. @throws ApiError 400 */
export function parseRelated(contentType: string, body: Uint8Array): { readonly metadata: ObjectMetadata; readonly contentType: string; readonly content: Uint8Array } {
  const boundary = /^multipart\/related;\s*boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (boundary === undefined) throw new ApiError(400, "badContent", "Missing multipart boundary");
  const whole = Buffer.from(body.buffer, body.byteOffset, body.length);
  const first = whole.indexOf(`--${boundary}\r\n`);
  const second = whole.indexOf(`\r\n--${boundary}\r\n`, first);
  const end = whole.lastIndexOf(`\r\n--${boundary}--`);
  if (first !== 0 || second === -1 || end <= second) throw new ApiError(400, "badContent", "Malformed multipart body.");
  const json = partOf(whole.subarray(boundary.length + 4, second));
  const media = partOf(whole.subarray(second + boundary.length + 6, end));
  if (!/^application\/json/i.test(json.type)) throw new ApiError(400, "badContent", "The first part is not JSON.");
  return { metadata: parseMetadata(json.content), contentType: media.type, content: media.content };
}

/** @throws ApiError 400 */
export function parseMetadata(body: Uint8Array): ObjectMetadata {
  if (body.length === 0) return {};
  try {
    // Go's client sends `null` where it has nothing to say.
    return (JSON.parse(Buffer.from(body).toString()) as ObjectMetadata | null) ?? {};
  } catch {
    throw new ApiError(400, "parseError", "Parse Error");
  }
}

/** Uploads that are made in several requests. */
export class Sessions {
  readonly #objects: Objects;
  readonly #sessions = new Map<string, Session>();
  /** What one request stores at most; the client is to send the rest again. */
  maxStoredBytes = Number.POSITIVE_INFINITY;

  constructor(objects: Objects) {
    this.#objects = objects;
  }

  /** How many are neither finished nor cancelled. */
  get openCount(): number {
    return [...this.#sessions.values()].filter(({ state }) => state === "open").length;
  }

  /** The names of the objects that are to come of these, each as often as there are such. */
  get openNames(): readonly string[] {
    return [...this.#sessions.values()].flatMap(({ state, plan }) => (state === "open" ? [plan.name] : []));
  }

  /** @returns The session's id */
  start(plan: Plan): string {
    const id = randomBytes(24).toString("base64url");
    this.#sessions.set(id, { plan, chunks: [], sizeBytes: 0, state: "open" });
    return id;
  }

  cancel(id: string): Response {
    const session = this.#sessions.get(id);
    if (session === undefined) return new Response("Not Found", { status: 404 });
    if (typeof session.state === "string") session.state = "cancelled";
    session.chunks.length = 0;
    return new Response(null, { status: 499 });
  }

  put(id: string, headers: Headers, body: Uint8Array): Response {
    const session = this.#sessions.get(id);
    if (session === undefined) return new Response("Not Found", { status: 404 });
    if (session.state === "cancelled") return new Response(null, { status: 499 });
    if (session.state !== "open") return Response.json(resourceOf(session.state, this.#objects.bucket));
    const range = parseContentRange(headers.get("content-range"), body.length);
    if (range.startByte !== undefined) this.#store(session, { body, startByte: range.startByte, totalBytes: range.totalBytes });
    if (range.totalBytes !== undefined && session.sizeBytes > range.totalBytes) throw new ApiError(400, "invalid", "The upload has more bytes than its size.");
    if (range.totalBytes === session.sizeBytes) return this.#finish(session, headers);
    return new Response(null, { status: 308, headers: session.sizeBytes === 0 ? {} : { range: `bytes=0-${session.sizeBytes - 1}` } });
  }

  #store(session: Session, { body, startByte, totalBytes }: { readonly body: Uint8Array; readonly startByte: number; readonly totalBytes: number | undefined }): void {
    if (totalBytes === undefined && body.length % STEP !== 0) throw new ApiError(400, "badRequest", `Invalid request. The number of bytes uploaded is required to be a multiple of ${STEP}, except for the final request. The received request contained ${body.length} bytes.`);
    if (startByte > session.sizeBytes) throw new ApiError(400, "badRequest", `Invalid request. According to the Content-Range header, the upload offset is ${startByte} byte(s), which exceeds already uploaded size of ${session.sizeBytes} byte(s).`);
    // What is there already is skipped.
    const fresh = body.subarray(session.sizeBytes - startByte).subarray(0, this.maxStoredBytes);
    if (fresh.length === 0) return;
    session.chunks.push(fresh);
    session.sizeBytes += fresh.length;
  }

  #finish(session: Session, headers: Headers): Response {
    const { plan } = session;
    const content = new Uint8Array(Buffer.concat(session.chunks));
    const hashes = headers.get("x-goog-hash") ?? "";
    checkHashes(content, { crc32c: /crc32c=([^,\s]+)/.exec(hashes)?.[1] ?? plan.crc32c, md5: /md5=([^,\s]+)/.exec(hashes)?.[1] ?? plan.md5 });
    this.#objects.check(plan.name, plan.preconditions);
    const object: NewObject = { name: plan.name, contentType: plan.contentType, metadata: plan.metadata, content };
    session.state = this.#objects.put(object);
    session.chunks.length = 0;
    return Response.json(resourceOf(session.state, this.#objects.bucket));
  }
}

function partOf(part: Buffer): { readonly type: string; readonly content: Uint8Array } {
  const end = part.indexOf("\r\n\r\n");
  if (end === -1) throw new ApiError(400, "badContent", "Malformed multipart body.");
  const type = /^content-type:\s*(.+)$/im.exec(part.subarray(0, end).toString())?.[1]?.trim() ?? "application/octet-stream";
  return { type, content: new Uint8Array(part.subarray(end + 4)) };
}

/** @throws ApiError 400 */
function parseContentRange(header: string | null, lengthBytes: number): { readonly startByte: number | undefined; readonly totalBytes: number | undefined } {
  // Without the header the request carries everything.
  if (header === null) return { startByte: 0, totalBytes: lengthBytes };
  const [, first, last, total] = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(header) ?? [];
  if (total === undefined) throw new ApiError(400, "badRequest", `Invalid Content-Range: ${header}`);
  const totalBytes = total === "*" ? undefined : Number(total);
  if (first === undefined || last === undefined) {
    if (lengthBytes > 0) throw new ApiError(400, "badRequest", "The Content-Range names no bytes, but some came.");
    return { startByte: undefined, totalBytes };
  }
  const endByte = Number(last) + 1;
  if (endByte - Number(first) !== lengthBytes) throw new ApiError(400, "badRequest", `The Content-Range ${header} is not that of the ${lengthBytes} bytes that came.`);
  if (totalBytes !== undefined && endByte > totalBytes) throw new ApiError(400, "badRequest", `Invalid Content-Range: ${header}`);
  // With the size known, only the last request may be one that is no multiple.
  if (totalBytes !== undefined && endByte < totalBytes && lengthBytes % STEP !== 0) throw new ApiError(400, "badRequest", `The ${lengthBytes} bytes are no multiple of ${STEP}.`);
  return { startByte: Number(first), totalBytes };
}
