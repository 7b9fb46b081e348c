import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { SYSTEM_CLOCK } from "../../src/lib/clock.ts";
import { type Acme, openAcme } from "../../src/server/acme.ts";
import type { AcmeOptions } from "../../src/server/acme/order.ts";
import type { LogFields, Logger } from "../../src/telemetry/log.ts";
import { tryCommand } from "../support/command.ts";
import { freePort } from "../support/free-port.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { type Pebble, startPebble } from "./pebble.ts";

interface Line {
  readonly message: string;
  readonly fields: LogFields | undefined;
}

/** Gathers what is logged. */
function recordingLogger(lines: Line[]): Logger {
  const add = (message: string, fields?: LogFields): void => void lines.push({ message, fields });
  const log: Logger = { error: add, warn: add, info: add, debug: add, isEnabled: () => true, child: () => log };
  return log;
}

function optionsFor(pebble: Pebble, cachedir: string, changes: Partial<AcmeOptions> = {}): AcmeOptions {
  return {
    cachefile: undefined,
    cachedir,
    email: "operator@registry.test",
    hosts: ["registry.test", "mirror.registry.test"],
    directoryurl: pebble.directoryUrl,
    challenge: "http-01",
    httpaddr: `127.0.0.1:${pebble.challengePort}`,
    renewbefore: 30 * 24 * 3_600_000,
    rootcas: [pebble.authorityFile],
    ...changes,
  };
}

async function until(condition: () => boolean, what: () => string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`it did not happen: ${what()}`);
    await Bun.sleep(50);
  }
}

const leafOf = (acme: Acme): X509Certificate => new X509Certificate(acme.current().certificate);
const isTemporary = (acme: Acme): boolean => leafOf(acme).subject.includes("temporary certificate");

describeWith(["acme", "openssl"], "openAcme", () => {
  test("serves a temporary certificate, then one of the authority for every host, and keeps it", async () => {
    await using pebble = await startPebble(90 * 24 * 3600);
    await using folder = await tempFolder();
    const cachedir = join(folder.path, "acme");
    const lines: Line[] = [];
    const parts = { log: recordingLogger(lines), clock: SYSTEM_CLOCK };
    let serial: string;
    {
      await using acme = await openAcme(optionsFor(pebble, cachedir), parts);
      expect(isTemporary(acme)).toBe(true);
      let changes = 0;
      acme.onChange(async () => changes++);
      await until(() => changes > 0, () => JSON.stringify(lines));
      const leaf = leafOf(acme);
      expect(leaf.issuer).toContain("Pebble Intermediate");
      for (const host of ["registry.test", "mirror.registry.test"]) expect(leaf.checkHost(host)).toBe(host);
      expect(acme.current().certificate.match(/BEGIN CERTIFICATE/g)?.length).toBeGreaterThan(1);
      serial = leaf.serialNumber;
    }
    for (const name of await readdir(cachedir)) expect((await stat(join(cachedir, name))).mode & 0o777).toBe(0o600);
    expect((await readdir(cachedir)).sort()).toEqual(["account.key", "certificate.pem"]);
    await using again = await openAcme(optionsFor(pebble, cachedir), parts);
    expect(leafOf(again).serialNumber).toBe(serial);
    expect(lines.filter(({ message }) => message === "a certificate is there")).toHaveLength(1);
  }, 60_000);

  test("renews before the end", async () => {
    await using pebble = await startPebble(12);
    await using folder = await tempFolder();
    const lines: Line[] = [];
    await using acme = await openAcme(optionsFor(pebble, folder.path), { log: recordingLogger(lines), clock: SYSTEM_CLOCK });
    const serials = new Set<string>();
    acme.onChange(async () => serials.add(leafOf(acme).serialNumber));
    await until(() => serials.size >= 2, () => JSON.stringify(lines));
    expect(Date.parse(leafOf(acme).validTo)).toBeGreaterThan(Date.now());
  }, 60_000);

  test("orders anew for other hosts", async () => {
    await using pebble = await startPebble(90 * 24 * 3600);
    await using folder = await tempFolder();
    const lines: Line[] = [];
    const parts = { log: recordingLogger(lines), clock: SYSTEM_CLOCK };
    for (const hosts of [["one.test"], ["one.test", "two.test"]]) {
      await using acme = await openAcme(optionsFor(pebble, folder.path, { hosts }), parts);
      await until(() => hosts.every((host) => leafOf(acme).checkHost(host) !== undefined) && !isTemporary(acme), () => JSON.stringify(lines));
    }
  }, 60_000);

  test("a wrong challenge leaves the old certificate in use and says what must lead where", async () => {
    await using pebble = await startPebble(8);
    await using folder = await tempFolder();
    const lines: Line[] = [];
    const parts = { log: recordingLogger(lines), clock: SYSTEM_CLOCK };
    {
      await using acme = await openAcme(optionsFor(pebble, folder.path), parts);
      await until(() => !isTemporary(acme), () => JSON.stringify(lines));
    }
    const elsewhere = freePort();
    await using acme = await openAcme(optionsFor(pebble, folder.path, { httpaddr: `127.0.0.1:${elsewhere}` }), parts);
    const serial = leafOf(acme).serialNumber;
    await until(() => lines.some(({ message }) => message === "ordering a certificate failed"), () => JSON.stringify(lines));
    expect(leafOf(acme).serialNumber).toBe(serial);
    const failure = lines.find(({ message }) => message === "ordering a certificate failed")?.fields ?? {};
    expect(String(failure["err.message"])).toContain(`its port 80 to http.tls.letsencrypt.httpaddr (127.0.0.1:${elsewhere})`);
    expect(String(failure["serving"])).toStartWith("the old certificate, until ");
  }, 60_000);

  test("a directory that is down, or not trusted, is told from the others", async () => {
    await using pebble = await startPebble(60);
    const cases: readonly (readonly [Partial<AcmeOptions>, string])[] = [
      [{ directoryurl: `https://localhost:${freePort()}/dir` }, "cannot reach the ACME directory"],
      [{ rootcas: [] }, "http.tls.letsencrypt.rootcas"],
      [{ directoryurl: pebble.directoryUrl.replace("/dir", "/nothing") }, "answers with status 404"],
      [{ httpaddr: "192.0.2.1:1" }, "CAP_NET_BIND_SERVICE"],
    ];
    for (const [changes, expected] of cases) {
      await using folder = await tempFolder();
      const lines: Line[] = [];
      await using acme = await openAcme(optionsFor(pebble, folder.path, changes), { log: recordingLogger(lines), clock: SYSTEM_CLOCK });
      await until(() => lines.some(({ message }) => message === "ordering a certificate failed"), () => JSON.stringify(lines));
      expect(String(lines[0]?.fields?.["err.message"])).toContain(expected);
      expect(isTemporary(acme)).toBe(true);
    }
  }, 60_000);
});

