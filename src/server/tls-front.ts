import type { Socket, SocketHandler, TCPSocketListener, UnixSocketListener } from "bun";
import type { ClientCertificate } from "../auth/controller.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Origin, Place, TlsMaterial } from "./listen.ts";
import { formatAddress, peerAddress } from "./addresses.ts";
import { bunTlsOptions } from "./tls.ts";
import { type CertificateReader, loadCertificateReader } from "./tls-front-certificate.ts";
import { FrontConnection, FrontConnections } from "./tls-front-connection.ts";

/** What is done with clients' certificates. */
export interface ClientPolicy {
  /** Refuse clients that show none. */
  readonly required: boolean;
  /** Refuse clients that show one which is not of a known authority, or over, or not for clients. */
  readonly verified: boolean;
}

/** What is known of a connection. */
export interface FrontPeer {
  readonly address: string;
  /** Only what was verified. */
  readonly certificate: ClientCertificate | undefined;
}

/** What a front is there for. */
export interface FrontPurpose {
  readonly policy: ClientPolicy;
  readonly log: Logger;
}

/** What a front needs. */
export interface TlsFrontOptions extends FrontPurpose {
  readonly tls: TlsMaterial;
  readonly http2: boolean;
  /** Where the application listens on 127.0.0.1. */
  readonly applicationPort: number;
  /** Who connects, where another front is before this one. */
  readonly origin: Origin | undefined;
}

const HANDSHAKE_SECONDS = 30;
/** Protocols for ALPN, each after its length. */
const ALPN = { http1: "\x08http/1.1", http2: "\x02h2\x08http/1.1" } as const;
/** OpenSSL's flag for doing without session tickets: a session taken up again would bring a certificate that nobody verifies again. */
const NO_TICKETS = 0x4000;

/**
 * Terminates TLS where the names in client certificates matter: Bun's HTTP server verifies certificates, but does not show them.
 *
 * Every connection goes on to the application over a loopback connection of its own. Nothing of who it is travels in the stream, where
 * clients could write it as well: the application asks for what belongs to the port that a request comes from. Ports are known here
 * from before the first byte until their connection is closed; what comes from any other port has not come through here.
 */
export class TlsFront {
  readonly #options: TlsFrontOptions;
  readonly #readCertificate: CertificateReader;
  readonly #connections = new FrontConnections();
  readonly #peers = new Map<number, FrontPeer>();
  #net: "tcp" | "unix" = "tcp";
  #listener: TCPSocketListener<FrontConnection> | UnixSocketListener<FrontConnection> | undefined;

  private constructor(options: TlsFrontOptions, readCertificate: CertificateReader) {
    this.#options = options;
    this.#readCertificate = readCertificate;
  }

  /** Makes a front that does not listen yet. */
  static async open(options: TlsFrontOptions): Promise<TlsFront> {
    return new TlsFront(options, await loadCertificateReader());
  }

  /** Begins to listen. @returns The port's address, or the path of the socket. @throws Error when it cannot */
  listen(place: Place): string {
    const { tls, policy, http2 } = this.#options;
    const options = {
      socket: this.#handlers(),
      tls: {
        ...bunTlsOptions(tls),
        requestCert: true,
        rejectUnauthorized: policy.required && policy.verified,
        secureOptions: NO_TICKETS,
        ALPNProtocols: Buffer.from(http2 ? ALPN.http2 : ALPN.http1, "latin1"),
      },
    };
    if ("unix" in place) {
      this.#net = "unix";
      this.#listener = Bun.listen<FrontConnection>({ ...options, unix: place.unix });
      return place.unix;
    }
    const listener = Bun.listen<FrontConnection>({ ...options, ...place });
    this.#listener = listener;
    return formatAddress(place.hostname, listener.port);
  }

  /** @returns Whose connection comes from a port of 127.0.0.1; undefined when it is none of ours. */
  peerOf(port: number | undefined): FrontPeer | undefined {
    return port === undefined ? undefined : this.#peers.get(port);
  }

  /** Takes no more connections. @returns When all that are there have asked for something */
  async close(): Promise<void> {
    this.#listener?.stop(false);
    await this.#connections.settle();
  }

  /** @returns When the application has ended every connection, and the clients have everything. */
  async closed(): Promise<void> {
    await this.#connections.empty();
  }

  /** Ends everything at once. */
  terminate(): void {
    this.#listener?.stop(true);
    this.#connections.terminate();
  }

  #handlers(): SocketHandler<FrontConnection> {
    return {
      open: (client) => {
        client.data = new FrontConnection(client);
        this.#connections.add(client.data);
        client.timeout(HANDSHAKE_SECONDS);
      },
      handshake: (client, success, failure) => {
        if (success) this.#shaken(client, failure);
        else client.terminate();
      },
      data: (client, bytes) => client.data.up.received(bytes),
      drain: (client) => client.data.down.drained(),
      end: (client) => client.data.up.end(),
      close: ({ data: connection }) => {
        connection.clientClosed();
        this.#connections.delete(connection);
      },
      timeout: (client) => client.terminate(),
      error: (client) => client.terminate(),
    };
  }

  #shaken(client: Socket<FrontConnection>, failure: Error | null): void {
    client.timeout(0);
    const peer = this.#admit(client, failure);
    if (peer === undefined) return void client.terminate();
    client.setNoDelay(true);
    void this.#passOn(client.data, peer);
  }

  /** @returns Undefined when the client may not come in. */
  #admit(client: Socket<FrontConnection>, failure: Error | null): FrontPeer | undefined {
    const { policy, log } = this.#options;
    const address = this.#addressOf(client);
    if (address === undefined) return undefined;
    // Bun gives nothing, and not a certificate without content as its types say, when none was shown.
    const shown = (client.getPeerX509Certificate() as ReturnType<typeof client.getPeerX509Certificate> | undefined)?.raw;
    try {
      if (shown === undefined) {
        if (policy.required) throw new Error("the client shows no certificate");
        return { address, certificate: undefined };
      }
      const isVerified = client.authorized && failure === null;
      if (policy.verified && !isVerified) throw failure ?? new Error("the certificate could not be verified");
      return { address, certificate: isVerified ? this.#readCertificate(shown) : undefined };
    } catch (error) {
      log.info("a client was refused for its certificate", { "http.request.remoteaddr": address, "err.message": error instanceof Error ? error.message : String(error) });
      return undefined;
    }
  }

  #addressOf(client: Socket<FrontConnection>): string | undefined {
    const { origin } = this.#options;
    return origin === undefined ? peerAddress(client.remoteAddress, this.#net) : origin(client.remotePort);
  }

  async #passOn(connection: FrontConnection, peer: FrontPeer): Promise<void> {
    try {
      await connection.passOn({
        port: this.#options.applicationPort,
        opened: (port) => void this.#peers.set(port, peer),
        closed: (port) => void this.#peers.delete(port),
      });
    } catch (error) {
      this.#options.log.error("a connection could not be passed on", { "err.message": error instanceof Error ? error.message : String(error) });
      connection.terminate();
    }
  }
}
