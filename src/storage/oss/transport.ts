import type { IncomingHttpHeaders } from "node:http";
import type { HttpClient, OpenAnswer, StoreAnswer } from "../object-store/http-client.ts";

/** What the SDK hands to its HTTP library, as far as we let it. */
export interface SdkRequestParams {
  readonly method: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly content?: Uint8Array | string | undefined;
  /** What the call itself has given to the SDK. */
  readonly ctx: Exchange;
}

/** An answer as the SDK wants it. */
export interface SdkAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly data: Buffer;
  readonly res: { readonly status: number; readonly headers: IncomingHttpHeaders };
}

/** Goes along with one request through the SDK, which has no place for these. */
export interface Exchange {
  readonly signal: AbortSignal;
  /** The body of an answer of success is left to be read. */
  readonly wantsContent: boolean;
  opened?: OpenAnswer;
  /** Set when an answer has come, of whatever status. */
  isAnswered?: boolean;
  /** Why there was no answer. The SDK makes an error of its own of that, without a cause. */
  failure?: unknown;
}

/** Where requests go to, and as what. */
export interface SdkTransportOptions {
  readonly endpoint: URL;
  /** For the header of this name. */
  readonly host: string;
  /** Put before what the SDK calls itself. */
  readonly userAgent: string | undefined;
}

/**
 * Stands where the SDK has urllib, its HTTP library. That one goes through `http.request` with agents of the whole process, wants
 * streams of node to give bodies back-pressure, copies those that are buffers, and gives up a download that a slow client reads; its
 * time limits are for whole requests, so that parts of any size would need one of any length.
 */
export class SdkTransport {
  readonly #http: HttpClient;
  readonly #options: SdkTransportOptions;

  constructor(http: HttpClient, options: SdkTransportOptions) {
    this.#http = http;
    this.#options = options;
  }

  /** Sends a signed request. */
  async request(url: string, { method, headers, content, ctx }: SdkRequestParams): Promise<SdkAnswer> {
    const body = content === undefined ? [] : [typeof content === "string" ? Buffer.from(content) : content];
    const { pathname, search } = new URL(url);
    const request = { method, url: new URL(`${this.#options.endpoint.origin}${pathname}${search}`), headers: this.#headersOf(headers), body };
    try {
      const answer = ctx.wantsContent ? await this.#http.open(request, ctx.signal) : await this.#http.send(request, ctx.signal);
      ctx.isAnswered = true;
      if ("content" in answer) ctx.opened = answer;
      return sdkAnswer(answer);
    } catch (error) {
      ctx.failure = error;
      throw error;
    }
  }

  /** Names in lower case; without the length, which the HTTP client announces itself. */
  #headersOf(headers: Readonly<Record<string, unknown>>): Record<string, string> {
    const entries = Object.entries(headers).map(([name, value]): [string, string] => [name.toLowerCase(), String(value)]);
    const { "content-length": _, "user-agent": sdk = "", ...rest } = Object.fromEntries(entries);
    const { host, userAgent } = this.#options;
    return { ...rest, host, "user-agent": userAgent === undefined ? sdk : `${userAgent} ${sdk}` };
  }
}

function sdkAnswer(answer: StoreAnswer | OpenAnswer): SdkAnswer {
  const { status, headers } = answer;
  return { status, headers, data: "content" in answer ? Buffer.alloc(0) : Buffer.from(answer.body.buffer, answer.body.byteOffset, answer.body.byteLength), res: { status, headers } };
}
