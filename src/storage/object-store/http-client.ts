import { Agent as HttpAgent, type AgentOptions, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { connectionError, StoreConnectionError } from "./connection-error.ts";
import { Downloads } from "./downloads.ts";
import type { ByteSource } from "./resumed-stream.ts";

/** Bodies go out in pieces of this size: a part is never copied whole. */
const SLICE_BYTES = 256 * 1024;
/** Answers other than the content of objects are lists, and errors. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const MAX_SOCKETS = 1024;
const MAX_IDLE_SOCKETS = 64;
const CONNECT_TIMEOUT_MS = 10_000;

/** A request to a store. */
export interface StoreRequest {
  readonly method: string;
  readonly url: URL;
  /** Path and query exactly as they were signed, where the URL would write them otherwise. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** One after the other; their length is announced. */
  readonly body?: readonly Uint8Array[];
}

/** An answer with its whole body. */
export interface StoreAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** An answer whose body is still to be read. */
export interface OpenAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly content: ByteSource;
}

/** How to reach a store. */
export interface HttpClientOptions {
  /** How long the store may be silent. */
  readonly silenceMs: number;
  /** Where the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY are. */
  readonly proxyEnv: Readonly<Record<string, string | undefined>>;
  /** Certificates are not verified. */
  readonly skipVerify?: boolean;
}

/**
 * HTTP to a store, through node:http, and for content, where no proxy may stand between, past it. Not through fetch, of which Bun
 * allows 256 at a time in the whole process, responses that slow clients read included. An answer of any status is an answer;
 * redirects are not followed.
 */
export class HttpClient {
  readonly #silenceMs: number;
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;
  readonly #downloads: Downloads | undefined;

  constructor(options: HttpClientOptions) {
    this.#silenceMs = options.silenceMs;
    this.#downloads = namesProxy(options.proxyEnv) ? undefined : new Downloads(options);
    // `proxyEnv` is newer than the type declarations.
    const agent: AgentOptions & { readonly proxyEnv: Readonly<Record<string, string | undefined>> } = {
      keepAlive: true,
      maxSockets: MAX_SOCKETS,
      maxFreeSockets: MAX_IDLE_SOCKETS,
      proxyEnv: options.proxyEnv,
    };
    this.#http = new HttpAgent(agent);
    this.#https = new HttpsAgent(options.skipVerify === true ? { ...agent, rejectUnauthorized: false } : agent);
  }

