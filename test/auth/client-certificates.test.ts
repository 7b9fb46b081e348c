import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { type CertificateOptions, makeCertificate, type TestCertificate, writeCertificate } from "../support/certificates.ts";
import { runCommand, tryCommand } from "../support/command.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const MIB = 1024 * 1024;
const RULES = [
  { repositories: ["public/**"], anonymous: true, actions: ["pull"] },
  { repositories: ["team/**"], users: ["alice", "robot@team.test", "robot.team.test"], actions: ["push"] },
];

let folder: TempFolder;
let authority: TestCertificate;
let server: { readonly certificateFile: string; readonly keyFile: string };
beforeAll(async () => {
  folder = await tempFolder();
  authority = await makeCertificate("authority", { isAuthority: true });
  await writeCertificate(folder.path, "authority", authority);
  server = await writeCertificate(folder.path, "server", await makeCertificate("server", { issuer: authority, purpose: "server" }));
  await Bun.write(join(folder.path, "htpasswd"), `bob:${await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 })}\n`);
  await client("alice", { purpose: "client" });
  await client("mallory");
  await client("stranger", { issuer: undefined, subject: "CN=alice" });
  await client("expired", { subject: "CN=alice", notAfter: new Date(Date.now() - 60_000) });
  await client("machine", { subject: "CN=alice", purpose: "server" });
  await client("several", { subject: "CN=alice, CN=mallory" });
  await client("robot", { alternativeNames: [{ type: "ip", value: "192.0.2.1" }, { type: "email", value: "robot@team.test" }, { type: "dns", value: "other.test" }] });
  await client("host", { alternativeNames: [{ type: "dns", value: "robot.team.test" }] });
  await client("comma", { subject: "CN=\"mallory, CN=alice\"", alternativeNames: [{ type: "url", value: "urn:x, DNS:robot.team.test" }] });
});
afterAll(async () => await folder[Symbol.asyncDispose]());

async function client(name: string, options: Partial<Record<"issuer", undefined>> & Omit<CertificateOptions, "issuer"> = {}): Promise<void> {
  const { issuer, ...more } = { issuer: authority, ...options };
  await writeCertificate(folder.path, name, await makeCertificate(name, { ...more, ...(issuer === undefined ? {} : { issuer }) }));
}

const inFolder = (name: string): string => join(folder.path, name);
const shows = (name: string): readonly string[] => ["--cert", inFolder(`${name}.crt`), "--key", inFolder(`${name}.key`)];

async function start(options: { readonly clientauth?: string; readonly user?: string; readonly http?: ConfigSection; readonly enabled?: boolean } = {}): Promise<RegistryProcess> {
  const tls = { certificate: server.certificateFile, key: server.keyFile, clientcas: [inFolder("authority.crt")], clientauth: options.clientauth ?? "verify-client-cert-if-given" };
  const auth = { htpasswd: { realm: "r", path: inFolder("htpasswd"), rules: RULES }, certificate: { enabled: options.enabled ?? true, user: options.user ?? "commonname" } };
  return await startRegistry({ config: { http: { tls, ...options.http }, auth } });
}

/** The status of an answer; `refused` when there is none. */
async function curl(registry: RegistryProcess, path: string, ...options: readonly string[]): Promise<string> {
  const { exitCode, stdout } = await tryCommand(["curl", "--silent", "--cacert", inFolder("authority.crt"), "--output", "/dev/null", "--write-out", "%{http_code}", ...options, `${registry.url}${path}`]);
  return exitCode === 0 ? stdout : "refused";
}

const PUSH = ["--request", "POST"] as const;
const uploads = (name: string): string => `/v2/${name}/blobs/uploads/`;

