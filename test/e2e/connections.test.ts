import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect as connectPlain, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { makeCertificate, type TestCertificate, writeCertificate } from "../support/certificates.ts";
import { expectStatus, pushBlob } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const LIMIT = 5;
/** Far more than any step takes. */
const PATIENCE_MS = 60_000;

let folder: TempFolder;
let issuer: TestCertificate;
let server: { readonly certificate: string; readonly key: string };
let client: { readonly cert: string; readonly key: string };
beforeAll(async () => {
  folder = await tempFolder();
  issuer = await makeCertificate("authority", { isAuthority: true });
  await writeCertificate(folder.path, "authority", issuer);
  const { certificateFile, keyFile } = await writeCertificate(folder.path, "server", await makeCertificate("server", { issuer }));
  server = { certificate: certificateFile, key: keyFile };
  const made = await makeCertificate("client", { issuer });
  client = { cert: made.certificate, key: made.key };
});
afterAll(async () => await folder[Symbol.asyncDispose]());

/** A connection that asks for something when it is told to, and holds its place meanwhile. */
class Visitor implements Disposable {
  readonly #socket: Socket;
  text = "";
  isOpen = false;
  isClosed = false;

  constructor(socket: Socket, opened: "connect" | "secureConnect") {
    this.#socket = socket;
    socket.on(opened, () => (this.isOpen = true));
    socket.on("data", (bytes: Buffer) => (this.text += bytes.toString("latin1")));
    socket.on("close", () => (this.isClosed = true));
    socket.on("error", () => (this.isClosed = true));
  }

  write(text: string): void {
    this.#socket.write(text);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

const ASK = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n";

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`it does not come to that: ${what}`);
    await Bun.sleep(20);
  }
}

async function start(http: ConfigSection = {}, limit = LIMIT): Promise<RegistryProcess> {
  return await startRegistry({ config: { http: { limits: { connections: limit }, debug: { addr: "127.0.0.1:0", prometheus: { enabled: true } }, ...http } } });
}

/** What the registry says of its connections. */
async function counted(registry: RegistryProcess): Promise<number> {
  const address = /debug server listening (127\.0\.0\.1:\d+)/.exec(registry.child.output())?.[1] ?? "";
  const text = await (await expectStatus(200, `http://${address}/metrics`)).text();
  expect(text).toContain(`\nregistry_http_connections_limit ${LIMIT}\n`);
  return Number(/^registry_http_connections (\d+)$/m.exec(text)?.[1]);
}

/** Fills a registry's places, and sees who waits, who goes on, and who is let in. */
async function seeLimit(registry: RegistryProcess, visit: () => Visitor, waiting = 2): Promise<void> {
  using cleanup = new DisposableStack();
  const come = (): Visitor => cleanup.use(visit());
  // Somebody in the middle of a request, and others who are silent.
  const busy = come();
  await until("the first is in", () => busy.isOpen);
  busy.write("POST /v2/a/blobs/uploads/?digest=sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
  const silent = Array.from({ length: LIMIT - 1 }, come);
  await until("all places are taken", async () => silent.every((one) => one.isOpen) && (await counted(registry)) === LIMIT);

  const late = Array.from({ length: waiting }, come);
  for (const one of late) one.write(ASK);
  await registry.child.waitForOutput(/http\.limits\.connections is reached/);
  // No proof, but a chance to do it wrong.
  await Bun.sleep(500);
  expect(late.map((one) => one.text)).toEqual(late.map(() => ""));
  expect(await counted(registry)).toBe(LIMIT);

  // Who is in is served; while it is crowded every answer is the last on its connection, and makes room.
  busy.write("x");
  await until("the request under way is answered", () => busy.text.startsWith("HTTP/1.1 201 "));
  expect(busy.text).toMatch(/\r\nconnection: close\r\n/i);
  await until("its connection is closed", () => busy.isClosed);
  await until("somebody who waited is answered", () => late.some((one) => one.text.startsWith("HTTP/1.1 200 ")));
  silent[0]?.[Symbol.dispose]();
  await until("all who waited are answered", () => late.every((one) => one.text.startsWith("HTTP/1.1 200 ")));

  for (const one of [...silent, ...late]) one[Symbol.dispose]();
  await until("all are gone", async () => (await counted(registry)) === 0);
  const again = come();
  again.write(ASK);
  await until("it is as it was", () => again.text.startsWith("HTTP/1.1 200 "));
  expect(again.text).not.toMatch(/connection: close/i);
}

test("http.limits.connections: at the limit more clients wait, others go on, and places become free again", async () => {
  await using registry = await start();
  await seeLimit(registry, () => new Visitor(connectPlain(registry.port, "127.0.0.1"), "connect"));
}, 2 * PATIENCE_MS);

test("http.limits.stalltimeout: a client that does not take its answer is not waited for", async () => {
  await using registry = await start({ limits: { connections: LIMIT, stalltimeout: "1s" } });
  const digest = await pushBlob({ url: registry.url, name: "a" }, new Uint8Array(64 * 1024 * 1024));
  // The push may have left one.
  const before = await counted(registry);
  const socket = connectPlain(registry.port, "127.0.0.1");
  using cleanup = new DisposableStack();
  cleanup.defer(() => socket.destroy());
  socket.pause().write(`GET /v2/a/blobs/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`);
  socket.on("error", () => undefined);
  await until("it is there", async () => (await counted(registry)) > before);
  await until("it is not there any more", async () => (await counted(registry)) <= before);
}, 2 * PATIENCE_MS);

test("http.limits.connections: on a unix socket", async () => {
  const path = join(folder.path, "socket");
  await using registry = await start({ net: "unix", addr: path });
  // There the system lets one wait, and refuses others.
  await seeLimit(registry, () => new Visitor(connectPlain(path), "connect"), 1);
}, 2 * PATIENCE_MS);

test("http.limits.connections: with TLS, and after the certificate was changed", async () => {
  await using registry = await start({ tls: server });
  const visit = (): Visitor => new Visitor(connectTls({ port: registry.port, host: "127.0.0.1", ca: issuer.certificate }), "secureConnect");
  await seeLimit(registry, visit);
  await writeCertificate(folder.path, "server", await makeCertificate("another", { issuer }));
  await registry.child.waitForOutput(/serving a new certificate/);
  await seeLimit(registry, visit);
}, 2 * PATIENCE_MS);

test("http.limits.connections: with certificates of clients", async () => {
  await using registry = await start({ tls: { ...server, clientcas: [join(folder.path, "authority.crt")] } });
  await seeLimit(registry, () => new Visitor(connectTls({ port: registry.port, host: "127.0.0.1", ca: issuer.certificate, ...client }), "secureConnect"));
}, 2 * PATIENCE_MS);
