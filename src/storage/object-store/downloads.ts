import type { IncomingHttpHeaders } from "node:http";
import { connectionError, StoreConnectionError } from "./connection-error.ts";
import { CLOSED, DownloadConnection, type DownloadConnectionOptions } from "./download-connection.ts";
import type { ByteSource } from "./resumed-stream.ts";

const MAX_HEADERS = 256;
/** Connections that are kept for later, to one host. */
const MAX_IDLE = 64;

/** What is asked for. */
export interface DownloadRequest {
  readonly url: URL;
  /** Path and query, as they are to be sent. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** The beginning of an answer, and what follows it. */
export interface DownloadAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly content: ByteSource;
}

interface AnswerHead {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly canBeKept: boolean;
}

/**
 * GET by HTTP/1.1, over connections of its own. Through node:http, Bun copies every byte once more, and takes half as much CPU time
 * again for what goes through to a client.
 */
export class Downloads {
  readonly #options: DownloadConnectionOptions;
  readonly #open = new Set<DownloadConnection>();
  /** By host. */
  readonly #idle = new Map<string, DownloadConnection[]>();

  constructor(options: DownloadConnectionOptions) {
    this.#options = options;
  }

  /** Sends a request. An answer of any status is an answer; its content is to be read to the end, or closed. @throws StoreConnectionError, the signal's reason */
  async get(request: DownloadRequest, signal?: AbortSignal): Promise<DownloadAnswer> {
    signal?.throwIfAborted();
    const head = requestHead(request);
    const connection = this.#idle.get(request.url.origin)?.pop() ?? this.#connect(request.url);
    const abort = (): void => connection.destroy(asError(signal?.reason));
    signal?.addEventListener("abort", abort, { once: true });
    try {
      connection.send(head);
      const answer = await answerHead(connection);
      const release = (): void => (answer.canBeKept && connection.isIdle ? this.#keep(request.url.origin, connection) : connection.destroy());
      return { status: answer.status, headers: answer.headers, content: bodyOf(answer, connection, release) };
    } catch (error) {
      connection.destroy();
      throw connectionError(error, `GET ${request.url.host}`);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Closes what is kept for later. */
  closeIdle(): void {
    for (const connections of this.#idle.values()) for (const connection of connections.splice(0)) connection.destroy();
  }

  /** Closes all connections. */
  close(): void {
    for (const connection of [...this.#open]) connection.destroy();
  }

  #connect(url: URL): DownloadConnection {
    const connection = new DownloadConnection(url, this.#options, () => {
      this.#open.delete(connection);
      const idle = this.#idle.get(url.origin);
      const index = idle?.indexOf(connection) ?? -1;
      if (index !== -1) idle?.splice(index, 1);
    });
    this.#open.add(connection);
    return connection;
  }

  #keep(origin: string, connection: DownloadConnection): void {
    const idle = this.#idle.get(origin) ?? [];
    this.#idle.set(origin, idle);
    if (idle.length < MAX_IDLE) idle.push(connection);
    else connection.destroy();
  }
}

function requestHead({ url, path, headers }: DownloadRequest): string {
  const lines = [`GET ${path} HTTP/1.1`, ...Object.entries({ host: url.host, ...headers }).map(([name, value]) => `${name}: ${value}`)];
  for (const line of lines) if (/[\r\n\0]/.test(line)) throw new TypeError("a header of a request to the store has a line break in it");
  return `${lines.join("\r\n")}\r\n\r\n`;
}

async function answerHead(connection: DownloadConnection): Promise<AnswerHead> {
  for (;;) {
    const [, minor, status] = /^HTTP\/1\.(\d) (\d{3})/.exec(await connection.line()) ?? [];
    if (status === undefined) throw new StoreConnectionError("the store's answer is not HTTP", "EPROTO");
    const headers: Record<string, string> = {};
    let count = 0;
    for (let line = await connection.line(); line !== ""; line = await connection.line()) {
      if (++count > MAX_HEADERS) throw new Error(`the store's answer has more than ${MAX_HEADERS} headers`);
      const colon = line.indexOf(":");
      const name = line.slice(0, Math.max(0, colon)).toLowerCase();
      const value = line.slice(colon + 1).trim();
      headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
    }
    // What begins with 1 is said before the answer.
    if (!status.startsWith("1")) return { status: Number(status), headers, canBeKept: minor === "1" && !/\bclose\b/i.test(headers["connection"] ?? "") };
  }
}

function bodyOf({ status, headers }: AnswerHead, connection: DownloadConnection, release: () => void): ByteSource {
  if (/\bchunked\b/i.test(headers["transfer-encoding"] ?? "")) return new ChunkedBody(connection, release);
  const length = headers["content-length"];
  if (status === 204 || status === 304) return new PlainBody(connection, 0, release);
  return new PlainBody(connection, length === undefined ? undefined : Number(length), release);
}

/** Bytes up to an announced length, or up to the end of the connection where none is. */
class PlainBody implements ByteSource {
  readonly #connection: DownloadConnection;
  readonly #release: () => void;
  readonly #hasLength: boolean;
  #left: number;

  constructor(connection: DownloadConnection, lengthBytes: number | undefined, release: () => void) {
    this.#connection = connection;
    this.#release = release;
    this.#hasLength = lengthBytes !== undefined;
    this.#left = lengthBytes ?? Number.POSITIVE_INFINITY;
    if (this.#left === 0) release();
  }

  async next(): Promise<Uint8Array | undefined> {
    if (this.#left === 0) return undefined;
    try {
      const piece = await this.#connection.take(this.#left);
      this.#left -= piece.length;
      if (this.#left === 0) this.#release();
      return piece;
    } catch (error) {
      if (!this.#hasLength && error === CLOSED) return undefined;
      throw broken(error);
    }
  }

  close(): void {
    if (this.#left > 0) this.#connection.destroy();
  }
}

/** Bytes in chunks, each with its length before it. @see RFC 9112, 7.1 */
class ChunkedBody implements ByteSource {
  readonly #connection: DownloadConnection;
  readonly #release: () => void;
  #left = 0;
  #isAtEnd = false;

  constructor(connection: DownloadConnection, release: () => void) {
    this.#connection = connection;
    this.#release = release;
  }

  async next(): Promise<Uint8Array | undefined> {
    if (this.#isAtEnd) return undefined;
    try {
      if (this.#left === 0) this.#left = await this.#nextLength();
      if (this.#left === 0) return await this.#finish();
      const piece = await this.#connection.take(this.#left);
      this.#left -= piece.length;
      if (this.#left === 0) await this.#connection.line();
      return piece;
    } catch (error) {
      throw broken(error);
    }
  }

  close(): void {
    if (!this.#isAtEnd) this.#connection.destroy();
  }

  async #nextLength(): Promise<number> {
    const line = await this.#connection.line();
    const [, length] = /^([0-9a-f]{1,12})\s*(?:;|$)/i.exec(line) ?? [];
    if (length === undefined) throw new StoreConnectionError("the store's answer has a chunk without a length", "EPROTO");
    return Number.parseInt(length, 16);
  }

  async #finish(): Promise<undefined> {
    while ((await this.#connection.line()) !== "");
    this.#isAtEnd = true;
    this.#release();
    return undefined;
  }
}

function broken(error: unknown): StoreConnectionError {
  return error instanceof StoreConnectionError ? error : new StoreConnectionError("the connection broke while content came", "ECONNRESET", error);
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("the request was given up");
}
