import { connect, createServer, type Socket } from "node:net";

/** A request on its way through the proxy. */
export interface ProxiedRequest {
  readonly method: string;
  /** Path and query, as sent. */
  readonly url: string;
  /** By names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** A request that has gone through the proxy, or not. */
export interface SeenRequest extends Omit<ProxiedRequest, "body"> {
  /** What went wrong with it, by the plan. */
  readonly fault: Fault | undefined;
}

/** What a request is, so that another try of it is the same. Signatures are in headers, and URLs stay as they are. */
export function callOf({ method, url, headers }: Pick<ProxiedRequest, "method" | "url" | "headers">): string {
  return [method, url, ...WHICH_BYTES.flatMap((name) => headers.get(name) ?? [])].join(" ");
}

/** Headers that say which of many bytes a request is about; the boundaries between the pieces of a body are of one call alone. */
const WHICH_BYTES = ["range", "content-range", "x-ms-range", "x-ms-blob-condition-appendpos", "content-type"];

/** Whether the server hears of a request with which this goes wrong. */
export function reachesServer(fault: Fault | undefined): boolean {
  return fault === undefined || !["answer", "reset", "stall"].includes(fault.kind);
}

/** What goes wrong with one request. */
export type Fault =
  /** Answered in the server's place, which never hears of the request. */
  | { readonly kind: "answer"; readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  /** The connection breaks before the server hears of the request. */
  | { readonly kind: "reset" }
  /** The server does what it is asked for; its answer is lost with the connection. */
  | { readonly kind: "lost-answer" }
  /** Nothing comes, for ever. */
  | { readonly kind: "stall" }
  /** The answer's body ends, with the connection, after so many bytes; one that has no more is lost. */
  | { readonly kind: "truncate"; readonly bodyBytes: number }
  /** The answer's body comes to a halt after so many bytes; of one that has no more nothing comes. */
  | { readonly kind: "stall-body"; readonly bodyBytes: number }
  /** Nothing is wrong with the answer, but the connection is dead after it, without a sign. */
  | { readonly kind: "dead-after" }
  /** The answer says that it is longer (or, below 0, shorter) than it is. */
  | { readonly kind: "wrong-length"; readonly byBytes: number };

/** A proxy in front of a server that speaks HTTP/1.1. */
export interface FaultProxy extends AsyncDisposable {
  /** For instance `http://127.0.0.1:41234`. */
  readonly url: string;
  /** Asked for every request; set by tests. Undefined: nothing goes wrong. */
  plan: (request: ProxiedRequest) => Fault | undefined;
  /** Every request so far. */
  readonly requests: readonly SeenRequest[];
  /** Connections from clients that are open now. */
  readonly connections: number;
}

const HEAD_END = "\r\n\r\n";

/**
 * Starts a proxy on loopback that passes whole requests and whole answers on, as they are, unless its plan says otherwise. Knows
 * nothing of what is said; requests must have a Content-Length or no body.
 * @param target The server, like `http://127.0.0.1:9000`.
 */
export async function startFaultProxy(target: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(target);
  const clients = new Set<Socket>();
  const requests: SeenRequest[] = [];
  const server = createServer((client) => {
    clients.add(client);
    client.once("close", () => clients.delete(client));
    // A connection that breaks is what this is about.
    client.on("error", () => undefined);
    void converse(client).catch(() => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");

  const proxy: FaultProxy = {
    url: `http://127.0.0.1:${address.port}`,
    plan: () => undefined,
    requests,
    get connections() {
      return clients.size;
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  async function converse(client: Socket): Promise<void> {
    const reader = new MessageReader(client);
    for (let message = await reader.next(); message !== undefined; message = await reader.next()) {
      const [method = "", url = ""] = message.head.split(" ", 2);
      const request = { method, url, headers: headersOf(message.head) };
      const fault = proxy.plan({ ...request, body: message.body });
      requests.push({ ...request, fault });
      if (!(await handle(client, message, fault))) return;
    }
  }

  /** @returns Whether the connection goes on. */
  async function handle(client: Socket, message: Message, fault: Fault | undefined): Promise<boolean> {
    switch (fault?.kind) {
      case "reset":
        return breakOff(client);
      case "stall":
        return false;
      case "answer":
        return await send(client, answerOf(fault, message.head.startsWith("HEAD ")));
      case "lost-answer":
        await ask({ hostname, port: Number(port) }, message);
        return breakOff(client);
      default:
        return await passOn(client, { answer: await ask({ hostname, port: Number(port) }, message), fault });
    }
  }

  return proxy;
}

type LateFault = Exclude<Fault, { readonly kind: "reset" | "stall" | "answer" | "lost-answer" }>;

/** @returns Whether the connection goes on. */
async function passOn(client: Socket, { answer, fault }: { readonly answer: Message; readonly fault: LateFault | undefined }): Promise<boolean> {
  if (fault === undefined) return await send(client, answer);
  switch (fault.kind) {
    case "dead-after":
      await send(client, answer);
      return false;
    case "wrong-length":
      return await send(client, { ...answer, head: answer.head.replace(/(\r\ncontent-length: *)(\d+)/i, (_, name: string, length: string) => `${name}${Math.max(0, Number(length) + fault.byBytes)}`) });
    default:
      if (answer.body.length > fault.bodyBytes) await send(client, { ...answer, body: answer.body.subarray(0, fault.bodyBytes) });
      return fault.kind === "truncate" ? breakOff(client) : false;
  }
}

function headersOf(head: string): ReadonlyMap<string, string> {
  const lines = head.split("\r\n").slice(1).filter((line) => line.includes(":"));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
}

function breakOff(client: Socket): false {
  client.destroy();
  return false;
}

async function send(client: Socket, { head, body }: Message): Promise<true> {
  client.write(head);
  if (!client.write(body)) await Promise.race([once(client, "drain"), once(client, "close")]);
  return true;
}

function once(socket: Socket, event: "drain" | "close"): Promise<void> {
  return new Promise((resolve) => void socket.once(event, resolve));
}

function answerOf({ status, headers = {}, body = "" }: Extract<Fault, { readonly kind: "answer" }>, isHead: boolean): Message {
  const lines = Object.entries({ ...headers, "Content-Length": String(Buffer.byteLength(body)) }).map(([name, value]) => `${name}: ${value}\r\n`);
  return { head: `HTTP/1.1 ${status} Fault\r\n${lines.join("")}\r\n`, body: Buffer.from(isHead ? "" : body) };
}

/** Sends a request over a connection of its own and collects the answer. */
async function ask(target: { readonly hostname: string; readonly port: number }, { head, body }: Message): Promise<Message> {
  const server = connect({ host: target.hostname, port: target.port });
  const chunks: Buffer[] = [];
  server.on("data", (chunk: Buffer) => void chunks.push(chunk));
  const ended = new Promise<void>((resolve, reject) => {
    server.once("end", resolve);
    server.once("error", reject);
  });
  server.write(head.replace(/\r\nconnection: [^\r]*/i, "").replace(HEAD_END, `\r\nConnection: close${HEAD_END}`));
  server.write(body);
  await ended;
  server.destroy();
  return unchunked(Buffer.concat(chunks), head.startsWith("HEAD "));
}

/** An answer with its length in the head, on a connection that goes on. */
function unchunked(bytes: Buffer, isHead: boolean): Message {
  const end = bytes.indexOf(HEAD_END);
  if (end === -1) throw new Error("the server closed the connection without an answer");
  const raw = bytes.toString("latin1", 0, end);
  const body = bytes.subarray(end + HEAD_END.length);
  const head = raw.replace(/\r\nconnection: [^\r]*/i, "");
  if (isHead || !/\r\ntransfer-encoding: *chunked/i.test(head)) return { head: `${head}${HEAD_END}`, body };
  const whole = dechunk(body);
  return { head: `${head.replace(/\r\ntransfer-encoding: *chunked/i, "")}\r\nContent-Length: ${whole.length}${HEAD_END}`, body: whole };
}

function dechunk(body: Buffer): Buffer {
  const chunks: Buffer[] = [];
  for (let offset = 0; ; ) {
    const lineEnd = body.indexOf("\r\n", offset);
    const length = Number.parseInt(body.toString("latin1", offset, lineEnd), 16);
    if (!(length > 0)) return Buffer.concat(chunks);
    chunks.push(body.subarray(lineEnd + 2, lineEnd + 2 + length));
    offset = lineEnd + 2 + length + 2;
  }
}

/** A head, its empty line included, and the body after it. */
interface Message {
  readonly head: string;
  readonly body: Buffer;
}

/** Cuts what a client sends into requests. */
class MessageReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #buffered: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#chunks = (socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** @returns undefined when there are no more */
  async next(): Promise<Message | undefined> {
    let end = this.#buffered.indexOf(HEAD_END);
    for (; end === -1; end = this.#buffered.indexOf(HEAD_END)) if (!(await this.#more())) return undefined;
    const head = this.#buffered.toString("latin1", 0, end + HEAD_END.length);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    const parts = [this.#buffered.subarray(head.length)];
    for (let received = parts[0]?.length ?? 0; received < length; ) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return undefined;
      parts.push(value);
      received += value.length;
    }
    const rest = Buffer.concat(parts);
    this.#buffered = rest.subarray(length);
    return { head, body: rest.subarray(0, length) };
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#chunks.next();
    if (done !== true) this.#buffered = Buffer.concat([this.#buffered, value]);
    return done !== true;
  }
}
