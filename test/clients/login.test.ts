import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { makeCertificate, type TestCertificate, writeCertificate } from "../support/certificates.ts";
import { type Dockerd, startDockerd } from "../support/dockerd.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { writeOciLayout } from "../support/images.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";
import { startTokenServer, type TokenServer } from "../support/token-server.ts";
import { type ConnectProxy, startConnectProxy } from "./connect-proxy.ts";
import { type ContainersTools, containersTools } from "./containers-tools.ts";

/** A name that nothing resolves; see `startConnectProxy`. */
const HOST = "registry.test";
const DOCKER_CERTIFICATES = "/etc/docker/certs.d";

let folder: TempFolder;
let authority: TestCertificate;
let tokens: TokenServer;
let withPasswords: RegistryProcess;
let withTokens: RegistryProcess;
const cleanup = new AsyncDisposableStack();
beforeAll(async () => {
  folder = cleanup.use(await tempFolder());
  authority = await makeCertificate("authority", { isAuthority: true });
  await writeCertificate(folder.path, "authority", authority);
  // Clients look for files of these names in their folders of certificates.
  await Bun.write(join(folder.path, "certificates/ca.crt"), authority.certificate);
  const names = [{ type: "dns", value: HOST }, { type: "dns", value: "localhost" }, { type: "ip", value: "127.0.0.1" }] as const;
  const server = await writeCertificate(folder.path, "server", await makeCertificate("server", { issuer: authority, alternativeNames: names, purpose: "server" }));
  const tls = { certificate: server.certificateFile, key: server.keyFile };
  const password = await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 });
  await Bun.write(join(folder.path, "htpasswd"), `alice:${password}\n`);
  const rules = [{ repositories: ["private/**"], users: ["alice"], actions: ["push"] }, { repositories: ["robots/**"], users: ["robot"], actions: ["push"] }];
  const passwords = { htpasswd: { realm: "private registry", path: join(folder.path, "htpasswd"), rules }, certificate: { enabled: true } };
  withPasswords = await start({ ...tls, clientcas: [join(folder.path, "authority.crt")], clientauth: "verify-client-cert-if-given" }, passwords);

  tokens = cleanup.use(await startTokenServer({ alice: { password: "secret", access: { "*": ["pull", "push"] } }, bob: { password: "secret", access: { "*": ["pull"] } } }));
  await Bun.write(join(folder.path, "bundle.pem"), tokens.certificate);
  withTokens = await start(tls, { token: { realm: tokens.realm, service: tokens.service, issuer: tokens.issuer, rootcertbundle: join(folder.path, "bundle.pem") } });
});
afterAll(async () => await cleanup.disposeAsync());

async function start(tls: ConfigSection, auth: ConfigSection): Promise<RegistryProcess> {
  return cleanup.use(await startRegistry({ config: { http: { tls }, auth } }));
}

/** What a failed command said. @throws Error when it did not fail */
async function failure(command: Promise<string>): Promise<string> {
  const outcome = await command.catch((error: unknown) => error);
  if (outcome instanceof Error) return outcome.message;
  throw new Error(`expected a failure, found: ${String(outcome)}`);
}

