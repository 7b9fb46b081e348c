import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { type Pebble, startPebble } from "../auth/pebble.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

async function startAcme(pebble: Pebble, letsencrypt: ConfigSection): Promise<RegistryProcess> {
  return await startRegistry({
    config: {
      http: {
        tls: { letsencrypt: { email: "operator@registry.test", hosts: ["registry.test", "mirror.registry.test"], directoryurl: pebble.directoryUrl, challenge: "http-01", httpaddr: `127.0.0.1:${pebble.challengePort}`, rootcas: [pebble.authorityFile], ...letsencrypt } },
      },
    },
  });
}

async function shown(registry: RegistryProcess): Promise<X509Certificate> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: registry.port, servername: "registry.test", rejectUnauthorized: false }, () => {
      const { raw } = socket.getPeerCertificate();
      socket.destroy();
      resolve(new X509Certificate(raw));
    });
    socket.once("error", reject);
  });
}

const SERVED = /serving a new certificate/;

describeWith(["acme", "openssl"], "http.tls.letsencrypt", () => {
  test("http.tls.letsencrypt.hosts, directoryurl, httpaddr, rootcas and cachedir: a certificate is ordered, served and kept", async () => {
    await using pebble = await startPebble(90 * 24 * 3600);
    await using folder = await tempFolder();
    const cachedir = join(folder.path, "acme");
    let serial: string;
    {
      await using registry = await startAcme(pebble, { cachedir });
      await registry.child.waitForOutput(SERVED);
      const leaf = await shown(registry);
      expect(leaf.issuer).toContain("Pebble Intermediate");
      for (const host of ["registry.test", "mirror.registry.test"]) expect(leaf.checkHost(host)).toBe(host);
      serial = leaf.serialNumber;
      expect(readdirSync(cachedir).sort()).toEqual(["account.key", "certificate.pem"]);
    }
    await using again = await startAcme(pebble, { cachedir });
    expect((await shown(again)).serialNumber).toBe(serial);
  });

  test("http.tls.letsencrypt.cachefile: the older name", async () => {
    await using pebble = await startPebble(90 * 24 * 3600);
    await using folder = await tempFolder();
    await using registry = await startAcme(pebble, { cachefile: join(folder.path, "cache") });
    await registry.child.waitForOutput(SERVED);
    expect(existsSync(join(folder.path, "cache"))).toBe(true);
  });

  test("http.tls.letsencrypt.challenge: by default it is answered on the API's own port", async () => {
    await using pebble = await startPebble(90 * 24 * 3600);
    await using folder = await tempFolder();
    const letsencrypt = { cachedir: folder.path, hosts: ["registry.test"], directoryurl: pebble.directoryUrl, rootcas: [pebble.authorityFile] };
    await using registry = await startRegistry({ config: { http: { addr: `127.0.0.1:${pebble.tlsPort}`, tls: { letsencrypt } } } });
    await registry.child.waitForOutput(SERVED);
    expect((await shown(registry)).issuer).toContain("Pebble Intermediate");
  });

  test("http.tls.letsencrypt.email: what the authority does not take is said", async () => {
    await using pebble = await startPebble(90 * 24 * 3600);
    await using folder = await tempFolder();
    await using registry = await startAcme(pebble, { cachedir: folder.path, email: "no address at all" });
    const [line] = await registry.child.waitForOutput(/ordering a certificate failed.*/);
    expect(line).toMatch(/contact|mail|address/i);
  });

  test("http.tls.letsencrypt.renewbefore: how long before its end a certificate is renewed", async () => {
    await using pebble = await startPebble(9);
    await using folder = await tempFolder();
    await using late = await startAcme(pebble, { cachedir: join(folder.path, "late"), renewbefore: "0s" });
    await late.child.waitForOutput(SERVED);
    await using early = await startAcme(pebble, { cachedir: join(folder.path, "early") });
    await early.child.waitForOutput(/serving a new certificate[^]*serving a new certificate/);
    expect(late.child.output().match(/serving a new certificate/g)).toHaveLength(1);
  });
});
