import { connect, type Socket } from "node:net";

/** An answer as it came over the wire. */
export interface RawResponse {
  /** For instance `HTTP/1.1 200 OK`. */
  readonly statusLine: string;
  readonly status: number;
  /** Values by lower-case name; a repeated header has several. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** The body, taken from the wire by exactly what its framing says. */
  readonly body: Uint8Array;
  /** How the body's end was found. */
  readonly framing: "none" | "length" | "chunked" | "close";
}

/** What a reader must know of the request to frame its answer. */
export interface ReadOptions {
  /** HEAD answers have no body whatever their headers say. */
  readonly method?: string;
  /** Default 10 seconds. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;

/** A TCP connection that sends exactly what it is told, and reads answers strictly by HTTP/1.1's framing rules. */
export class RawSocket implements AsyncDisposable {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #hasEnded = false;
  #error: Error | undefined;
  #changed = Promise.withResolvers<void>();

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    socket.on("end", () => {
      this.#hasEnded = true;
      this.#wake();
    });
    socket.on("close", () => {
      this.#hasEnded = true;
      this.#wake();
    });
    socket.on("error", (error) => {
      this.#error = error;
      this.#wake();
    });
  }

  /** Connects to a port on loopback. */
  static open(port: number): Promise<RawSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port, noDelay: true, allowHalfOpen: true });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new RawSocket(socket));
      });
    });
  }

  /** Sends bytes as they are; resolves when the kernel took them or the peer is gone. */
  write(content: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.write(typeof content === "string" ? Buffer.from(content, "latin1") : content, () => resolve());
    });
  }

  /** Sends a request head: lines are joined by CRLF and ended by an empty one. */
  writeHead(...lines: readonly string[]): Promise<void> {
    return this.write(`${lines.join("\r\n")}\r\n\r\n`);
  }

  /** Closes our half: the peer sees the end of the stream. */
  end(): void {
    this.#socket.end();
  }

  /** Drops the connection at once, with a reset. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  /** Bytes that came and were not yet taken by a read. */
  get pending(): Uint8Array {
    return this.#received;
  }

  /**
   * Reads one answer, informational ones (100 Continue) included.
   * @throws Error when the connection ends or nothing comes in time, or when the bytes are not a well-formed answer.
   */
  async readResponse(options: ReadOptions = {}): Promise<RawResponse> {
    const deadline = Date.now() + (options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const headEnd = await this.#waitFor(() => indexOrUndefined(this.#received, "\r\n\r\n"), "the end of the headers", deadline);
    const [statusLine = "", ...lines] = this.#take(headEnd + 4).toString("latin1").trimEnd().split("\r\n");
    const match = /^HTTP\/1\.1 (\d{3})(?: |$)/.exec(statusLine);
    if (match === null) throw new Error(`not a status line: ${JSON.stringify(statusLine)}`);
    const status = Number(match[1]);
    const headers = parseHeaders(lines);
    const framing = framingOf(status, headers, options.method ?? "GET");
    return { statusLine, status, headers, framing, body: await this.#readBody(framing, headers, deadline) };
  }

  /** Reads an answer and checks that it is the last thing on the connection until the next request. */
  async readOnlyResponse(options: ReadOptions = {}): Promise<RawResponse> {
    const response = await this.readResponse(options);
    await Bun.sleep(50);
    if (this.#received.length > 0) throw new Error(`bytes after the answer: ${JSON.stringify(this.#received.toString("latin1").slice(0, 200))}`);
    return response;
  }

  /** Whether the peer closes (or resets) within a time; bytes that come meanwhile are kept. */
  async closes(withinMs: number): Promise<boolean> {
    const deadline = Date.now() + withinMs;
    while (!this.#hasEnded && Date.now() < deadline) await this.#waitForChange(deadline);
    return this.#hasEnded;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }

  async #readBody(framing: RawResponse["framing"], headers: RawResponse["headers"], deadline: number): Promise<Uint8Array> {
    switch (framing) {
      case "none":
        return new Uint8Array(0);
      case "length": {
        const length = Number(headers.get("content-length")?.[0]);
        await this.#waitFor(() => (this.#received.length >= length ? true : undefined), `${length} bytes of body`, deadline);
        return this.#take(length);
      }
      case "chunked":
        return await this.#readChunks(deadline);
      case "close":
        while (!this.#hasEnded && Date.now() < deadline) await this.#waitForChange(deadline);
        return this.#take(this.#received.length);
    }
  }

  async #readChunks(deadline: number): Promise<Uint8Array> {
    const parts: Buffer[] = [];
    for (;;) {
      const lineEnd = await this.#waitFor(() => indexOrUndefined(this.#received, "\r\n"), "a chunk size", deadline);
      const line = this.#take(lineEnd + 2).toString("latin1").trimEnd();
      if (!/^[0-9a-fA-F]+$/.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`);
      const size = Number.parseInt(line, 16);
      await this.#waitFor(() => (this.#received.length >= size + 2 ? true : undefined), `a chunk of ${size} bytes`, deadline);
      parts.push(this.#take(size));
      if (this.#take(2).toString("latin1") !== "\r\n") throw new Error("a chunk does not end with CRLF");
      if (size === 0) return Buffer.concat(parts);
    }
  }

  async #waitFor<T>(find: () => T | undefined, what: string, deadline: number): Promise<T> {
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      const text = JSON.stringify(this.#received.toString("latin1").slice(0, 500));
      if (this.#hasEnded) throw new Error(`the connection ended (${this.#error?.message ?? "closed"}) while waiting for ${what}; received ${text}`);
      if (Date.now() >= deadline) throw new Error(`timed out waiting for ${what}; received ${text}`);
      await this.#waitForChange(deadline);
    }
  }

  async #waitForChange(deadline: number): Promise<void> {
    const timeout = Promise.withResolvers<void>();
    const timer = setTimeout(timeout.resolve, Math.max(0, deadline - Date.now()));
    await Promise.race([this.#changed.promise, timeout.promise]);
    clearTimeout(timer);
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #take(length: number): Buffer {
    const taken = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return taken;
  }
}

/** The one value of a header. @throws Error when it is repeated. */
export function header(response: RawResponse, name: string): string | undefined {
  const values = response.headers.get(name.toLowerCase()) ?? [];
  if (values.length > 1) throw new Error(`${name} is repeated: ${values.join(" | ")}`);
  return values[0];
}

function parseHeaders(lines: readonly string[]): Map<string, string[]> {
  const headers = new Map<string, string[]>();
  for (const line of lines) {
    const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/.exec(line);
    if (match === null) throw new Error(`not a header line: ${JSON.stringify(line)}`);
    const name = (match[1] ?? "").toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), match[2] ?? ""]);
  }
  return headers;
}

/** @see RFC 9112, section 6.3 */
function framingOf(status: number, headers: RawResponse["headers"], method: string): RawResponse["framing"] {
  const lengths = headers.get("content-length") ?? [];
  const codings = headers.get("transfer-encoding") ?? [];
  if (lengths.length > 1) throw new Error(`Content-Length is repeated: ${lengths.join(" | ")}`);
  if (lengths.length > 0 && codings.length > 0) throw new Error("both Content-Length and Transfer-Encoding");
  if ((status < 200 || status === 204) && lengths.length + codings.length > 0) throw new Error(`a ${status} with ${[...headers.keys()].join(", ")}`);
  if (status < 200 || status === 204 || status === 304 || method === "HEAD") return "none";
  if (codings.length > 0) {
    if (codings.join() !== "chunked") throw new Error(`Transfer-Encoding: ${codings.join()}`);
    return "chunked";
  }
  const length = lengths[0];
  if (length === undefined) return "close";
  if (!/^\d+$/.test(length)) throw new Error(`Content-Length: ${length}`);
  return "length";
}

function indexOrUndefined(buffer: Buffer, text: string): number | undefined {
  const index = buffer.indexOf(text, 0, "latin1");
  return index === -1 ? undefined : index;
}
