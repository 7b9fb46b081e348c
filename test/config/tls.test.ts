import { afterAll, beforeAll, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { rename } from "node:fs/promises";
import { connect as connectTls } from "node:tls";
import { join } from "node:path";
import { makeCertificate, type TestCertificate, writeCertificate } from "../support/certificates.ts";
import { runCommand, tryCommand } from "../support/command.ts";
import { digestOf, seededBytes, withQuery } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";
import { refusedStart } from "./refusal.ts";

/** Files of one authority, a server's certificate of it (RSA and EC), a client's, and a stranger's. */
interface Files {
  readonly folder: string;
  readonly authority: string;
  readonly server: { readonly certificate: string; readonly key: string };
  readonly rsa: { readonly certificate: string; readonly key: string };
  readonly client: { readonly certificateFile: string; readonly keyFile: string };
  readonly stranger: { readonly certificateFile: string; readonly keyFile: string };
}

let folder: TempFolder;
let files: Files;
let authority: TestCertificate;

beforeAll(async () => {
  folder = await tempFolder();
  authority = await makeCertificate("authority", { isAuthority: true });
  const write = async (name: string, certificate: TestCertificate): Promise<{ certificate: string; key: string }> => {
    const { certificateFile, keyFile } = await writeCertificate(folder.path, name, certificate);
    return { certificate: certificateFile, key: keyFile };
  };
  files = {
    folder: folder.path,
    authority: (await write("authority", authority)).certificate,
    server: await write("server", await makeCertificate("server", { issuer: authority })),
    rsa: await write("rsa", await makeCertificate("rsa", { issuer: authority, algorithm: "rsa" })),
    client: await writeCertificate(folder.path, "client", await makeCertificate("client", { issuer: authority })),
    stranger: await writeCertificate(folder.path, "stranger", await makeCertificate("stranger")),
  };
});
afterAll(async () => await folder[Symbol.asyncDispose]());

async function startTls(tls: object, http: object = {}): Promise<RegistryProcess> {
  return await startRegistry({ config: { http: { tls: { ...files.server, ...tls }, ...http } } });
}

/** The status of an answer to curl, which shows what it is told to; the message of its failure else. */
async function curl(registry: RegistryProcess, ...options: readonly string[]): Promise<string> {
  const { exitCode, stdout } = await tryCommand(["curl", "--silent", "--show-error", "--cacert", files.authority, "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}", ...options, `${registry.url}/v2/`]);
  return exitCode === 0 ? stdout : `failed ${exitCode}`;
}

/** Protocol and cipher of a handshake by OpenSSL; undefined when there is none. */
async function handshake(registry: RegistryProcess, ...options: readonly string[]): Promise<string | undefined> {
  const { stdout } = await tryCommand(["openssl", "s_client", "-connect", registry.host, ...options], { stdin: "" });
  const found = /New, (TLSv[\d.]+), Cipher is (\S+)/.exec(stdout);
  return found === null || found[2] === "(NONE)" ? undefined : `${found[1]} ${found[2]}`;
}

/** The name on the certificate that new connections are shown. */
async function nameShown(registry: RegistryProcess): Promise<string> {
  return await new Promise((resolve, reject) => {
    const socket = connectTls({ host: "127.0.0.1", port: registry.port, rejectUnauthorized: false }, () => {
      const { raw } = socket.getPeerCertificate();
      socket.destroy();
      resolve(new X509Certificate(raw).subject.replace("CN=", ""));
    });
    socket.once("error", reject);
  });
}

describeWith(["curl"], "http.tls", () => {
  test("http.tls.certificate and http.tls.key: TLS, with HTTP/2 by ALPN unless http.http2.disabled", async () => {
    await using registry = await startTls({});
    expect(registry.child.output()).toContain(`listening on ${registry.host}, tls`);
    expect(await curl(registry)).toBe("2 200");
    expect(await curl(registry, "--http1.1")).toBe("1.1 200");
    await using without = await startTls({}, { http2: { disabled: true } });
    expect(await curl(without)).toBe("1.1 200");
  });

  test("http.tls.certificate: chains are sent, so that clients who know the root alone are content", async () => {
    const middle = await makeCertificate("middle", { issuer: authority, isAuthority: true });
    const leaf = await makeCertificate("leaf", { issuer: middle });
    const chain = await writeCertificate(files.folder, "chain", { ...leaf, certificate: leaf.certificate + middle.certificate });
    await using registry = await startTls({ certificate: chain.certificateFile, key: chain.keyFile });
    expect(await curl(registry)).toBe("2 200");
  });

  test("http.tls.clientcas and http.tls.clientauth: who may come in", async () => {
    const none: readonly string[] = [];
    const client = ["--cert", files.client.certificateFile, "--key", files.client.keyFile];
    const stranger = ["--cert", files.stranger.certificateFile, "--key", files.stranger.keyFile];
    const expected: readonly (readonly [string | undefined, readonly boolean[]])[] = [
      [undefined, [false, true, false]],
      ["require-and-verify-client-cert", [false, true, false]],
      ["request-client-cert", [true, true, true]],
      ["verify-client-cert-if-given", [true, true, false]],
      ["require-any-client-cert", [false, true, true]],
    ];
    for (const [clientauth, admitted] of expected) {
      await using registry = await startTls({ clientcas: [files.authority], ...(clientauth === undefined ? {} : { clientauth }) });
      const found: boolean[] = [];
      for (const options of [none, client, stranger]) found.push((await curl(registry, "--http1.1", ...options)) === "1.1 200");
      expect([clientauth, ...found]).toEqual([clientauth, ...admitted]);
    }
  });
});

describeWith(["openssl"], "http.tls handshakes", () => {
  test("http.tls.minimumtls: older versions are refused", async () => {
    await using older = await startTls({});
    expect(await handshake(older, "-tls1_2")).toStartWith("TLSv1.2 ECDHE-ECDSA-");
    expect(await handshake(older, "-tls1_3")).toStartWith("TLSv1.3 ");
    expect(await handshake(older, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")).toBeUndefined();
    await using newer = await startTls({ minimumtls: "tls1.3" });
    expect(await handshake(newer, "-tls1_2")).toBeUndefined();
    expect(await handshake(newer, "-tls1_3")).toStartWith("TLSv1.3 ");
    await using ancient = await startTls({ minimumtls: "tls1.0" });
    expect(await handshake(ancient, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")).toBeUndefined();
    expect(ancient.child.output()).toContain("http.tls.minimumtls is older than TLS 1.2, which is what is used");
  });

  test("http.tls.ciphersuites: only these, by either family of names; those of TLS 1.3 stay", async () => {
    for (const suite of ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"]) {
      await using registry = await startTls({ ...files.rsa, ciphersuites: [suite] });
      expect(await handshake(registry, "-tls1_2")).toBe("TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384");
      expect(await handshake(registry, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")).toBeUndefined();
      expect(await handshake(registry, "-tls1_3")).toStartWith("TLSv1.3 ");
    }
    await using ignored = await startTls({ minimumtls: "tls1.3", ciphersuites: ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"] });
    expect(ignored.child.output()).toContain("http.tls.ciphersuites is ignored");
    expect((await refusedStart({ http: { tls: { ...files.server, ciphersuites: ["FOO"] } } })).stderr).toContain("unknown TLS cipher suite 'FOO' specified for http.tls.cipherSuites");
  });

  test("http.tls.key: an encrypted key, a key of another certificate and a missing file are told apart", async () => {
    const encrypted = join(files.folder, "encrypted.key");
    await runCommand(["openssl", "pkcs8", "-topk8", "-in", files.server.key, "-out", encrypted, "-passout", "pass:x"]);
    const refusal = async (tls: object): Promise<string> => (await refusedStart({ http: { tls: { ...files.server, ...tls } } })).stderr;
    expect(await refusal({ key: encrypted })).toContain("http.tls.key: " + encrypted + " is encrypted; give the key without a passphrase");
    expect(await refusal({ key: files.rsa.key })).toContain(`is not the key of ${files.server.certificate}`);
    expect(await refusal({ certificate: "/nowhere.pem" })).toContain("http.tls.certificate: cannot read /nowhere.pem");
    expect(await refusal({ clientcas: [files.server.key] })).toContain("could not add CA to pool");
  });
});

/** Puts a certificate in the place of another, the way renewals do. */
async function replace(target: { readonly certificate: string; readonly key: string }, by: { readonly certificate: string; readonly key: string }): Promise<void> {
  for (const part of ["key", "certificate"] as const) {
    await Bun.write(`${target[part]}.new`, by[part]);
    await rename(`${target[part]}.new`, target[part]);
  }
}

test("http.tls.certificate: a new one is served from when its files change, a broken one is not, and no upload is cut", async () => {
  await using own = await tempFolder();
  const target = { certificate: join(own.path, "tls.crt"), key: join(own.path, "tls.key") };
  await replace(target, await makeCertificate("first", { issuer: authority }));
  await using registry = await startRegistry({ config: { http: { tls: target } } });
  expect(await nameShown(registry)).toBe("first");

  const tls = { rejectUnauthorized: false };
  const content = seededBytes(200_000, 5);
  const begun = await fetch(`${registry.url}/v2/a/blobs/uploads/`, { method: "POST", tls });
  const location = new URL(begun.headers.get("location") ?? "", registry.url).href;
  const half = Promise.withResolvers<void>();
  const rest = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      controller.enqueue(content.subarray(0, 100_000));
      half.resolve();
      await rest.promise;
      controller.enqueue(content.subarray(100_000));
      controller.close();
    },
  });
  const upload = fetch(withQuery(location, { digest: digestOf(content) }), { method: "PUT", body, tls, headers: { "content-type": "application/octet-stream" } });
  await half.promise;

  await replace(target, await makeCertificate("second", { issuer: authority }));
  await registry.child.waitForOutput(/serving a new certificate/);
  expect(await nameShown(registry)).toBe("second");
  await replace(target, { certificate: "broken", key: "broken" });
  await registry.child.waitForOutput(/the new certificate cannot be used; the old one stays/);
  expect(await nameShown(registry)).toBe("second");
  await Bun.write(target.key, "");
  await replace(target, await makeCertificate("third", { issuer: authority }));
  process.kill(registry.child.pid, "SIGHUP");
  await registry.child.waitForOutput(/(serving a new certificate[^]*){2}/);
  expect(await nameShown(registry)).toBe("third");

  rest.resolve();
  expect((await upload).status).toBe(201);
});
