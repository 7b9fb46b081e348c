import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { makeCertificate, writeCertificate } from "../support/certificates.ts";
import { ACCEPT_ALL, expectStatus, pushBlob } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";
import { DIGESTS, LAYER, startUpstream, type Upstream } from "./proxy-upstream.ts";

/** A mirror whose one upstream is everything's, or that of a prefix: what can be said of it is the same. */
interface Kind {
  /** Of names here. */
  readonly prefix: string;
  /** The section `proxy`. */
  section(remoteurl: string, options: ConfigSection): ConfigSection;
}

const WHOLE: Kind = { prefix: "", section: (remoteurl, options) => ({ remoteurl, ...options }) };
const REMOTE: Kind = { prefix: "up/", section: (remoteurl, options) => ({ remotes: [{ prefix: "up", remoteurl, ...options }] }) };

interface Mirror extends AsyncDisposable {
  readonly registry: RegistryProcess;
  /** The status of a manifest. */
  manifest(name: string, reference?: string): Promise<number>;
  /** The status of the layer. */
  layer(name: string): Promise<number>;
}

async function mirrorOf(kind: Kind, upstream: Upstream, options: ConfigSection = {}, more: ConfigSection = {}): Promise<Mirror> {
  const registry = await startRegistry({ config: { proxy: kind.section(upstream.url, options), ...more } });
  const status = async (path: string): Promise<number> => {
    const response = await fetch(`${registry.url}/v2/${path}`, { headers: { accept: ACCEPT_ALL } });
    await response.arrayBuffer();
    return response.status;
  };
  return {
    registry,
    manifest: async (name, reference = "v1") => await status(`${kind.prefix}${name}/manifests/${reference}`),
    layer: async (name) => await status(`${kind.prefix}${name}/blobs/${DIGESTS.layer}`),
    [Symbol.asyncDispose]: async () => await registry[Symbol.asyncDispose](),
  };
}

async function until(condition: () => boolean | Promise<boolean>, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (Date.now() < deadline) {
    if (await condition()) return true;
    await Bun.sleep(50);
  }
  return await condition();
}

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(async () => await folder[Symbol.asyncDispose]());

