/** An answer, of which only the head is kept. */
export interface Answer {
  readonly status: number;
  /** The head as text, without the last empty line. */
  readonly head: string;
  readonly bodyBytes: number;
}

/** A kept-alive HTTP/1.1 connection that costs the load generator as little as it can: no parsing beyond framing, bodies are dropped. */
export class Connection {
  readonly #parser = new ResponseParser();
  #socket: Bun.Socket<undefined> | undefined;
  #unsent: Uint8Array | undefined;
  #drained = Promise.withResolvers<void>();
  #answer = Promise.withResolvers<Answer>();

  private constructor() {}

  /** Connects to a port on loopback. */
  static async open(port: number): Promise<Connection> {
    const connection = new Connection();
    connection.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, chunk) => connection.#received(chunk),
        drain: () => connection.#continue(),
        close: () => connection.#failed(new Error("the server closed the connection")),
        error: (_, error) => connection.#failed(error),
      },
    });
    connection.#socket.setNoDelay(true);
    return connection;
  }

  /** Sends a request and waits for its whole answer. */
  async request(head: string, body?: Uint8Array): Promise<Answer> {
    this.#answer = Promise.withResolvers();
    this.#parser.begin(head.startsWith("HEAD "));
    // Small bodies go with the head, as clients do it.
    if (body !== undefined && body.length < 65_536) await this.#write(Buffer.concat([Buffer.from(head), body]));
    else {
      await this.#write(Buffer.from(head));
      if (body !== undefined) await this.#write(body);
    }
    return await this.#answer.promise;
  }

  close(): void {
    this.#answer.promise.catch(() => undefined);
    this.#socket?.end();
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#unsent = bytes;
    this.#drained = Promise.withResolvers();
    this.#continue();
    await this.#drained.promise;
  }

  #continue(): void {
    if (this.#unsent === undefined || this.#socket === undefined) return;
    const written = this.#socket.write(this.#unsent);
    this.#unsent = written >= this.#unsent.length ? undefined : this.#unsent.subarray(Math.max(0, written));
    if (this.#unsent === undefined) this.#drained.resolve();
  }

  #received(chunk: Uint8Array): void {
    const answer = this.#parser.push(chunk);
    if (answer !== undefined) this.#answer.resolve(answer);
  }

  #failed(error: Error): void {
    this.#drained.reject(error);
    this.#drained.promise.catch(() => undefined);
    this.#answer.reject(error);
    this.#answer.promise.catch(() => undefined);
  }
}

/** Finds where answers end. One request is under way at a time. */
class ResponseParser {
  #isHead = false;
  #head = "";
  #remaining = 0;
  #isChunked = false;
  #tail = "";
  #bodyBytes = 0;
  #state: "head" | "body" = "head";

  begin(isHead: boolean): void {
    this.#isHead = isHead;
    this.#state = "head";
    this.#head = "";
    this.#bodyBytes = 0;
    this.#tail = "";
  }

  push(chunk: Uint8Array): Answer | undefined {
    let rest = chunk;
    if (this.#state === "head") {
      const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      const before = this.#head.length;
      this.#head += buffer.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end === -1) return undefined;
      rest = chunk.subarray(end + 4 - before);
      this.#head = this.#head.slice(0, end);
      this.#beginBody();
    }
    return this.#body(rest);
  }

  #beginBody(): void {
    const status = this.#head.slice(9, 12);
    const length = /\r\ncontent-length: *(\d+)/i.exec(this.#head)?.[1];
    const hasBody = !this.#isHead && status !== "204" && status !== "304";
    this.#isChunked = hasBody && length === undefined;
    this.#remaining = hasBody ? Number(length ?? 0) : 0;
    this.#state = "body";
  }

  #body(chunk: Uint8Array): Answer | undefined {
    this.#bodyBytes += chunk.length;
    if (this.#isChunked) {
      this.#tail = (this.#tail + Buffer.from(chunk.subarray(-7)).toString("latin1")).slice(-7);
      if (!this.#tail.endsWith("\r\n0\r\n\r\n")) return undefined;
    } else {
      this.#remaining -= chunk.length;
      if (this.#remaining > 0) return undefined;
    }
    return { status: Number(this.#head.slice(9, 12)), head: this.#head, bodyBytes: this.#bodyBytes };
  }
}
