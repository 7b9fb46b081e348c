import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { importPKCS8, SignJWT } from "jose";
import { runCommand } from "../support/command.ts";
import { ACCEPT_ALL, digestOf, expectStatus, pushBlob, pushImage, pushIndex, type PushedImage, seededBytes } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

const MIB = 1024 * 1024;

interface ProxyVars {
  readonly registry: { readonly proxy: { readonly blobs: Record<string, number>; readonly manifests: Record<string, number> } };
}

async function startMirror(proxy: ConfigSection, more: ConfigSection = {}): Promise<RegistryProcess> {
  return await startRegistry({ config: { proxy, http: { debug: { addr: "127.0.0.1:0", prometheus: { enabled: true } } }, ...more } });
}

async function proxyVars(mirror: RegistryProcess): Promise<ProxyVars["registry"]["proxy"]> {
  const [, address = ""] = await mirror.child.waitForOutput(/debug server listening ([^\s",]+)/);
  return ((await (await fetch(`http://${address}/debug/vars`)).json()) as ProxyVars).registry.proxy;
}

/** The access log lines of distribution for a path. */
function requestsFor(upstream: RegistryProcess, path: string): number {
  return upstream.child.output().split(`${path} HTTP/1.1"`).length - 1;
}

async function bytesOf(url: string, init: RequestInit = {}): Promise<Uint8Array> {
  return await (await expectStatus(200, url, { headers: { accept: ACCEPT_ALL }, ...init })).bytes();
}

describe("a mirror of distribution", () => {
  let upstream: RegistryProcess;
  let mirror: RegistryProcess;
  let image: PushedImage;
  let index: { readonly digest: string; readonly bytes: Uint8Array };
  beforeAll(async () => {
    upstream = await startRegistry({ implementation: "distribution" });
    const repository = { url: upstream.url, name: "team/app" };
    image = await pushImage(repository, "v1", { layers: [seededBytes(3 * MIB), seededBytes(5000, 2)] });
    index = await pushIndex(repository, "all", [image, await pushImage(repository, undefined, { seed: 7, format: "oci" })]);
    await pushImage({ url: upstream.url, name: "team/docker" }, "v1", { format: "docker" });
    mirror = await startMirror({ remoteurl: upstream.url });
  });
  afterAll(async () => {
    await mirror[Symbol.asyncDispose]();
    await upstream[Symbol.asyncDispose]();
  });

  test("serves manifests by tag and digest, GET and HEAD, of both families, byte by byte", async () => {
    for (const path of [`team/app/manifests/v1`, `team/app/manifests/${image.digest}`, "team/app/manifests/all", `team/app/manifests/${index.digest}`, "team/docker/manifests/v1"]) {
      const [ours, theirs] = await Promise.all([mirror, upstream].map((registry) => expectStatus(200, `${registry.url}/v2/${path}`, { headers: { accept: ACCEPT_ALL } })));
      expect(Buffer.from((await ours?.bytes()) ?? []).equals(Buffer.from((await theirs?.bytes()) ?? [1]))).toBe(true);
      const head = await expectStatus(200, `${mirror.url}/v2/${path}`, { method: "HEAD", headers: { accept: ACCEPT_ALL } });
      for (const name of ["content-type", "docker-content-digest", "content-length", "etag"]) expect([name, head.headers.get(name)]).toEqual([name, theirs?.headers.get(name) ?? null]);
    }
  });

  test("serves blobs, HEAD and ranges of them, before and after it has them", async () => {
    const [large, small] = image.layers;
    for (const [round, status] of [["before", 206], ["after", 206]] as const) {
      const url = `${mirror.url}/v2/team/app/blobs/${small?.digest}`;
      const head = await expectStatus(200, url, { method: "HEAD" });
      expect([round, head.headers.get("content-length"), head.headers.get("docker-content-digest")]).toEqual([round, "5000", small?.digest ?? ""]);
      const part = await expectStatus(status, url, { headers: { range: "bytes=100-199" } });
      expect(part.headers.get("content-range")).toBe("bytes 100-199/5000");
      expect(Buffer.from(await part.bytes()).equals(Buffer.from(seededBytes(5000, 2).subarray(100, 200)))).toBe(true);
      expect(digestOf(await bytesOf(`${mirror.url}/v2/team/app/blobs/${large?.digest}`))).toBe(large?.digest ?? "");
    }
    await expectStatus(404, `${mirror.url}/v2/team/app/blobs/${digestOf("nothing")}`);
    await expectStatus(404, `${mirror.url}/v2/team/app/manifests/none`);
  });

  test("asks once for fifty clients", async () => {
    const digest = await pushBlob({ url: upstream.url, name: "team/app" }, seededBytes(8 * MIB, 50));
    const all = await Promise.all(Array.from({ length: 50 }, () => bytesOf(`${mirror.url}/v2/team/app/blobs/${digest}`)));
    expect(new Set(all.map((bytes) => digestOf(bytes)))).toEqual(new Set([digest]));
    expect(requestsFor(upstream, `"GET /v2/team/app/blobs/${digest}`)).toBe(1);
  });

  test("sends a slow client every byte, long after the others have had theirs", async () => {
    const digest = await pushBlob({ url: upstream.url, name: "team/app" }, seededBytes(32 * MIB, 51));
    const url = `${mirror.url}/v2/team/app/blobs/${digest}`;
    const slow = (await expectStatus(200, url)).body?.getReader();
    const hasher = new Bun.CryptoHasher("sha256");
    hasher.update((await slow?.read())?.value ?? "");
    for (let i = 0; i < 3; i++) expect(digestOf(await bytesOf(url))).toBe(digest);
    for (let next = await slow?.read(); next?.value !== undefined; next = await slow?.read()) hasher.update(next.value);
    expect(`sha256:${hasher.digest("hex")}`).toBe(digest);
  });

  test("lists tags, catalog and referrers", async () => {
    expect(await (await expectStatus(200, `${mirror.url}/v2/team/app/tags/list`)).json()).toEqual({ name: "team/app", tags: ["all", "v1"] });
    const page = await expectStatus(200, `${mirror.url}/v2/team/app/tags/list?n=1`);
    expect(await page.json()).toEqual({ name: "team/app", tags: ["all"] });
    expect(page.headers.get("link")).toContain("last=all");
    expect(((await (await expectStatus(200, `${mirror.url}/v2/_catalog`)).json()) as { repositories: string[] }).repositories).toContain("team/app");
    expect(await (await expectStatus(200, `${mirror.url}/v2/team/app/referrers/${image.digest}`)).json()).toMatchObject({ manifests: [] });
  });

  test("refuses writes with 405 UNSUPPORTED", async () => {
    const url = `${mirror.url}/v2/team/app`;
    for (const [path, method] of [["blobs/uploads/", "POST"], ["manifests/v2", "PUT"], [`manifests/${image.digest}`, "DELETE"], ["manifests/v1", "DELETE"], [`blobs/${image.layers[0]?.digest}`, "DELETE"]] as const) {
      const response = await expectStatus(405, `${url}/${path}`, { method, ...(method === "PUT" && { body: new Blob([image.bytes]), headers: { "content-type": image.mediaType } }) });
      expect(((await response.json()) as { errors: { code: string }[] }).errors[0]?.code).toBe("UNSUPPORTED");
    }
  });

  test("counts what it does under distribution's names", async () => {
    const { blobs, manifests } = await proxyVars(mirror);
    expect(Object.keys(blobs)).toEqual(["Requests", "Hits", "Misses", "BytesPulled", "BytesPushed"]);
    expect(manifests["Hits"]).toBeGreaterThan(0);
    const [, address = ""] = await mirror.child.waitForOutput(/debug server listening ([^\s",]+)/);
    expect(await (await fetch(`http://${address}/metrics`)).text()).toContain(`registry_proxy_hits_total{type="blob"} ${blobs["Hits"]}`);
  });
});

describe("a mirror", () => {
  test("of an upstream with htpasswd logs in, by password and by helper", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "htpasswd");
    await Bun.write(file, `ann:${await Bun.password.hash("p:w", { algorithm: "bcrypt", cost: 4 })}\n`);
    await using upstream = await startRegistry({ implementation: "distribution", config: { auth: { htpasswd: { realm: "upstream", path: file } } } });
    await pushAuthorized(upstream, `Basic ${btoa("ann:p:w")}`);
    const helper = join(folder.path, "helper");
    await Bun.write(helper, `#!/bin/sh\n[ "$(cat)" = "${upstream.host}" ] && echo '{"Username":"ann","Secret":"p:w"}'\n`);
    await chmod(helper, 0o755);
    for (const login of [{ username: "ann", password: "p:w" }, { exec: { command: helper } }]) {
      await using mirror = await startMirror({ remoteurl: upstream.url, ...login });
      await expectStatus(200, `${mirror.url}/v2/team/app/manifests/v1`, { headers: { accept: ACCEPT_ALL } });
      expect(mirror.child.output()).not.toContain("p:w");
    }
    await using stranger = await startMirror({ remoteurl: upstream.url });
    await expectStatus(403, `${stranger.url}/v2/team/app/manifests/v1`, { headers: { accept: ACCEPT_ALL } });
  });

  test("of an upstream with tokens gets one for each repository, from a server that it was told to trust", async () => {
    await using folder = await tempFolder();
    await using tokens = await startTokenServer(folder.path);
    const token = { realm: `${tokens.url}/token`, service: "upstream", issuer: "issuer", rootcertbundle: tokens.certificateFile };
    await using upstream = await startRegistry({ implementation: "distribution", config: { auth: { token } } });
    const authorization = `Bearer ${await tokens.issue("repository:team/app:pull,push")}`;
    await pushAuthorized(upstream, authorization);
    tokens.asked.length = 0;
    await using mirror = await startMirror({ remoteurl: upstream.url, username: "ann", password: "pw", trustedrealms: [new URL(tokens.url).host] });
    for (let i = 0; i < 3; i++) await expectStatus(200, `${mirror.url}/v2/team/app/manifests/v1`, { headers: { accept: ACCEPT_ALL } });
    await expectStatus(404, `${mirror.url}/v2/team/other/manifests/v1`);
    expect(tokens.asked).toEqual([`ann repository:team/app:pull`, `ann repository:team/other:pull`]);
    await using careful = await startMirror({ remoteurl: upstream.url, username: "ann", password: "pw" });
    await expectStatus(403, `${careful.url}/v2/team/app/manifests/v1`);
    expect(tokens.asked.length).toBe(2);
  });

  test("serves what it has, and knows when it is from, while its upstream is away; also after a restart", async () => {
    await using folder = await tempFolder();
    const storageFolder = join(folder.path, "cache");
    let remoteurl: string;
    let image: PushedImage;
    {
      await using upstream = await startRegistry({ implementation: "distribution" });
      remoteurl = upstream.url;
      image = await pushImage({ url: upstream.url, name: "team/app" }, "v1");
      await using mirror = await startRegistry({ config: { proxy: { remoteurl } }, storageFolder });
      await pull(mirror, "team/app", image);
    }
    await using mirror = await startRegistry({ config: { proxy: { remoteurl } }, storageFolder });
    await pull(mirror, "team/app", image);
    await mirror.child.waitForOutput(/upstream registry is away: serving what is cached/);
    expect(await (await expectStatus(200, `${mirror.url}/v2/team/app/tags/list`)).json()).toEqual({ name: "team/app", tags: ["v1"] });
    await expectStatus(503, `${mirror.url}/v2/team/app/manifests/v2`);
    expect(Object.keys(JSON.parse(await Bun.file(join(storageFolder, "scheduler-state.json")).text()) as object)).toContain(`team/app@${image.digest}`);
  });

  test("breaks off the transfer of a blob that turns out to be another one", async () => {
    await using upstream = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(seededBytes(3 * MIB)) });
    await using mirror = await startMirror({ remoteurl: `http://127.0.0.1:${upstream.port}` });
    const url = `${mirror.url}/v2/team/app/blobs/${digestOf("another")}`;
    await expect(bytesOf(url)).rejects.toThrow(/closed/);
    await mirror.child.waitForOutput(/problem=garbage/);
    expect((await proxyVars(mirror)).blobs).toMatchObject({ Hits: 0 });
  });

  test("reaches its upstream, and listeners of events, through HTTP_PROXY, but never this host", async () => {
    await using upstream = await startRegistry({ implementation: "distribution" });
    const image = await pushImage({ url: upstream.url, name: "team/app" }, "v1");
    const asked: string[] = [];
    await using proxy = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request) {
        // A request to a proxy names the whole URL.
        asked.push(request.url);
        const { pathname } = new URL(request.url);
        return pathname === "/hook" ? new Response("ok") : fetch(upstream.url + pathname, { method: request.method, headers: { accept: ACCEPT_ALL } });
      },
    });
    const local: string[] = [];
    await using listener = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request) {
        local.push(request.url);
        return new Response("ok");
      },
    });
    const endpoints = ["http://hooks.test/hook", `http://127.0.0.1:${listener.port}/`].map((url, index) => ({ name: String(index), url }));
    await using mirror = await startRegistry({ config: { proxy: { remoteurl: "http://upstream.test" }, notifications: { endpoints } }, env: { HTTP_PROXY: `http://127.0.0.1:${proxy.port}` } });
    await pull(mirror, "team/app", image);
    while (local.length < 3 || asked.filter((url) => url === "http://hooks.test/hook").length < 3) await Bun.sleep(10);
    expect(asked).toContain("http://upstream.test/v2/team/app/manifests/v1");
  });

  test("of several upstreams serves each by prefix and by name space, beside repositories of its own", async () => {
    await using first = await startRegistry({ implementation: "distribution" });
    await using second = await startRegistry({ implementation: "distribution" });
    const [one, two] = await Promise.all([first, second].map((upstream, seed) => pushImage({ url: upstream.url, name: "org/app" }, "v1", { seed: seed + 1 })));
    if (one === undefined || two === undefined) throw new Error("expected two images");
    const remotes = [
      { prefix: "first.test", remoteurl: first.url, deny: ["secret/**"] },
      { prefix: "second.test", remoteurl: second.url, namespaces: ["also.test"] },
    ];
    await using mirror = await startMirror({ remotes, local: ["ours/**"] });
    await pull(mirror, "first.test/org/app", one);
    await pull(mirror, "second.test/org/app", two);
    for (const [namespace, image] of [["first.test", one], ["second.test", two], ["also.test", two], [second.host, two]] as const) {
      expect(digestOf(await bytesOf(`${mirror.url}/v2/org/app/manifests/v1?ns=${namespace}`))).toBe(image.digest);
    }
    await expectStatus(404, `${mirror.url}/v2/org/app/manifests/v1?ns=third.test`);
    await expectStatus(404, `${mirror.url}/v2/org/app/manifests/v1`);
    await expectStatus(403, `${mirror.url}/v2/first.test/secret/app/manifests/v1`);
    const own = await pushImage({ url: mirror.url, name: "ours/app" }, "v1", { seed: 3 });
    await pull(mirror, "ours/app", own);
    await expectStatus(405, `${mirror.url}/v2/first.test/org/app/blobs/uploads/`, { method: "POST" });
    const { repositories } = (await (await expectStatus(200, `${mirror.url}/v2/_catalog`)).json()) as { repositories: string[] };
    expect(repositories).toEqual(["first.test/org/app", "ours/app", "second.test/org/app"]);
  });
});