describe.each([
  ["proxy", WHOLE],
  ["proxy.remotes[]", REMOTE],
] as const)("%s", (_name, kind) => {
  test("remoteurl and prefix: what is not here is fetched from there", async () => {
    await using upstream = startUpstream();
    await using mirror = await mirrorOf(kind, upstream);
    expect([await mirror.manifest("org/app"), await mirror.layer("org/app"), await mirror.manifest("org/app", "none")]).toEqual([200, 200, 404]);
    expect(upstream.count("/v2/org/app/manifests/v1")).toBeGreaterThan(0);
    if (kind === REMOTE) await expectStatus(404, `${mirror.registry.url}/v2/org/app/manifests/v1`);
  });

  test("username and password: for an upstream that asks for them", async () => {
    await using upstream = startUpstream({
      intercept: ({ authorization }) => (authorization === `Basic ${btoa("robot:sesame")}` ? undefined : new Response(null, { status: 401, headers: { "www-authenticate": 'Basic realm="r"' } })),
    });
    await using mirror = await mirrorOf(kind, upstream, { username: "robot", password: "sesame" });
    expect(await mirror.manifest("org/app")).toBe(200);
    await using stranger = await mirrorOf(kind, upstream);
    expect(await stranger.manifest("org/app")).not.toBe(200);
  });

  test("exec.command and exec.lifetime: credentials of a helper, for as long as it is told", async () => {
    await using own = await tempFolder();
    const [command, calls] = [join(own.path, "helper"), join(own.path, "calls")];
    await Bun.write(command, `#!/bin/sh\necho "$1 $(cat)" >> ${calls}\necho '{"ServerURL":"x","Username":"robot","Secret":"sesame"}'\n`);
    await chmod(command, 0o755);
    await using upstream = startUpstream({
      intercept: ({ authorization }) => (authorization === `Basic ${btoa("robot:sesame")}` ? undefined : new Response(null, { status: 401, headers: { "www-authenticate": 'Basic realm="r"' } })),
    });
    const callsOf = async (exec: ConfigSection): Promise<readonly string[]> => {
      await Bun.write(calls, "");
      await using mirror = await mirrorOf(kind, upstream, { exec: { command, ...exec } });
      for (const name of ["a/a", "b/b", "c/c"]) expect(await mirror.manifest(name)).toBe(200);
      return (await Bun.file(calls).text()).trimEnd().split("\n");
    };
    expect(await callsOf({})).toEqual([`get ${upstream.host}`]);
    expect(await callsOf({ lifetime: "1h" })).toHaveLength(1);
    expect((await callsOf({ lifetime: "0s" })).length).toBeGreaterThan(1);
  });

  test("tagttl: how long a tag is believed", async () => {
    await using upstream = startUpstream();
    await using mirror = await mirrorOf(kind, upstream, { tagttl: "1h" });
    for (let pull = 0; pull < 3; pull++) expect(await mirror.manifest("org/app")).toBe(200);
    const believed = upstream.count("/manifests/v1");
    await using asking = await mirrorOf(kind, upstream);
    for (let pull = 0; pull < 3; pull++) expect(await asking.manifest("org/app")).toBe(200);
    expect(upstream.count("/manifests/v1") - believed).toBe(believed + 2);
  });

  test("tls.rootcas, tls.certificate and tls.key: an upstream of a private authority that wants to know its clients", async () => {
    const authority = await makeCertificate("authority", { isAuthority: true });
    const { certificateFile: rootca } = await writeCertificate(folder.path, "authority", authority);
    const client = await writeCertificate(folder.path, "client", await makeCertificate("client", { issuer: authority }));
    const { certificate: cert, key } = await makeCertificate("localhost", { issuer: authority });
    await using upstream = startUpstream({ tls: { cert, key, ca: authority.certificate, requestCert: true, rejectUnauthorized: true } });
    const status = async (tls: ConfigSection): Promise<number> => {
      await using mirror = await mirrorOf(kind, upstream, { tls });
      return await mirror.manifest("org/app");
    };
    const certificate = { certificate: client.certificateFile, key: client.keyFile };
    expect(await status({ rootcas: [rootca], ...certificate })).toBe(200);
    expect(await status({ rootcas: [rootca] })).not.toBe(200);
    expect(await status(certificate)).not.toBe(200);
  });

  test("allow and deny: which repositories are mirrored", async () => {
    await using upstream = startUpstream();
    await using mirror = await mirrorOf(kind, upstream, { allow: ["org/**"], deny: ["org/secret/*"] });
    expect([await mirror.manifest("org/app"), await mirror.manifest("other/app"), await mirror.manifest("org/secret/app")]).toEqual([200, 403, 403]);
  });

  test("trustedrealms: a token server of another domain is given the password only when it is named", async () => {
    const logins: string[] = [];
    const tokens = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request) {
        logins.push(request.headers.get("authorization") ?? "");
        return Response.json({ token: "good" });
      },
    });
    await using upstream = startUpstream({
      intercept: ({ authorization }) => (authorization === "Bearer good" ? undefined : new Response(null, { status: 401, headers: { "www-authenticate": `Bearer realm="${tokens.url.origin}/token",service="s"` } })),
    });
    await using careful = await mirrorOf(kind, upstream, { username: "robot", password: "sesame" });
    expect(await careful.manifest("org/app")).not.toBe(200);
    expect(logins).toEqual([]);
    await using trusting = await mirrorOf(kind, upstream, { username: "robot", password: "sesame", trustedrealms: [tokens.url.host] });
    expect(await trusting.manifest("org/app")).toBe(200);
    expect(logins[0]).toBe(`Basic ${btoa("robot:sesame")}`);
    await tokens.stop(true);
  });

  test("ttl: what nobody asks for goes", async () => {
    await using upstream = startUpstream();
    await using mirror = await mirrorOf(kind, upstream, { ttl: "1s" });
    await using keeping = await mirrorOf(kind, upstream, { ttl: "0s" });
    const revisions = ({ registry }: Mirror): boolean => existsSync(join(registry.storageFolder, `docker/registry/v2/repositories/${kind.prefix}org/app/_manifests/revisions/sha256/${DIGESTS.manifest.slice(7)}/link`));
    for (const each of [mirror, keeping]) {
      expect(await each.manifest("org/app")).toBe(200);
      expect(revisions(each)).toBe(true);
    }
    expect(await until(() => !revisions(mirror), 15_000)).toBe(true);
    expect(revisions(keeping)).toBe(true);
  });
});

test("proxy.namespaces and proxy.remotes[].namespaces: which ?ns= means which upstream", async () => {
  await using rest = startUpstream();
  await using one = startUpstream();
  const proxy = { remoteurl: rest.url, namespaces: ["everything.example"], remotes: [{ prefix: "one", remoteurl: one.url, namespaces: ["one.example"] }] };
  await using registry = await startRegistry({ config: { proxy } });
  const ask = async (namespace: string): Promise<number> => (await fetch(`${registry.url}/v2/org/app/manifests/v1?ns=${namespace}`, { headers: { accept: ACCEPT_ALL } })).status;
  expect([await ask("one.example"), rest.count("manifests/v1"), one.count("/v2/org/app/manifests/v1") > 0]).toEqual([200, 0, true]);
  expect([await ask("everything.example"), rest.count("manifests/v1") > 0]).toEqual([200, true]);
  expect(await ask("unknown.example")).toBe(404);
});

