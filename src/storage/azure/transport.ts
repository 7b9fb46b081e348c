import type { IncomingHttpHeaders } from "node:http";
import { Readable } from "node:stream";
import type { HttpClient, OpenAnswer, StoreAnswer, StoreRequest } from "../object-store/http-client.ts";

/** What the SDK hands to its HTTP client, as far as it is used here. */
export interface SdkRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: { toJson(): Readonly<Record<string, string>> };
  readonly body?: unknown;
  readonly abortSignal?: object | undefined;
}

/** An answer as the SDK wants it. */
export interface SdkResponse {
  readonly request: SdkRequest;
  readonly status: number;
  readonly headers: { toJson(): Readonly<Record<string, string>> };
  readonly bodyAsText?: string;
  readonly readableStreamBody?: NodeJS.ReadableStream;
}

/**
 * Stands where the SDK has its HTTP client. That one is made for whole requests with one time limit each, and gives content as streams
 * of node, in two layers that read ahead; here silence is limited instead, and content comes only as it is read.
 */
export class SdkTransport {
  readonly #http: HttpClient;
  readonly #closed = new AbortController();
  /** Where content is put, by the signal of the call that wants it: of what a caller gives, only that comes through the SDK. */
  readonly #wanted = new WeakMap<object, (answer: OpenAnswer) => void>();

  constructor(http: HttpClient) {
    this.#http = http;
  }

  /** Aborted when the transport is closed. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /**
   * Runs a call of the SDK that downloads.
   * @param call To be made with the signal.
   * @returns The answer, open, which the SDK has not seen the content of.
   */
  async download(call: (signal: AbortSignal) => Promise<unknown>): Promise<OpenAnswer> {
    const { signal } = new AbortController();
    let opened: OpenAnswer | undefined;
    this.#wanted.set(signal, (answer) => {
      opened = answer;
    });
    try {
      await call(signal);
    } catch (error) {
      opened?.content.close();
      throw error;
    }
    if (opened === undefined) throw new Error("azure: the store's answer has no content");
    return opened;
  }

  /** Called by the SDK, for each request. */
  async sendRequest(request: SdkRequest): Promise<SdkResponse> {
    const want = request.abortSignal === undefined ? undefined : this.#wanted.get(request.abortSignal);
    if (want === undefined) return textResponse(request, await this.#http.send(storeRequest(request), this.closed));
    const answer = await this.#http.open(storeRequest(request), this.closed);
    if (!("content" in answer)) return textResponse(request, answer);
    want(answer);
    // Never gives anything, and never ends: to the SDK either would be a download that went wrong.
    return { request, status: answer.status, headers: sdkHeaders(answer.headers), readableStreamBody: new Readable({ read: () => undefined }) };
  }

  /** Gives up what is under way and closes all connections. */
  close(): void {
    this.#closed.abort(new Error("azure: the driver was closed"));
    this.#http.close();
  }
}

function storeRequest({ method, url, headers, body }: SdkRequest): StoreRequest {
  // The HTTP client announces the length itself.
  const { "content-length": _, ...others } = headers.toJson();
  return { method, url: new URL(url), headers: others, body: bodyOf(body) };
}

function textResponse(request: SdkRequest, { status, headers, body }: StoreAnswer): SdkResponse {
  return { request, status, headers: sdkHeaders(headers), bodyAsText: Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString() };
}

function sdkHeaders(headers: IncomingHttpHeaders): SdkResponse["headers"] {
  const entries = Object.entries(headers).flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, Array.isArray(value) ? value.join(", ") : value]]));
  const record = Object.fromEntries(entries);
  return { toJson: () => record };
}

function bodyOf(body: unknown): Uint8Array[] {
  if (body === undefined || body === null) return [];
  if (typeof body === "string") return [Buffer.from(body)];
  if (body instanceof Uint8Array) return [body];
  throw new TypeError("the body of a request to the store is neither text nor bytes");
}