/** Pulls an image whole, and checks it. */
async function pull(registry: RegistryProcess, name: string, image: PushedImage): Promise<void> {
  expect(digestOf(await bytesOf(`${registry.url}/v2/${name}/manifests/v1`))).toBe(image.digest);
  for (const { digest } of [image.config, ...image.layers]) expect(digestOf(await bytesOf(`${registry.url}/v2/${name}/blobs/${digest}`))).toBe(digest);
}

/** Pushes an image without layers to a registry that wants to know who does. */
async function pushAuthorized(upstream: RegistryProcess, authorization: string): Promise<void> {
  const name = "team/app";
  const config = "{}";
  const start = await expectStatus(202, `${upstream.url}/v2/${name}/blobs/uploads/`, { method: "POST", headers: { authorization } });
  const location = new URL(start.headers.get("location") ?? "", upstream.url);
  location.searchParams.set("digest", digestOf(config));
  await expectStatus(201, location.href, { method: "PUT", body: config, headers: { authorization, "content-type": "application/octet-stream" } });
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType, config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(config), size: config.length }, layers: [] });
  await expectStatus(201, `${upstream.url}/v2/${name}/manifests/v1`, { method: "PUT", body: manifest, headers: { authorization, "content-type": mediaType } });
}

/** Issues tokens that a registry with the certificate trusts. */
interface TokenServer extends AsyncDisposable {
  readonly url: string;
  readonly certificateFile: string;
  /** User and scope of every request. */
  readonly asked: string[];
  issue(scope: string): Promise<string>;
}