test("proxy.local: repositories that are ours are pushed to, and never asked for upstream", async () => {
  await using upstream = startUpstream();
  await using mirror = await mirrorOf(WHOLE, upstream, { local: ["ours/**"] });
  await pushBlob({ url: mirror.registry.url, name: "ours/app" }, "content");
  expect([await mirror.manifest("ours/app"), upstream.count("/ours/app/manifests/v1")]).toEqual([404, 0]);
  await expectStatus(405, `${mirror.registry.url}/v2/theirs/app/blobs/uploads/`, { method: "POST" });
});

test("proxy.maxsize: beyond it the least recently used goes", async () => {
  await using upstream = startUpstream();
  await using mirror = await mirrorOf(WHOLE, upstream, { maxsize: "100KiB" });
  expect(await mirror.layer("org/app")).toBe(200);
  const link = join(mirror.registry.storageFolder, `docker/registry/v2/repositories/org/app/_layers/sha256/${DIGESTS.layer.slice(7)}/link`);
  expect(await until(() => existsSync(link), 3000)).toBe(true);
  expect(await until(() => !existsSync(link), 15_000)).toBe(true);
});

test("proxy.missingttl: how long it is believed that something is not there", async () => {
  for (const [missingttl, asked] of [["1h", 1], ["0s", 3]] as const) {
    await using upstream = startUpstream();
    await using mirror = await mirrorOf(WHOLE, upstream, { missingttl });
    for (let pull = 0; pull < 3; pull++) expect(await mirror.manifest("org/app", "none")).toBe(404);
    const first = upstream.requests.filter(({ path, method }) => path.endsWith("/none") && method === (upstream.requests.find((request) => request.path.endsWith("/none"))?.method ?? ""));
    expect([missingttl, first.length]).toEqual([missingttl, asked]);
  }
});

test("proxy.staletimeout: a slow upstream is not waited for when there is an older answer", async () => {
  let isSlow = false;
  await using upstream = startUpstream({
    intercept: async () => {
      if (isSlow) await Bun.sleep(20_000);
      return undefined as never;
    },
  });
  await using mirror = await mirrorOf(WHOLE, upstream, { staletimeout: "200ms" });
  expect(await mirror.manifest("org/app")).toBe(200);
  isSlow = true;
  const started = performance.now();
  expect(await mirror.manifest("org/app")).toBe(200);
  expect(performance.now() - started).toBeGreaterThan(150);
  expect(performance.now() - started).toBeLessThan(15_000);
});

/** The layer, slowly: its first half at once and the rest when it is told to. */
function slowLayer(): { readonly response: () => Response; finish(): void } {
  const rest = Promise.withResolvers<void>();
  const body = (): ReadableStream<Uint8Array> =>
    new ReadableStream({
      async start(controller) {
        controller.enqueue(LAYER.subarray(0, 3_000_000));
        await rest.promise;
        try {
          controller.enqueue(LAYER.subarray(3_000_000));
          controller.close();
        } catch {
          // The mirror has left.
        }
      },
    });
  return { response: () => new Response(body(), { headers: { "content-type": "application/octet-stream" } }), finish: () => rest.resolve() };
}

test("proxy.cachewritetimeout: how long a transfer goes on without its client", async () => {
  for (const [cachewritetimeout, isKept] of [["5m", true], ["100ms", false]] as const) {
    const layer = slowLayer();
    await using upstream = startUpstream({ intercept: ({ method, path }) => (method === "GET" && path.endsWith(DIGESTS.layer) ? layer.response() : undefined) });
    await using mirror = await mirrorOf(WHOLE, upstream, { cachewritetimeout });
    const leaving = new AbortController();
    const response = await fetch(`${mirror.registry.url}/v2/org/app/blobs/${DIGESTS.layer}`, { signal: leaving.signal });
    await response.body?.getReader().read();
    leaving.abort();
    await Bun.sleep(1000);
    layer.finish();
    const stored = join(mirror.registry.storageFolder, `docker/registry/v2/blobs/sha256/${DIGESTS.layer.slice(7, 9)}/${DIGESTS.layer.slice(7)}/data`);
    expect([cachewritetimeout, await until(() => existsSync(stored), isKept ? 5000 : 1000)]).toEqual([cachewritetimeout, isKept]);
  }
});

test("proxy.spooldirectory: where a blob is on its way into a store that is not local", async () => {
  await using spool = await tempFolder();
  const layer = slowLayer();
  await using upstream = startUpstream({ intercept: ({ method, path }) => (method === "GET" && path.endsWith(DIGESTS.layer) ? layer.response() : undefined) });
  await using mirror = await mirrorOf(WHOLE, upstream, { spooldirectory: spool.path }, { storage: { filesystem: undefined, inmemory: {} } });
  const answer = mirror.layer("org/app");
  const openFiles = (): readonly string[] => readdirSync(`/proc/${mirror.registry.child.pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${mirror.registry.child.pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
  // The file may have lost its name already, and is still that of a folder.
  expect(await until(() => openFiles().some((file) => file.startsWith(spool.path)), 5000)).toBe(true);
  layer.finish();
  expect(await answer).toBe(200);
});
