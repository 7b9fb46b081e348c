import type { Socket, SocketHandler, TCPSocketListener, UnixSocketListener } from "bun";
import type { AlpnChallenges } from "./acme/alpn-challenges.ts";
import { readClientHello } from "./acme/client-hello.ts";
import { formatAddress, peerAddress } from "./addresses.ts";
import type { Place } from "./listen.ts";
import { FrontConnection, FrontConnections } from "./tls-front-connection.ts";

const GREETING_SECONDS = 30;

/**
 * Looks at what TLS clients say first, and passes an authority that asks for proof of a host on to its challenge, and everybody else to
 * the application, whose TLS it does not touch. It is there while a certificate is ordered, and not otherwise.
 */
export class ChallengeFront {
  readonly #challenges: AlpnChallenges;
  readonly #connections = new FrontConnections();
  readonly #addresses = new Map<number, string>();
  #net: "tcp" | "unix" = "tcp";
  #listener: TCPSocketListener<Greeting> | UnixSocketListener<Greeting> | undefined;

  constructor(challenges: AlpnChallenges) {
    this.#challenges = challenges;
  }

  /** Begins to listen. @returns The port's address, or the path of the socket. @throws Error when it cannot */
  listen(place: Place, applicationPort: number): string {
    const socket = this.#handlers(applicationPort);
    if ("unix" in place) {
      this.#net = "unix";
      this.#listener = Bun.listen<Greeting>({ socket, unix: place.unix });
      return place.unix;
    }
    const listener = Bun.listen<Greeting>({ socket, ...place });
    this.#listener = listener;
    return formatAddress(place.hostname, listener.port);
  }

  /** @returns Who connects from a port of 127.0.0.1; undefined when it is none of ours. */
  originOf(port: number | undefined): string | undefined {
    return port === undefined ? undefined : this.#addresses.get(port);
  }

  /** Takes no more connections. @returns When all that are there have asked for something */
  async close(): Promise<void> {
    this.#listener?.stop(false);
    await this.#connections.settle();
  }

  /** @returns When every connection has ended, and the clients have everything. */
  async closed(): Promise<void> {
    await this.#connections.empty();
  }

  /** Ends everything at once. */
  terminate(): void {
    this.#listener?.stop(true);
    this.#connections.terminate();
  }

  #handlers(applicationPort: number): SocketHandler<Greeting> {
    return {
      open: (client) => {
        client.data = new Greeting(client);
        this.#connections.add(client.data.connection);
        client.timeout(GREETING_SECONDS);
      },
      data: (client, bytes) => this.#received(client, bytes, applicationPort),
      drain: ({ data: { connection } }) => connection.down.drained(),
      end: ({ data: { connection } }) => connection.up.end(),
      close: ({ data: { connection } }) => {
        connection.clientClosed();
        this.#connections.delete(connection);
      },
      timeout: (client) => client.terminate(),
      error: (client) => client.terminate(),
    };
  }

  #received(client: Socket<Greeting>, bytes: Uint8Array, applicationPort: number): void {
    const { connection } = client.data;
    if (client.data.isOver) return connection.up.received(bytes);
    const said = client.data.add(bytes);
    const hello = readClientHello(said);
    if (hello === "incomplete") return;
    client.data.isOver = true;
    client.timeout(0);
    client.setNoDelay(true);
    connection.up.received(said);
    const port = (hello === undefined ? undefined : this.#challenges.portFor(hello)) ?? applicationPort;
    void this.#passOn(client, port);
  }

  async #passOn(client: Socket<Greeting>, port: number): Promise<void> {
    const { connection } = client.data;
    const address = peerAddress(client.remoteAddress, this.#net);
    try {
      await connection.passOn({ port, opened: (own) => void this.#addresses.set(own, address), closed: (own) => void this.#addresses.delete(own) });
    } catch {
      // The challenge is over, or the program stops.
      connection.terminate();
    }
  }
}

/** A connection whose first message is still being read. */
class Greeting {
  readonly connection: FrontConnection;
  isOver = false;
  #said: Uint8Array = new Uint8Array(0);

  constructor(client: Socket<Greeting>) {
    this.connection = new FrontConnection(client);
  }

  /** @returns All that was said. */
  add(bytes: Uint8Array): Uint8Array {
    this.#said = Buffer.concat([this.#said, bytes]);
    return this.#said;
  }
}
