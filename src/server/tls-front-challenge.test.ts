import { afterAll, beforeAll, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { connect as connectPlain } from "node:net";
import { connect, type ConnectionOptions, type PeerCertificate } from "node:tls";
import { makeCertificate, type TestCertificate } from "../../test/support/certificates.ts";
import type { Peer } from "../http/context.ts";
import { recordingLogger } from "../auth/testing/parts.ts";
import { AlpnChallenges } from "./acme/alpn-challenges.ts";
import { listen, type Listener, parseAddress, type TlsMaterial } from "./listen.ts";

const HOST = "registry.test";
let authority: TestCertificate;
let server: TestCertificate;
let client: TestCertificate;
beforeAll(async () => {
  authority = await makeCertificate("authority", { isAuthority: true });
  server = await makeCertificate("server", { issuer: authority });
  client = await makeCertificate("alice", { issuer: authority });
});
const challenges = new AlpnChallenges({ now: () => Date.now() });
afterAll(() => challenges[Symbol.dispose]());

function material(front: TlsMaterial["front"]): TlsMaterial {
  const asks = front !== undefined;
  return { certificate: server.certificate, key: server.key, clientCas: asks ? [authority.certificate] : [], requestCertificate: asks, rejectUnauthorized: false, minVersion: "TLSv1.2", ciphers: undefined, front };
}

async function start(front: TlsMaterial["front"]): Promise<{ readonly listener: Listener; readonly port: number; readonly peers: readonly Peer[] } & AsyncDisposable> {
  const peers: Peer[] = [];
  const listener = await listen({
    address: { net: "tcp", hostname: "127.0.0.1", port: 0 },
    tls: material(front),
    challenges,
    http2: true,
    idleTimeoutSeconds: 30,
    handle: async (_, peer) => {
      peers.push(peer);
      return new Response("ok");
    },
    failed: () => new Response(null, { status: 500 }),
  });
  return { listener, port: parseAddress(listener.address).port, peers, [Symbol.asyncDispose]: async () => await listener.stop(false) };
}

/** What a client is shown, and what it came to speak. */
async function shown(port: number, options: ConnectionOptions): Promise<{ readonly certificate: PeerCertificate; readonly protocol: string | false | null }> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, servername: HOST, rejectUnauthorized: false, ...options }, () => {
      resolve({ certificate: socket.getPeerCertificate(), protocol: socket.alpnProtocol });
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

async function get(port: number, options: ConnectionOptions = {}): Promise<string> {
  return await new Promise((resolve, reject) => {
    let text = "";
    // The types leave out that a client may choose its own address.
    const from = { localAddress: "127.0.0.7" } as ConnectionOptions;
    const socket = connect({ ...from, host: "127.0.0.1", port, servername: HOST, rejectUnauthorized: false, ...options }, () => socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    socket.on("data", (bytes: Buffer) => (text += bytes.toString()));
    socket.once("close", () => resolve(text));
    socket.once("error", reject);
  });
}

test("an authority is shown the challenge of the host that it asks for, and everybody else the certificate", async () => {
  await using running = await start(undefined);
  await challenges.add({ host: HOST, token: "token", keyAuthorization: "token.thumbprint" });
  const asked = await shown(running.port, { ALPNProtocols: ["acme-tls/1"] });
  expect(asked.protocol).toBe("acme-tls/1");
  const answer = new X509Certificate(asked.certificate.raw);
  expect(answer.checkHost(HOST)).toBe(HOST);
  const digest = new Bun.CryptoHasher("sha256").update("token.thumbprint").digest("hex");
  expect(answer.raw.toString("hex")).toContain(digest);
  const other = await shown(running.port, { ALPNProtocols: ["h2", "http/1.1"] });
  expect([other.certificate.subject.CN, other.protocol]).toEqual(["server", "h2"]);
  expect(await get(running.port)).toEndWith("ok");
  expect(running.peers).toEqual([{ address: "127.0.0.7", scheme: "https" }]);
});

test("addresses and certificates of clients come through both fronts", async () => {
  await using running = await start({ policy: { required: false, verified: true }, log: recordingLogger([]) });
  expect(await get(running.port, { cert: client.certificate, key: client.key })).toEndWith("ok");
  expect(running.peers).toEqual([{ address: "127.0.0.7", scheme: "https", certificate: { commonName: "alice", alternativeNames: ["localhost"] } }]);
});

test("a greeting that comes in pieces is put together, and what is no greeting is left to the application's TLS", async () => {
  await using running = await start(undefined);
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const recorder = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: (_, bytes) => resolve(Buffer.from(bytes)) } });
  connect({ host: "127.0.0.1", port: recorder.port, servername: HOST }).on("error", () => undefined);
  const greeting = await promise;
  recorder.stop(true);
  const answered = async (pieces: readonly Buffer[]): Promise<number | undefined> =>
    await new Promise((answer) => {
      const socket = connectPlain(running.port, "127.0.0.1", async () => {
        for (const piece of pieces) {
          socket.write(piece);
          await Bun.sleep(20);
        }
      });
      socket.setNoDelay(true);
      socket.once("data", (bytes: Buffer) => {
        answer(bytes[0]);
        socket.destroy();
      });
      socket.once("close", () => answer(undefined));
    });
  const HANDSHAKE = 22;
  expect(await answered([greeting.subarray(0, 3), greeting.subarray(3, 100), greeting.subarray(100)])).toBe(HANDSHAKE);
  expect(await answered([Buffer.from("GET / HTTP/1.1\r\n\r\n")])).not.toBe(HANDSHAKE);
});