describeWith(["acme", "openssl", "curl"], "TLS-ALPN-01", () => {
  async function start(pebble: Pebble, cachedir: string): Promise<RegistryProcess> {
    const letsencrypt = { cachedir, hosts: ["registry.test", "mirror.registry.test"], directoryurl: pebble.directoryUrl, rootcas: [pebble.authorityFile], challenge: "tls-alpn-01" };
    return await startRegistry({ config: { http: { addr: `127.0.0.1:${pebble.tlsPort}`, tls: { letsencrypt } } } });
  }
  // Whoever connects in the very moment in which one listener gives way to another is sent away, and comes again.
  const RETRY = ["--retry", "3", "--retry-delay", "0", "--retry-all-errors"];
  const request = async (registry: RegistryProcess): Promise<string> => (await tryCommand(["curl", "--silent", "--insecure", "--interface", "127.0.0.9", ...RETRY, "--output", "/dev/null", "--write-out", "%{http_code}", `${registry.url}/v2/`])).stdout;

  test("orders and renews on the API's own port, and serves everybody else meanwhile", async () => {
    await using pebble = await startPebble(9);
    await using folder = await tempFolder();
    await using registry = await start(pebble, folder.path);
    let isOver = false;
    const statuses: string[] = [];
    const others = (async () => {
      while (!isOver) statuses.push(await request(registry));
    })();
    await registry.child.waitForOutput(/serving a new certificate[^]*serving a new certificate/);
    isOver = true;
    await others;
    expect(new Set(statuses)).toEqual(new Set(["200"]));
    expect(registry.child.output()).not.toContain("127.0.0.1 - - ");
    expect(registry.child.output()).toContain("127.0.0.9 - - ");
  }, 60_000);

  test("says what must lead where when the authority does not get through, and goes on serving", async () => {
    await using pebble = await startPebble(60);
    await using folder = await tempFolder();
    await using registry = await start({ ...pebble, tlsPort: freePort() }, folder.path);
    const [line] = await registry.child.waitForOutput(/ordering a certificate failed.*/);
    expect(line).toContain("its port 443 to http.addr");
    expect(await request(registry)).toBe("200");
    expect(await registry.child.stop()).toBe(0);
  }, 60_000);
});
