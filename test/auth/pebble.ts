import { join } from "node:path";
import { startChild } from "../support/child.ts";
import { runCommand } from "../support/command.ts";
import { freePort } from "../support/free-port.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** A certificate authority that speaks ACME, on loopback. */
export interface Pebble extends AsyncDisposable {
  readonly directoryUrl: string;
  /** PEM file of the authority that the directory's own certificate comes from. */
  readonly authorityFile: string;
  /** The port that challenges are asked for at, on whatever host: every name leads to 127.0.0.1. */
  readonly challengePort: number;
  /** The same for TLS. */
  readonly tlsPort: number;
  /** All that it wrote. */
  output(): string;
}

/** Starts Debian's pebble. @param validitySeconds Lifetime of the certificates that it gives. */
export async function startPebble(validitySeconds: number): Promise<Pebble> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const inFolder = (name: string): string => join(folder.path, name);
  const [port, managementPort, challengePort, tlsPort] = [freePort(), freePort(), freePort(), freePort()];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  await runCommand(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", inFolder("key.pem"), "-out", inFolder("cert.pem"), ...subject]);
  const config = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${managementPort}`,
    certificate: inFolder("cert.pem"),
    privateKey: inFolder("key.pem"),
    httpPort: challengePort,
    tlsPort,
    certificateValidityPeriod: validitySeconds,
  };
  await Bun.write(inFolder("config.json"), JSON.stringify({ pebble: config }));
  const names = await startNameServer();
  cleanup.defer(() => names.close());
  const child = cleanup.use(startChild(["pebble", "-config", inFolder("config.json"), "-dnsserver", `127.0.0.1:${names.port}`], { PEBBLE_VA_NOSLEEP: "1", PEBBLE_VA_ALWAYS_VALID: "0", PEBBLE_AUTHZREUSE: "0" }));
  await child.waitForOutput(/ACME directory available at/);
  const owned = cleanup.move();
  return {
    directoryUrl: `https://localhost:${port}/dir`,
    authorityFile: inFolder("cert.pem"),
    challengePort,
    tlsPort,
    output: () => child.output(),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

const TYPE_A = 1;

/** Answers every question for an IPv4 address with 127.0.0.1, and every other with nothing. */
async function startNameServer(): Promise<{ readonly port: number; close(): void }> {
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: {
      data(server, question, port, address) {
        server.send(answerQuestion(question), port, address);
      },
    },
  });
  return { port: socket.port, close: () => socket.close() };
}

/** @see RFC 1035, section 4.1 */
function answerQuestion(query: Buffer): Buffer {
  let end = 12;
  while ((query[end] ?? 0) !== 0) end += (query[end] ?? 0) + 1;
  const type = query.readUInt16BE(end + 1);
  const question = query.subarray(12, end + 5);
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(type === TYPE_A ? 1 : 0, 6);
  const address = Buffer.from([0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
  return Buffer.concat(type === TYPE_A ? [header, question, address] : [header, question]);
}
