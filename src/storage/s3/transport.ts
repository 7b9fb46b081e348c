import { Agent as HttpAgent, type AgentOptions, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { RequestLog } from "./request-log.ts";

/** Bodies go out in pieces of this size: a part is never copied whole. */
const SLICE_BYTES = 256 * 1024;
/** Answers other than the content of objects are lists, and errors. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const MAX_SOCKETS = 1024;
const MAX_IDLE_SOCKETS = 64;
const CONNECT_TIMEOUT_MS = 10_000;

/** A request as the SDK has signed it. */
export interface SignedRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | readonly string[] | null>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** An answer as the SDK wants it. The body is collected, but for the content of objects. */
export interface Answer {
  readonly statusCode: number;
  readonly reason: string;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array | IncomingMessage;
}

/** How to reach the store. */
export interface TransportOptions {
  /** Does not verify certificates. */
  readonly skipVerify: boolean;
  /** How long the store may be silent. */
  readonly silenceMs: number;
  /** Where the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY are. */
  readonly proxyEnv: Readonly<Record<string, string | undefined>>;
  readonly log: RequestLog;
}

/** The connection broke, or the store was silent for too long. The SDK tries such requests again. */
export class StoreConnectionError extends Error {
  readonly code: string;
  // The SDK's mark for "try again".
  readonly $retryable = {};
  constructor(message: string, code: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StoreConnectionError";
    this.code = code;
  }
}

/**
 * Sends the SDK's requests through node:http. Not through fetch, of which Bun allows 256 at a time in the whole process, responses
 * that slow clients read included; and not with the SDK's own handler, which hands a body over whole, to be copied.
 */
export class Transport {
  readonly metadata = { handlerProtocol: "http/1.1" };
  readonly #options: TransportOptions;
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;

  constructor(options: TransportOptions) {
    this.#options = options;
    // `proxyEnv` is newer than the type declarations.
    const agent: AgentOptions & { readonly proxyEnv: Readonly<Record<string, string | undefined>> } = {
      keepAlive: true,
      maxSockets: MAX_SOCKETS,
      maxFreeSockets: MAX_IDLE_SOCKETS,
      proxyEnv: options.proxyEnv,
    };
    this.#http = new HttpAgent(agent);
    this.#https = new HttpsAgent({ ...agent, rejectUnauthorized: !options.skipVerify });
  }

  /** Sends a request, and resolves when its answer is here: whole, or for the content of an object up to the first byte. */
  async handle(request: SignedRequest, options: { readonly abortSignal?: AbortSignal | undefined } = {}): Promise<{ readonly response: Answer }> {
    const { log } = this.#options;
    const startedMs = performance.now();
    try {
      const response = await this.#exchange(request, options.abortSignal);
      log.answered(request, response, performance.now() - startedMs);
      return { response };
    } catch (error) {
      log.failed(request, error, performance.now() - startedMs);
      throw error;
    }
  }

  destroy(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  // The SDK's interface of handlers wants these two.
  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): Record<string, never> {
    return {};
  }

  async #exchange(request: SignedRequest, signal: AbortSignal | undefined): Promise<Answer> {
    signal?.throwIfAborted();
    const isTls = request.protocol === "https:";
    const outgoing = (isTls ? httpsRequest : httpRequest)({
      method: request.method,
      host: request.hostname,
      ...(request.port === undefined ? {} : { port: request.port }),
      path: pathAndQuery(request),
      headers: { ...request.headers },
      agent: isTls ? this.#https : this.#http,
    });
    // Bun leaves it off: a small body, which goes out after the headers, would wait for their acknowledgement, 40 ms as a rule.
    outgoing.setNoDelay(true);
    using watch = new SilenceWatch(outgoing, this.#options.silenceMs);
    const abort = (): void => void outgoing.destroy(asError(signal?.reason));
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const answered = answerTo(outgoing);
      const isSent = await sendBody(outgoing, bytesOf(request.body), { watch, answered });
      const incoming = await answered;
      watch.heard();
      const body = isContent(request, incoming) ? incoming : await collect(incoming, request.method, watch);
      // The connection would wait for the rest for ever.
      if (!isSent) outgoing.destroy();
      return { statusCode: incoming.statusCode ?? 0, reason: incoming.statusMessage ?? "", headers: flatHeaders(incoming), body };
    } catch (error) {
      outgoing.destroy();
      const failure = connectionError(error, `${request.method} ${request.hostname}`);
      if (failure instanceof StoreConnectionError) this.#closeIdle();
      throw failure;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Where one connection has died without a sign others may have, too: the next try is to find a new one. */
  #closeIdle(): void {
    for (const { freeSockets } of [this.#http, this.#https]) for (const sockets of Object.values(freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }
}

/** Ends a request when nothing has gone out or come in for too long. Waiting for a free socket does not count. */
class SilenceWatch implements Disposable {
  #timer: NodeJS.Timeout | undefined;
  readonly #request: ClientRequest;
  readonly #silenceMs: number;

  constructor(request: ClientRequest, silenceMs: number) {
    this.#request = request;
    this.#silenceMs = silenceMs;
    request.once("socket", (socket) => {
      if (!socket.connecting) return this.heard();
      this.#start(Math.min(CONNECT_TIMEOUT_MS, silenceMs), "connect");
      socket.once("connect", () => this.heard());
    });
  }

  /** Something went out or came in. */
  heard(): void {
    this.#start(this.#silenceMs, "answer");
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #start(ms: number, what: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#request.destroy(new StoreConnectionError(`the store did not ${what} within ${ms} ms`, "ETIMEDOUT")), ms);
  }
}

function answerTo(outgoing: ClientRequest): Promise<IncomingMessage> {
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.once("close", () => reject(new StoreConnectionError("the store closed the connection", "ECONNRESET")));
    // Stays: errors may come after the answer, too, and would else end the program.
    outgoing.on("error", reject);
  });
  // Waited for only after the body has gone out.
  answered.catch(() => undefined);
  return answered;
}

/**
 * Writes a body in slices, as fast as the socket takes them. A store may answer (with an error) before it has read everything.
 * @returns Whether the request was sent to its end.
 */
async function sendBody(outgoing: ClientRequest, body: Uint8Array | undefined, { watch, answered }: { readonly watch: SilenceWatch; readonly answered: Promise<unknown> }): Promise<boolean> {
  let isAnswered = false;
  const settled = answered.then(
    () => void (isAnswered = true),
    () => void (isAnswered = true),
  );
  for (let offset = 0; body !== undefined && offset < body.length && !isAnswered; offset += SLICE_BYTES) {
    if (!outgoing.write(body.subarray(offset, offset + SLICE_BYTES))) await Promise.race([drained(outgoing), settled]);
    watch.heard();
  }
  if (isAnswered) return false;
  outgoing.end();
  return true;
}

function drained(outgoing: ClientRequest): Promise<void> {
  return new Promise((resolve) => void outgoing.once("drain", resolve));
}

async function collect(incoming: IncomingMessage, method: string, watch: SilenceWatch): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) {
    watch.heard();
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_ANSWER_BYTES) throw new Error(`the store's answer is longer than ${MAX_ANSWER_BYTES} bytes`);
  }
  const announced = incoming.headers["content-length"];
  if (method !== "HEAD" && announced !== undefined && Number(announced) !== sizeBytes) {
    throw new StoreConnectionError(`the store's answer ended after ${sizeBytes} of ${announced} bytes`, "ECONNRESET");
  }
  return Buffer.concat(chunks);
}

