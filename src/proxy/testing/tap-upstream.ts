import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

const PIECE_BYTES = 100_000;

/** An upstream with one blob, whose bytes it sends only as far as it is let, and whose connections can be cut. Speaks plain sockets. */
export class TapUpstream implements AsyncDisposable {
  readonly bytes: Uint8Array;
  /** First lines and range headers of the requests for the blob. */
  readonly asked: string[] = [];
  /** What a request for the rest of the blob gets: that, a 404, or the whole blob. */
  ranges: "served" | "refused" | "ignored" = "served";
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #open = 0;
  #cut = false;
  #changed = Promise.withResolvers<void>();

  private constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async start(bytes: Uint8Array): Promise<TapUpstream> {
    const tap = new TapUpstream(bytes);
    await new Promise<void>((resolve) => tap.#server.listen(0, "127.0.0.1", resolve));
    return tap;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** How many bytes of the blob may be sent, from its beginning. */
  letThrough(sizeBytes: number): void {
    this.#open = sizeBytes;
    this.#wake();
  }

  /** Cuts transfers where they stand, once they have sent all that they may; those of ranges excepted. */
  cut(): void {
    this.#cut = true;
    this.#wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#cut = true;
    this.#wake();
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    let head = "";
    socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    socket.on("data", (data) => {
      head += data.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      const request = head;
      head = "";
      void this.#answer(socket, request);
    });
  }

  async #answer(socket: Socket, request: string): Promise<void> {
    const range = this.ranges === "ignored" ? null : /^range: (bytes=(\d+)-)\r$/im.exec(request);
    if (!request.includes("/blobs/") || (range !== null && this.ranges === "refused")) return void socket.write("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    this.asked.push(`${request.slice(0, request.indexOf(" "))} ${range?.[1] ?? ""}`.trimEnd());
    const total = this.bytes.length;
    const start = Number(range?.[2] ?? 0);
    const first = range === null ? "200 OK\r\n" : `206 Partial Content\r\ncontent-range: bytes ${start}-${total - 1}/${total}\r\n`;
    socket.write(`HTTP/1.1 ${first}content-length: ${total - start}\r\n\r\n`);
    if (!request.startsWith("HEAD")) await this.#send(socket, start, range !== null);
  }

  async #send(socket: Socket, start: number, isRange: boolean): Promise<void> {
    for (let sent = start; sent < this.bytes.length && !socket.destroyed; ) {
      const end = Math.min(isRange ? this.bytes.length : this.#open, sent + PIECE_BYTES);
      if (end > sent) {
        await new Promise((resolve) => socket.write(this.bytes.subarray(sent, end), resolve));
        sent = end;
      } else if (this.#cut) {
        socket.destroy();
      } else {
        await this.#changed.promise;
      }
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