describeWith(["curl"], "users of client certificates", () => {
  test("are named by the common name, and the rules say what they may do", async () => {
    await using registry = await start();
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("alice"))).toBe("202");
    expect(await curl(registry, uploads("other/app"), ...PUSH, ...shows("alice"))).toBe("403");
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("mallory"))).toBe("403");
    expect(await curl(registry, uploads("team/app"), ...PUSH)).toBe("401");
    expect(await curl(registry, "/v2/public/app/tags/list")).toBe("404");
    expect(registry.child.output()).toContain("auth.user.name=alice");
  });

  test("are named by the first alternative name that is one of a user, with auth.certificate.user: san", async () => {
    await using registry = await start({ user: "san" });
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("robot"))).toBe("202");
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("host"))).toBe("202");
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("alice"))).toBe("403");
  });

  test("are not named by what could be read in two ways", async () => {
    await using byCommonName = await start();
    for (const name of ["several", "comma"]) expect(["401", "403"]).toContain(await curl(byCommonName, uploads("team/app"), ...PUSH, ...shows(name)));
    await using byAlternative = await start({ user: "san" });
    expect(await curl(byAlternative, uploads("team/app"), ...PUSH, ...shows("comma"))).toBe("403");
  });

  test("are not named where auth.certificate is off", async () => {
    await using registry = await start({ enabled: false });
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("alice"))).toBe("401");
  });

  test("an Authorization header goes before the certificate", async () => {
    await using registry = await start();
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("alice"), "--user", "bob:secret")).toBe("403");
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("alice"), "--user", "bob:wrong")).toBe("401");
  });

  test("http.tls.clientauth says who may come in; only what was verified names anybody", async () => {
    const expected = {
      "require-and-verify-client-cert": { none: "refused", alice: "202", bad: "refused" },
      "verify-client-cert-if-given": { none: "401", alice: "202", bad: "refused" },
      "require-any-client-cert": { none: "refused", alice: "202", bad: "401" },
      "request-client-cert": { none: "401", alice: "202", bad: "401" },
    };
    for (const [clientauth, { none, alice, bad }] of Object.entries(expected)) {
      await using registry = await start({ clientauth });
      const found = async (...options: readonly string[]): Promise<string> => await curl(registry, uploads("team/app"), ...PUSH, ...options);
      expect([clientauth, await found(), await found(...shows("alice"))]).toEqual([clientauth, none, alice]);
      for (const name of ["stranger", "expired", "machine"]) expect([clientauth, name, await found(...shows(name))]).toEqual([clientauth, name, bad]);
      expect(registry.child.output().includes("a client was refused for its certificate")).toBe(clientauth !== "request-client-cert");
    }
  });

  test("cannot be forged by headers, nor past the front", async () => {
    await using registry = await start();
    const names = ["X-Client-Cert", "X-SSL-Client-S-DN", "X-SSL-Client-CN", "X-Forwarded-Client-Cert", "X-Forwarded-User", "X-Remote-User", "Client-Cert", "X-Forwarded-For", "X-Real-IP"];
    const headers = names.flatMap((name) => ["--header", `${name}: alice`, "--header", `${name}: CN=alice`]);
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...headers)).toBe("401");
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...headers, ...shows("mallory"))).toBe("403");
    const hidden = (await listeningPorts(registry.child.pid)).filter((port) => port !== registry.port);
    expect(hidden).toHaveLength(1);
    for (const port of hidden) for (const path of ["/", "/livez", "/v2/"]) expect((await fetch(`http://127.0.0.1:${port}${path}`)).status).toBe(403);
  });

  test("addresses in the access log are those of the clients", async () => {
    await using registry = await start();
    await curl(registry, "/v2/", "--interface", "127.0.0.9", ...shows("alice"));
    await registry.child.waitForOutput(/^127\.0\.0\.9 - .*"GET \/v2\//m);
  });
});