/** Whether the answer carries what is stored, to be read as a stream. */
function isContent({ query }: SignedRequest, { statusCode = 0 }: IncomingMessage): boolean {
  return query?.["x-id"] === "GetObject" && (statusCode === 200 || statusCode === 206);
}

function bytesOf(body: unknown): Uint8Array | undefined {
  if (body === undefined || body === null) return undefined;
  if (typeof body === "string") return Buffer.from(body);
  if (body instanceof Uint8Array) return body;
  throw new TypeError("the body of a request to the store is neither text nor bytes");
}

function flatHeaders(incoming: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  return headers;
}

/** The path and query of a request, as its signature was made over them. */
export function pathAndQuery({ path, query = {} }: Pick<SignedRequest, "path" | "query">): string {
  const parts: string[] = [];
  for (const name of Object.keys(query).sort()) {
    const value = query[name] ?? null;
    if (value === null) parts.push(escapeUri(name));
    else for (const each of typeof value === "string" ? [value] : value) parts.push(`${escapeUri(name)}=${escapeUri(each)}`);
  }
  return parts.length === 0 ? path : `${path}?${parts.join("&")}`;
}

/** RFC 3986, which is stricter than `encodeURIComponent`. */
function escapeUri(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Marks what the network does as worth another try; everything else stays as it is. */
function connectionError(error: unknown, what: string): unknown {
  if (error instanceof StoreConnectionError || !(error instanceof Error)) return error;
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  if (code === undefined || isCertificateError(code)) return error;
  return new StoreConnectionError(`${what}: ${error.message}`, code, error);
}

function isCertificateError(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|PATH_LENGTH_EXCEEDED|ERR_TLS_/.test(code);
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("the request was given up");
}