async function startTokenServer(folder: string): Promise<TokenServer> {
  const [keyFile, certificateFile] = [join(folder, "token.key"), join(folder, "token.crt")];
  await runCommand(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", keyFile, "-out", certificateFile, "-days", "2", "-subj", "/CN=tokens"]);
  const key = await importPKCS8(await Bun.file(keyFile).text(), "ES256");
  const x5c = [(await Bun.file(certificateFile).text()).replace(/-----[^-]+-----|\s/g, "")];
  const issue = (scope: string): Promise<string> => {
    const [type, name, actions] = scope.split(":");
    return new SignJWT({ access: [{ type, name, actions: actions?.split(",") }] })
      .setProtectedHeader({ alg: "ES256", typ: "JWT", x5c })
      .setIssuer("issuer")
      .setSubject("ann")
      .setAudience("upstream")
      .setIssuedAt()
      .setNotBefore("0s")
      .setExpirationTime("5m")
      .setJti(crypto.randomUUID())
      .sign(key);
  };
  const asked: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const scope = new URL(request.url).searchParams.get("scope") ?? "";
      const [user] = atob(request.headers.get("authorization")?.slice("Basic ".length) ?? "").split(":");
      asked.push(`${user} ${scope}`);
      return Response.json({ token: await issue(scope), expires_in: 300 });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, certificateFile, asked, issue, [Symbol.asyncDispose]: () => server.stop(true) };
}
