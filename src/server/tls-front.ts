import type { Socket, SocketHandler, TCPSocketListener, UnixSocketListener } from "bun";
import type { ClientCertificate } from "../auth/controller.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Place, TlsMaterial } from "./listen.ts";
import { formatAddress, plainAddress } from "./addresses.ts";
import { bunTlsOptions } from "./tls.ts";
import { type CertificateReader, loadCertificateReader } from "./tls-front-certificate.ts";
import { RelayDirection } from "./tls-front-relay.ts";

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
}

const HANDSHAKE_SECONDS = 30;
const LOOPBACK = "127.0.0.1";
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
  readonly #connections = new Set<FrontConnection>();
  readonly #peers = new Map<number, FrontPeer>();
  #listener: TCPSocketListener<FrontConnection> | UnixSocketListener<FrontConnection> | undefined;
  #emptied: (() => void) | undefined;

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

  /** Takes no more connections; those that have asked for nothing yet are closed. */
  close(): void {
    this.#listener?.stop(false);
    for (const connection of this.#connections) if (!connection.isUsed) connection.terminate();
  }

  /** @returns When the application has ended every connection, and the clients have everything. */
  async closed(): Promise<void> {
    for (const connection of this.#connections) if (!connection.isUsed) connection.terminate();
    if (this.#connections.size === 0) return;
    await new Promise<void>((resolve) => (this.#emptied = resolve));
  }

  /** Ends everything at once. */
  terminate(): void {
    this.#listener?.stop(true);
    for (const connection of this.#connections) connection.terminate();
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
      close: (client) => this.#clientClosed(client.data),
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
    // Without one on unix sockets, whatever its type says.
    const address = plainAddress((client.remoteAddress as string | undefined) ?? "");
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

  async #passOn(connection: FrontConnection, peer: FrontPeer): Promise<void> {
    let port = 0;
    try {
      await Bun.connect({
        hostname: LOOPBACK,
        port: this.#options.applicationPort,
        socket: {
          open: (application) => {
            if (connection.isOver) return void application.terminate();
            application.setNoDelay(true);
            port = application.localPort;
            this.#peers.set(port, peer);
            connection.connect(application);
          },
          data: (_, bytes) => connection.down.received(bytes),
          drain: () => connection.up.drained(),
          end: () => connection.down.end(),
          close: () => {
            this.#peers.delete(port);
            connection.up.discard();
            connection.down.end();
          },
          timeout: (application) => void application.terminate(),
          error: (application) => void application.terminate(),
        },
      });
    } catch (error) {
      this.#options.log.error("a connection could not be passed on", { "err.message": error instanceof Error ? error.message : String(error) });
      connection.terminate();
    }
  }

  #clientClosed(connection: FrontConnection): void {
    connection.isOver = true;
    connection.down.discard();
    // What the client sent is passed on to the end: uploads that broke off can be gone on with.
    connection.up.end();
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#emptied?.();
  }
}

/** A client's connection, and the one that it goes on by. */
class FrontConnection {
  readonly up = new RelayDirection();
  readonly down = new RelayDirection();
  readonly #client: Socket<FrontConnection>;
  #application: Socket<undefined> | undefined;
  isOver = false;

  constructor(client: Socket<FrontConnection>) {
    this.#client = client;
    this.up.connect({ source: client });
    this.down.connect({ target: client });
  }

  /** Whether the client has asked for anything. */
  get isUsed(): boolean {
    return this.up.isUsed;
  }

  connect(application: Socket<undefined>): void {
    this.#application = application;
    this.down.connect({ source: application });
    this.up.connect({ target: application });
  }

  terminate(): void {
    this.#client.terminate();
    this.#application?.terminate();
  }
}