describeWith(["docker"], "docker with certificates of a private authority", () => {
  let dockerd: Dockerd;
  let proxy: ConnectProxy;
  const docker = (...args: string[]): Promise<string> => dockerd.docker(...args);
  const hostOf = (registry: RegistryProcess): string => `${HOST}:${registry.port}`;
  beforeAll(async () => {
    proxy = await startConnectProxy();
    dockerd = await startDockerd({ env: { HTTPS_PROXY: proxy.url } });
  });
  afterAll(async () => {
    await dockerd[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
    for (const registry of [withPasswords, withTokens]) await rm(join(DOCKER_CERTIFICATES, hostOf(registry)), { recursive: true, force: true });
    // Others may keep theirs there.
    await rmdir(DOCKER_CERTIFICATES).catch(() => undefined);
  });

  /** Has docker trust the authority and, when there is one, show a certificate. */
  async function trust(registry: RegistryProcess, client?: TestCertificate): Promise<void> {
    const place = join(DOCKER_CERTIFICATES, hostOf(registry));
    await mkdir(place, { recursive: true });
    await Bun.write(join(place, "ca.crt"), authority.certificate);
    if (client === undefined) return;
    await Bun.write(join(place, "client.cert"), client.certificate);
    await Bun.write(join(place, "client.key"), client.key);
  }
  const login = (registry: RegistryProcess, user: string, password: string): Promise<string> => docker("login", "--username", user, "--password", password, hostOf(registry));

  test("a password file: login, push, pull, logout", async () => {
    const image = `${hostOf(withPasswords)}/private/app:1`;
    await dockerd.build(image, { one: seededBytes(300_000, 1), two: "two" });
    expect(await failure(login(withPasswords, "alice", "secret"))).toContain("certificate signed by unknown authority");
    await trust(withPasswords);
    expect(await failure(docker("push", image))).toContain("no basic auth credentials");
    expect(await failure(login(withPasswords, "alice", "wrong"))).toContain("401 Unauthorized");
    expect(await login(withPasswords, "alice", "secret")).toContain("Login Succeeded");
    expect(await docker("push", image)).toContain("digest: sha256:");
    await docker("image", "rm", image);
    expect(await docker("pull", image)).toContain("Downloaded newer image");
    await docker("logout", hostOf(withPasswords));
    expect(await failure(docker("pull", image))).toContain("no basic auth credentials");
  }, 60_000);

  test("a client's certificate stands in for the login", async () => {
    const image = `${hostOf(withPasswords)}/robots/app:1`;
    await dockerd.build(image, { one: seededBytes(100_000, 2) });
    await trust(withPasswords, await makeCertificate("robot", { issuer: authority, purpose: "client" }));
    expect(await docker("push", image)).toContain("digest: sha256:");
    await docker("image", "rm", image);
    expect(await docker("pull", image)).toContain("Downloaded newer image");
    const other = `${hostOf(withPasswords)}/private/app:robot`;
    await docker("tag", image, other);
    expect(await failure(docker("push", other))).toContain("denied");
  }, 60_000);

  test("a token server: login, push, pull, and a mount from another repository", async () => {
    const [first, second] = [`${hostOf(withTokens)}/tokens/first:1`, `${hostOf(withTokens)}/tokens/second:1`];
    await trust(withTokens);
    await dockerd.build(first, { one: seededBytes(200_000, 3), two: "tokens" });
    expect(await failure(login(withTokens, "alice", "wrong"))).toContain("unauthorized");
    await login(withTokens, "bob", "secret");
    expect(await failure(docker("push", first))).toContain("denied");
    await login(withTokens, "alice", "secret");
    expect(await docker("push", first)).toContain("digest: sha256:");
    await docker("tag", first, second);
    expect(await docker("push", second)).toContain("Mounted from tokens/first");
    await docker("image", "rm", first, second);
    await login(withTokens, "bob", "secret");
    expect(await docker("pull", second)).toContain("Downloaded newer image");
    expect(tokens.requests).toBeGreaterThan(4);
  }, 60_000);
});

describeWith(["skopeo", "podman"], "skopeo and podman with certificates of a private authority", () => {
  let tools: ContainersTools;
  beforeAll(async () => void (tools = await containersTools()));
  afterAll(async () => await tools[Symbol.asyncDispose]());

  const certificates = (): string => join(folder.path, "certificates");

  test("skopeo: login, copy in and out, logout", async () => {
    const layout = await writeOciLayout(join(tools.folder, "skopeo"), { seed: 4 });
    for (const registry of [withPasswords, withTokens]) {
      const login = (password: string): Promise<string> => tools.skopeo("login", "--cert-dir", certificates(), "--username", "alice", "--password", password, registry.host);
      const remote = `docker://${registry.host}/private/skopeo:1`;
      const push = (): Promise<string> => tools.skopeo("copy", "--preserve-digests", "--dest-cert-dir", certificates(), `oci:${layout.folder}:${layout.tag}`, remote);
      expect(await failure(tools.skopeo("login", "--username", "alice", "--password", "secret", registry.host))).toContain("certificate signed by unknown authority");
      expect(await failure(login("wrong"))).toContain("invalid username/password");
      expect(await failure(push())).toMatch(/unauthorized|authentication required|incorrect username/);
      expect(await login("secret")).toContain("Login Succeeded");
      await push();
      expect(digestOf(await tools.skopeo("inspect", "--raw", "--cert-dir", certificates(), remote))).toBe(layout.digest);
      await tools.skopeo("logout", registry.host);
      expect(await failure(tools.skopeo("inspect", "--cert-dir", certificates(), remote))).toMatch(/unauthorized|authentication required|incorrect username/);
    }
  }, 60_000);

  test("podman: login, push, pull, logout", async () => {
    const layout = await writeOciLayout(join(tools.folder, "podman"), { seed: 5 });
    for (const registry of [withPasswords, withTokens]) {
      const image = `${registry.host}/private/podman:1`;
      const id = (await tools.podman("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim();
      expect(await failure(tools.podman("login", "--cert-dir", certificates(), "--username", "alice", "--password", "wrong", registry.host))).toContain("invalid username/password");
      expect(await tools.podman("login", "--cert-dir", certificates(), "--username", "alice", "--password", "secret", registry.host)).toContain("Login Succeeded");
      await tools.podman("push", "--cert-dir", certificates(), id, image);
      await tools.forget();
      expect((await tools.podman("pull", "--quiet", "--cert-dir", certificates(), image)).trim()).toBe(id);
      await tools.podman("logout", registry.host);
      await tools.forget();
      expect(await failure(tools.podman("pull", "--quiet", "--cert-dir", certificates(), image))).toMatch(/unauthorized|authentication required|incorrect username/);
    }
  }, 60_000);
});