  /** Sends a request and reads the answer. @throws StoreConnectionError, the signal's reason, Error for an answer without measure */
  async send(request: StoreRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return await this.#exchange(request, signal, async (incoming, watch) => ({
      status: incoming.statusCode ?? 0,
      headers: incoming.headers,
      body: await collect(incoming, { isHead: request.method === "HEAD", watch }),
    }));
  }

  /** Sends a request. Only an answer of success is left open; of any other the body is read. @throws as `send` */
  async open(request: StoreRequest, signal?: AbortSignal): Promise<OpenAnswer | StoreAnswer> {
    if (this.#downloads !== undefined && request.method === "GET") return await this.#download(this.#downloads, request, signal);
    return await this.#exchange<OpenAnswer | StoreAnswer>(request, signal, async (incoming, watch) => {
      const { statusCode: status = 0, headers } = incoming;
      if (isContent(status)) return { status, headers, content: new ContentReader(incoming, this.#silenceMs) };
      return { status, headers, body: await collect(incoming, { isHead: false, watch }) };
    });
  }

  /** Closes all connections. */
  close(): void {
    this.#http.destroy();
    this.#https.destroy();
    this.#downloads?.close();
  }

  async #download(downloads: Downloads, { url, path = `${url.pathname}${url.search}`, headers = {} }: StoreRequest, signal: AbortSignal | undefined): Promise<OpenAnswer | StoreAnswer> {
    try {
      const answer = await downloads.get({ url, path, headers }, signal);
      if (isContent(answer.status)) return answer;
      return { status: answer.status, headers: answer.headers, body: await collectSource(answer.content) };
    } catch (error) {
      if (error instanceof StoreConnectionError) this.#closeIdle();
      throw error;
    }
  }

  async #exchange<T>(request: StoreRequest, signal: AbortSignal | undefined, read: (incoming: IncomingMessage, watch: SilenceWatch) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const { method, url, path, headers = {}, body = [] } = request;
    const isTls = url.protocol === "https:";
    const lengthBytes = body.reduce((sum, { length }) => sum + length, 0);
    const outgoing = (isTls ? httpsRequest : httpRequest)(url, {
      method,
      ...(path === undefined ? {} : { path }),
      headers: { ...headers, ...(lengthBytes > 0 || method === "POST" || method === "PUT" ? { "content-length": String(lengthBytes) } : {}) },
      agent: isTls ? this.#https : this.#http,
    });
    // Bun leaves it off: a small body, which goes out after the headers, would wait for their acknowledgement, 40 ms as a rule.
    outgoing.setNoDelay(true);
    using watch = new SilenceWatch(outgoing, this.#silenceMs);
    const abort = (): void => void outgoing.destroy(asError(signal?.reason));
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const answered = answerTo(outgoing);
      const isSent = await sendBody(outgoing, body, { watch, answered });
      const incoming = await answered;
      watch.heard();
      const result = await read(incoming, watch);
      // The connection would wait for the rest for ever.
      if (!isSent) outgoing.destroy();
      return result;
    } catch (error) {
      outgoing.destroy();
      const failure = connectionError(error, `${method} ${url.host}`);
      if (failure instanceof StoreConnectionError) this.#closeIdle();
      throw failure;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Where one connection has died without a sign others may have, too: the next try is to find a new one. */
  #closeIdle(): void {
    for (const { freeSockets } of [this.#http, this.#https]) for (const sockets of Object.values(freeSockets)) for (const socket of sockets ?? []) socket.destroy();
    this.#downloads?.closeIdle();
  }
}

/** Reads an answer's body, and gives up when the store falls silent. That nobody reads is no silence. */
class ContentReader implements ByteSource {
  readonly #body: IncomingMessage;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #silenceMs: number;

  constructor(body: IncomingMessage, silenceMs: number) {
    this.#body = body;
    this.#chunks = (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    this.#silenceMs = silenceMs;
  }

  async next(): Promise<Uint8Array | undefined> {
    const timer = setTimeout(() => this.#body.destroy(new StoreConnectionError(`the store sent nothing for ${this.#silenceMs} ms`, "ETIMEDOUT")), this.#silenceMs);
    try {
      const { done, value } = await this.#chunks.next();
      return done === true ? undefined : value;
    } catch (error) {
      if (error instanceof StoreConnectionError) throw error;
      throw new StoreConnectionError("the connection broke while content came", "ECONNRESET", error);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#body.destroy();
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
 * @returns Whether all of it went out.
 */
async function sendBody(outgoing: ClientRequest, body: readonly Uint8Array[], { watch, answered }: { readonly watch: SilenceWatch; readonly answered: Promise<unknown> }): Promise<boolean> {
  let isAnswered = false;
  const settled = answered.then(
    () => void (isAnswered = true),
    () => void (isAnswered = true),
  );
  for (const bytes of body) {
    for (let offset = 0; offset < bytes.length; offset += SLICE_BYTES) {
      if (isAnswered) return false;
      if (!outgoing.write(bytes.subarray(offset, offset + SLICE_BYTES))) await Promise.race([drained(outgoing), settled]);
      watch.heard();
    }
  }
  outgoing.end();
  return true;
}

function drained(outgoing: ClientRequest): Promise<void> {
  return new Promise((resolve) => void outgoing.once("drain", resolve));
}

async function collect(incoming: IncomingMessage, { isHead, watch }: { readonly isHead: boolean; readonly watch: SilenceWatch }): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) {
    watch.heard();
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_ANSWER_BYTES) throw new Error(`the store's answer is longer than ${MAX_ANSWER_BYTES} bytes`);
  }
  const announced = incoming.headers["content-length"];
  if (!isHead && announced !== undefined && Number(announced) !== sizeBytes) {
    throw new StoreConnectionError(`the store's answer ended after ${sizeBytes} of ${announced} bytes`, "ECONNRESET");
  }
  return Buffer.concat(chunks);
}

async function collectSource(source: ByteSource): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes <= MAX_ANSWER_BYTES) continue;
    source.close();
    throw new Error(`the store's answer is longer than ${MAX_ANSWER_BYTES} bytes`);
  }
  return Buffer.concat(chunks);
}

function isContent(status: number): boolean {
  return status === 200 || status === 206;
}

/** Whether any proxy is named; which requests it is for is left to node:http. */
function namesProxy(env: Readonly<Record<string, string | undefined>>): boolean {
  return Object.entries(env).some(([name, value]) => /^https?_proxy$/i.test(name) && value !== undefined && value !== "");
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("the request was given up");
}
