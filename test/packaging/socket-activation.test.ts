import { afterAll, beforeAll, expect, test } from "bun:test";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { makeCertificate, type TestCertificate, writeCertificate } from "../support/certificates.ts";
import { type Child, startChild } from "../support/child.ts";
import { runCommand } from "../support/command.ts";
import { freePort } from "../support/free-port.ts";
import { expectStatus, pushBlob, seededBytes } from "../support/http.ts";
import { defaultConfig, registryCommand } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

let folder: TempFolder;
let authority: TestCertificate;
const inFolder = (name: string): string => join(folder.path, name);
beforeAll(async () => {
  folder = await tempFolder();
  authority = await makeCertificate("authority", { isAuthority: true });
  await writeCertificate(folder.path, "authority", authority);
  await writeCertificate(folder.path, "client", await makeCertificate("client", { issuer: authority }));
});
afterAll(async () => await folder[Symbol.asyncDispose]());

/** Starts a registry as systemd would: with a socket that listens, once the first client comes. */
async function activate(where: string, http: object = {}): Promise<Child> {
  const config = defaultConfig(inFolder("storage"));
  const file = inFolder("config.yml");
  await Bun.write(file, stringify({ ...config, http: { addr: "127.0.0.1:1", secret: "a secret", ...http } }));
  const child = startChild(["systemd-socket-activate", "--listen", where, ...registryCommand(), "serve", file]);
  await child.waitForOutput(/Listening on/);
  return child;
}

async function writeServer(name: string): Promise<void> {
  const { certificateFile, keyFile } = await writeCertificate(folder.path, "new", await makeCertificate(name, { issuer: authority }));
  await rename(keyFile, inFolder("server.key"));
  await rename(certificateFile, inFolder("server.crt"));
}

describeWith(["systemd", "curl"], "a socket that was handed over", () => {
  test("is listened on, and not http.addr", async () => {
    const port = freePort();
    await using child = await activate(`127.0.0.1:${port}`);
    const url = `http://127.0.0.1:${port}`;
    await expectStatus(200, `${url}/v2/`);
    const bytes = seededBytes(3_000_000);
    const digest = await pushBlob({ url, name: "a" }, bytes);
    expect(Buffer.from(await (await expectStatus(200, `${url}/v2/a/blobs/${digest}`)).arrayBuffer()).equals(bytes)).toBe(true);
    await child.waitForOutput(new RegExp(`msg="listening on 127\\.0\\.0\\.1:${port}"`));
    expect(child.output()).toContain("http.request.remoteaddr=127.0.0.1 ");
    expect(child.output()).not.toContain("connections cannot be limited");
    await child.stop("SIGTERM");
    expect(child.output()).toContain('msg="stopped"');
  });

  test("may be a unix socket", async () => {
    const path = inFolder("socket");
    await using child = await activate(path);
    expect((await fetch("http://localhost/v2/", { unix: path })).status).toBe(200);
    await child.waitForOutput(new RegExp(`msg="listening on ${path}"`));
    expect(child.output()).not.toContain("connections cannot be limited");
  });

  test("is listened on with TLS, users of certificates, and a certificate that changes", async () => {
    await writeServer("server");
    await Bun.write(inFolder("htpasswd"), "");
    const port = freePort();
    for (const more of [{}, { clientcas: [inFolder("authority.crt")] }]) {
      await using child = await activate(`127.0.0.1:${port}`, { tls: { certificate: inFolder("server.crt"), key: inFolder("server.key"), ...more } });
      const ask = async (): Promise<string> =>
        await runCommand(["curl", "--silent", "--verbose", "--stderr", "-", "--cacert", inFolder("authority.crt"), "--cert", inFolder("client.crt"), "--key", inFolder("client.key"), `https://localhost:${port}/v2/`]);
      expect(await ask()).toMatch(/HTTP\/\S+ 200/);
      await writeServer("another");
      await child.waitForOutput(/serving a new certificate/);
      expect(await ask()).toMatch(/subject: CN=another[^]*HTTP\/\S+ 200/);
      expect(child.output()).not.toContain("connections cannot be limited");
      await writeServer("server");
    }
  });
});
