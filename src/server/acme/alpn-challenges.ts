import type { TCPSocketListener } from "bun";
import type { Clock } from "../../lib/clock.ts";
import type { ClientHello } from "./client-hello.ts";
import type { ChallengeAnswer, ChallengeAnswerer } from "./order.ts";
import { makeChallengeCertificate } from "./self-signed.ts";

/** What an authority speaks that asks for proof. */
const PROTOCOL = "acme-tls/1";

/**
 * TLS-ALPN-01 challenges that wait for their authority, each behind a port of 127.0.0.1: Bun chooses a certificate by a client's host,
 * but not by what it wants to speak, so that whoever passes connections on chooses by that.
 * @see RFC 8737
 */
export class AlpnChallenges implements ChallengeAnswerer, Disposable {
  readonly type = "tls-alpn-01";
  readonly #clock: Pick<Clock, "now">;
  readonly #listeners = new Map<string, TCPSocketListener<undefined>>();

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
  }

  async add({ host, keyAuthorization }: ChallengeAnswer): Promise<void> {
    const pair = await makeChallengeCertificate(host, keyAuthorization, this.#clock.now());
    this.#listeners.get(host.toLowerCase())?.stop(true);
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert: pair.certificate, key: pair.key, ALPNProtocols: Buffer.from(String.fromCharCode(PROTOCOL.length) + PROTOCOL, "latin1") },
      socket: {
        data: () => undefined,
        // The certificate is all that is asked for.
        handshake: (socket) => void socket.end(),
      },
    });
    this.#listeners.set(host.toLowerCase(), listener);
  }

  /** @returns The port that answers a client; undefined when it is no authority that asks for proof. */
  portFor({ serverName, protocols }: ClientHello): number | undefined {
    return protocols.includes(PROTOCOL) && serverName !== undefined ? this.#listeners.get(serverName)?.port : undefined;
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners.values()) listener.stop(true);
    this.#listeners.clear();
  }
}
