import { Readable } from "node:stream";
import { HttpClient, type HttpClientOptions, type OpenAnswer, type StoreAnswer, type StoreRequest } from "../object-store/http-client.ts";
import type { RequestLog } from "./request-log.ts";

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

/** An answer as the SDK wants it. */
export interface Answer {
  readonly statusCode: number;
  readonly reason: string;
  readonly headers: Record<string, string>;
  /** Collected; nothing where the content of an object is left open. */
  readonly body: Uint8Array | Readable;
}

/** What `send` of the SDK's client hands on to the transport. */
export interface SendOptions {
  readonly abortSignal?: AbortSignal | undefined;
  /** The content of an answer of success is put here, to be read later. The SDK would hide it in a stream of its own. */
  readonly download?: Download;
}

/** Content on its way past the SDK. */
export interface Download {
  opened?: OpenAnswer;
}

/** How to reach the store. */
export interface TransportOptions extends HttpClientOptions {
  readonly log: RequestLog;
}

/** Sends the SDK's requests. Its own handler would hand a body over whole, to be copied. */
export class Transport {
  readonly metadata = { handlerProtocol: "http/1.1" };
  readonly #http: HttpClient;
  readonly #log: RequestLog;

  constructor({ log, ...options }: TransportOptions) {
    this.#http = new HttpClient(options);
    this.#log = log;
  }

  /** Sends a request, and resolves when its answer is here: whole, or for a download up to the first byte. */
  async handle(signed: SignedRequest, { abortSignal, download }: SendOptions = {}): Promise<{ readonly response: Answer }> {
    const startedMs = performance.now();
    try {
      const request = storeRequest(signed);
      const answer = download === undefined ? await this.#http.send(request, abortSignal) : await this.#http.open(request, abortSignal);
      if (download !== undefined && "content" in answer) download.opened = answer;
      const response = sdkAnswer(answer);
      this.#log.answered(signed, response, performance.now() - startedMs);
      return { response };
    } catch (error) {
      this.#log.failed(signed, error, performance.now() - startedMs);
      throw error;
    }
  }

  destroy(): void {
    this.#http.close();
  }

  // The SDK's interface of handlers wants these two.
  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): Record<string, never> {
    return {};
  }
}

function storeRequest(signed: SignedRequest): StoreRequest {
  const { method, protocol, hostname, port, headers } = signed;
  const bytes = bytesOf(signed.body);
  return {
    method,
    url: new URL(`${protocol}//${hostname}${port === undefined ? "" : `:${port}`}`),
    path: pathAndQuery(signed),
    headers,
    ...(bytes === undefined ? {} : { body: [bytes] }),
  };
}

function sdkAnswer(answer: StoreAnswer | OpenAnswer): Answer {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(answer.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  // The SDK takes nothing but a stream for content.
  return { statusCode: answer.status, reason: "", headers, body: "content" in answer ? Readable.from([]) : answer.body };
}

function bytesOf(body: unknown): Uint8Array | undefined {
  if (body === undefined || body === null) return undefined;
  if (typeof body === "string") return Buffer.from(body);
  if (body instanceof Uint8Array) return body;
  throw new TypeError("the body of a request to the store is neither text nor bytes");
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