describeWith(["curl"], "connections that are passed on", () => {
  test("carry a layer of 200 MiB both ways, by HTTP/1.1 and HTTP/2, without holding it", async () => {
    await using registry = await start();
    const layer = seededBytes(200 * MIB, 7);
    const digest = digestOf(layer);
    await Bun.write(inFolder("layer"), layer);
    for (const version of ["1.1", "2"]) {
      const name = `team/http${version === "2" ? "2" : "1"}`;
      const options = ["--silent", "--fail", "--cacert", inFolder("authority.crt"), `--http${version}`, ...shows("alice")];
      const headers = await runCommand(["curl", ...options, ...PUSH, "--dump-header", "-", "--output", "/dev/null", registry.url + uploads(name)]);
      const location = /^location: (\S+)/im.exec(headers)?.[1] ?? "";
      expect(location).toStartWith(registry.url);
      expect(await runCommand(["curl", ...options, "--upload-file", inFolder("layer"), "--write-out", "%{http_code} %{http_version}", `${location}&digest=${digest}`])).toBe(`201 ${version}`);
      await runCommand(["curl", ...options, "--output", inFolder("pulled"), `${registry.url}/v2/${name}/blobs/${digest}`]);
      expect(`sha256:${createHash("sha256").update(await readFile(inFolder("pulled"))).digest("hex")}`).toBe(digest);
      await runCommand(["curl", ...options, "--limit-rate", "40M", "--range", `0-${60 * MIB}`, "--output", inFolder("pulled"), `${registry.url}/v2/${name}/blobs/${digest}`]);
    }
    const peak = /VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${registry.child.pid}/status`, "utf8"))?.[1];
    expect(Number(peak)).toBeLessThan(300 * 1024);
  }, 120_000);

  test("keep what came of an upload that broke off", async () => {
    await using registry = await start();
    const socket = connectTls({ host: "127.0.0.1", port: registry.port, ca: authority.certificate, cert: await readFile(inFolder("alice.crt")), key: await readFile(inFolder("alice.key")) });
    const { promise: location, resolve: located } = Promise.withResolvers<string>();
    let text = "";
    socket.on("data", (bytes: Buffer) => {
      text += bytes.toString();
      const [, path] = /^location: (\S+)/im.exec(text) ?? [];
      if (path !== undefined) located(path);
    });
    socket.write(`POST ${uploads("team/app")} HTTP/1.1\r\nHost: ${registry.host}\r\nContent-Length: 0\r\n\r\n`);
    const url = new URL(await location);
    socket.write(`PATCH ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${registry.host}\r\nContent-Length: ${10 * MIB}\r\nContent-Type: application/octet-stream\r\n\r\n`);
    await new Promise((resolve) => socket.write(seededBytes(3 * MIB), resolve));
    await Bun.sleep(300);
    socket.destroy();
    const range = async (): Promise<string | undefined> => /^range: 0-(\d+)/im.exec(await runCommand(["curl", "--silent", "--dump-header", "-", "--cacert", inFolder("authority.crt"), ...shows("alice"), url.href]))?.[1];
    const deadline = Date.now() + 10_000;
    while ((await range()) === "0" && Date.now() < deadline) await Bun.sleep(100);
    expect(Number(await range())).toBeGreaterThan(MIB);
  });

  test("are closed when they have been idle, and leave nothing behind", async () => {
    await using registry = await start({ http: { limits: { idletimeout: "1s" } } });
    const openConnections = async (): Promise<number> => (await readdir(`/proc/${registry.child.pid}/fd`)).length;
    const before = await openConnections();
    const sockets = await Promise.all(Array.from({ length: 5 }, async () => await connected(registry)));
    for (const socket of sockets) socket.write(`GET /livez HTTP/1.1\r\nHost: ${registry.host}\r\n\r\n`);
    await Promise.all(sockets.map(async (socket) => await new Promise((resolve) => socket.once("close", resolve))));
    const deadline = Date.now() + 5_000;
    while ((await openConnections()) > before && Date.now() < deadline) await Bun.sleep(100);
    expect(await openConnections()).toBeLessThanOrEqual(before);
  }, 20_000);

  test("end by themselves at shutdown, within http.draintimeout", async () => {
    await using registry = await start({ http: { draintimeout: "20s" } });
    const idle = await connected(registry);
    const used = await connected(registry);
    const layer = seededBytes(2 * MIB, 3);
    await Bun.write(inFolder("slow"), layer);
    const options = ["--silent", "--fail", "--cacert", inFolder("authority.crt"), ...shows("alice")];
    const location = /^location: (\S+)/im.exec(await runCommand(["curl", ...options, ...PUSH, "--dump-header", "-", "--output", "/dev/null", registry.url + uploads("team/slow")]))?.[1] ?? "";
    const push = tryCommand(["curl", ...options, "--limit-rate", "1M", "--upload-file", inFolder("slow"), "--write-out", "%{http_code}", `${location}&digest=${digestOf(layer)}`]);
    await Bun.sleep(700);
    const startedAt = performance.now();
    const ended = registry.child.stop();
    expect((await push).stdout).toBe("201");
    expect(await ended).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    for (const socket of [idle, used]) socket.destroy();
  }, 30_000);

  test("come over a unix socket, too", async () => {
    await using registry = await start({ http: { net: "unix", addr: inFolder("socket") } });
    expect(registry.child.output()).toContain(`listening on ${inFolder("socket")}, tls`);
    const { stdout } = await tryCommand(["curl", "--silent", "--unix-socket", inFolder("socket"), "--cacert", inFolder("authority.crt"), ...shows("alice"), ...PUSH, "--output", "/dev/null", "--write-out", "%{http_code}", `https://localhost${uploads("team/app")}`]);
    expect(stdout).toBe("202");
  });

  test("go on while the certificate is swapped, and new ones get the new one", async () => {
    await using registry = await start();
    const socket = await connected(registry);
    await writeCertificate(folder.path, "server", await makeCertificate("server again", { issuer: authority }));
    await registry.child.waitForOutput(/serving a new certificate/);
    const shown = await connected(registry);
    expect(shown.getPeerCertificate().subject.CN).toBe("server again");
    expect(await curl(registry, uploads("team/app"), ...PUSH, ...shows("alice"))).toBe("202");
    for (const each of [socket, shown]) each.destroy();
  });
});

async function connected(registry: RegistryProcess): Promise<ReturnType<typeof connectTls>> {
  const socket = connectTls({ host: "127.0.0.1", port: registry.port, ca: authority.certificate, cert: await readFile(inFolder("alice.crt")), key: await readFile(inFolder("alice.key")) });
  await new Promise((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
  });
  return socket.on("error", () => undefined).resume();
}

/** The TCP ports that a process listens on. */
async function listeningPorts(pid: number): Promise<readonly number[]> {
  const own = new Set<string>();
  for (const fd of await readdir(`/proc/${pid}/fd`)) own.add((await readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")).replace(/^socket:\[(\d+)\]$/, "$1"));
  const lines = (await readFile(`/proc/${pid}/net/tcp`, "utf8")).split("\n").map((line) => line.trim().split(/\s+/));
  return lines.filter((fields) => fields[3] === "0A" && own.has(fields[9] ?? "")).map((fields) => Number.parseInt(fields[1]?.split(":")[1] ?? "", 16));
}
