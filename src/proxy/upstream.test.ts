import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestOf } from "../oci/digest.ts";
import { parseTag } from "../oci/name.ts";
import { FakeUpstream, type Trick } from "./testing/fake-upstream.ts";
import { ManualClock } from "./testing/open-test-proxy.ts";
import { Upstream, type UpstreamParts } from "./upstream.ts";
import { isTrustedRealm } from "./upstream-auth.ts";

const V1 = parseTag("v1");

function open(url: string, more: Partial<UpstreamParts> = {}): Upstream {
  return new Upstream({ url: new URL(url), credentials: async () => undefined, trustedRealms: [], tls: undefined, maxManifestBytes: 100_000, clock: new ManualClock(), metrics: undefined, ...more });
}

const ANN = async (): Promise<{ username: string; password: string }> => ({ username: "ann", password: "p:w" });

/** An upstream that wants a token for each repository, and counts what it is asked. */
function tokenTrick(state: { issued: number; valid: Set<string>; expiresIn?: number; realm?: string }): Trick {
  return ({ path, headers }) => {
    if (path.startsWith("/token?")) {
      const scope = new URL(path, "http://x").searchParams.get("scope") ?? "";
      const token = `${scope}#${++state.issued}`;
      state.valid.add(token);
      return Response.json({ token, ...(state.expiresIn !== undefined && { expires_in: state.expiresIn }) });
    }
    const host = headers.get("host") ?? "";
    const token = headers.get("authorization")?.slice("Bearer ".length);
    if (token !== undefined && state.valid.has(token)) return undefined;
    return new Response(null, { status: 401, headers: { "www-authenticate": `Bearer realm="${state.realm ?? `http://${host}/token`}",service="fake"` } });
  };
}

describe("Upstream logs in", () => {
  test("with a token for each repository, which it uses until it runs out", async () => {
    await using fake = new FakeUpstream();
    fake.addImage("a/b", "v1");
    fake.addImage("c", "v1");
    const state = { issued: 0, valid: new Set<string>(), expiresIn: 300 };
    fake.trick = tokenTrick(state);
    const clock = new ManualClock();
    const upstream = open(fake.url, { clock, credentials: ANN });
    for (let i = 0; i < 3; i++) await upstream.resolveTag("a/b", V1);
    expect(state.issued).toBe(1);
    const asked = fake.asked.find(({ path }) => path.startsWith("/token"));
    expect(asked?.path).toBe("/token?service=fake&scope=repository%3Aa%2Fb%3Apull&account=ann");
    expect(asked?.headers.get("authorization")).toBe(`Basic ${btoa("ann:p:w")}`);
    await upstream.resolveTag("c", V1);
    expect(state.issued).toBe(2);
    clock.advance(296_000);
    await upstream.resolveTag("a/b", V1);
    expect(state.issued).toBe(3);
    // The challenge is known: no request goes without a token any more.
    expect(fake.asked.filter(({ path, headers }) => path.includes("/manifests/") && !headers.has("authorization")).length).toBe(1);
  });

  test("anew when a token is refused before its time, and asks for one token however many want it", async () => {
    await using fake = new FakeUpstream();
    fake.addImage("a", "v1");
    const state = { issued: 0, valid: new Set<string>() };
    fake.trick = tokenTrick(state);
    const upstream = open(fake.url);
    await Promise.all(Array.from({ length: 10 }, () => upstream.resolveTag("a", V1)));
    expect(state.issued).toBe(1);
    state.valid.clear();
    await upstream.resolveTag("a", V1);
    expect(state.issued).toBe(2);
  });

  test("with Basic credentials, sent with every later request", async () => {
    await using fake = new FakeUpstream();
    fake.addImage("a", "v1");
    fake.trick = ({ headers }) => (headers.get("authorization") === `Basic ${btoa("ann:p:w")}` ? undefined : new Response(null, { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }));
    const upstream = open(fake.url, { credentials: ANN });
    for (let i = 0; i < 3; i++) await upstream.resolveTag("a", V1);
    expect(fake.asked.length).toBe(4);
    await expect(open(fake.url).resolveTag("a", V1)).rejects.toMatchObject({ problem: "refused" });
  });

  test("but not for ever where every answer is another challenge", async () => {
    await using fake = new FakeUpstream();
    const state = { issued: 0, valid: { add() {}, has: () => false } as unknown as Set<string> };
    fake.trick = tokenTrick(state);
    await expect(open(fake.url, { credentials: ANN }).resolveTag("a", V1)).rejects.toMatchObject({ problem: "refused" });
    expect(fake.asked.length).toBe(3);
    fake.trick = () => new Response(null, { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } });
    fake.asked.length = 0;
    await expect(open(fake.url, { credentials: ANN }).resolveTag("a", V1)).rejects.toMatchObject({ problem: "refused" });
    expect(fake.asked.length).toBe(2);
  });

  test("nowhere else: credentials stay with the upstream's own host and port", async () => {
    await using thief = new FakeUpstream();
    await using fake = new FakeUpstream();
    fake.trick = tokenTrick({ issued: 0, valid: new Set<string>(), realm: `${thief.url}/token` });
    await expect(open(fake.url, { credentials: ANN }).resolveTag("a", V1)).rejects.toMatchObject({ problem: "refused" });
    expect(thief.asked).toEqual([]);
  });

  test.each([
    [() => new Response("no", { status: 403 }), "refused"],
    [() => new Response("no", { status: 503 }), "unavailable"],
    [() => new Response("no", { status: 429 }), "limited"],
    [() => new Response("<html>"), "garbage"],
    [() => Response.json({ token: "" }), "garbage"],
    [() => Response.json({ token: "a b\r\n" }), "garbage"],
  ])("and says what is wrong with the token server (case %#)", async (answer, problem) => {
    await using fake = new FakeUpstream();
    const challenge = tokenTrick({ issued: 0, valid: new Set<string>() });
    fake.trick = (asked) => (asked.path.startsWith("/token") ? answer() : challenge(asked));
    await expect(open(fake.url).resolveTag("a", V1)).rejects.toMatchObject({ problem });
  });
});

test.each([
  ["https://auth.docker.io/token", "https://registry-1.docker.io", true],
  ["https://gitlab.com/jwt/auth", "https://registry.gitlab.com", true],
  ["https://ghcr.io/token", "https://ghcr.io", true],
  ["http://127.0.0.1:5001/token", "http://127.0.0.1:5001", true],
  ["http://127.0.0.1:5002/token", "http://127.0.0.1:5001", false],
  ["http://localhost:5002/token", "http://localhost:5001", false],
  ["https://auth.evil.test/token", "https://registry.corp.test", false],
  ["https://evil.co.uk/token", "https://registry.corp.co.uk", false],
  ["https://evil.github.io/token", "https://registry.github.io", false],
  ["http://auth.docker.io/token", "https://registry-1.docker.io", false],
  ["https://auth.corp.test/token", "http://registry.corp.test", true],
  ["https://tokens.other.test/token", "https://registry.corp.test", true],
])("isTrustedRealm: %s for %s is %p", (realm, upstream, trusted) => {
  expect(isTrustedRealm(new URL(realm), new URL(upstream), ["tokens.other.test"])).toBe(trusted);
});

describe("Upstream", () => {
  test("is left alone for as long as it asks, each kind of request by itself", async () => {
    await using fake = new FakeUpstream();
    const image = fake.addImage("a", "v1");
    const clock = new ManualClock();
    const upstream = open(fake.url, { clock });
    fake.trick = ({ path }) => (path.includes("/manifests/") ? new Response(null, { status: 429, headers: { "retry-after": "30" } }) : undefined);
    await expect(upstream.resolveTag("a", V1)).rejects.toMatchObject({ problem: "limited", retryAfterSeconds: 30 });
    fake.trick = undefined;
    clock.advance(29_000);
    await expect(upstream.resolveTag("a", V1)).rejects.toMatchObject({ problem: "limited", retryAfterSeconds: 1 });
    expect(await upstream.statBlob("a", image.layer)).toBeGreaterThan(0);
    clock.advance(1_001);
    expect((await upstream.resolveTag("a", V1)).digest).toBe(image.digest);
    expect(fake.count("HEAD", /manifests/)).toBe(2);
  });

  test("tells how many requests it still allows", async () => {
    await using fake = new FakeUpstream();
    fake.trick = () => new Response(null, { headers: { "docker-content-digest": digestOf("x"), "ratelimit-remaining": "76;w=21600" } });
    const seen: [string, number][] = [];
    await open(fake.url, { metrics: { rateLimitRemaining: (host, remaining) => seen.push([host, remaining]) } }).resolveTag("a", V1);
    expect(seen).toEqual([[new URL(fake.url).host, 76]]);
  });

  test("follows redirects to other hosts without its credentials", async () => {
    await using store = new FakeUpstream();
    await using fake = new FakeUpstream();
    store.trick = () => new Response("blob");
    fake.trick = ({ headers }) =>
      headers.has("authorization") ? new Response(null, { status: 307, headers: { location: `${store.url}/signed` } }) : new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
    const upstream = open(fake.url, { credentials: ANN });
    const blob = await upstream.blob("a", digestOf("blob"), { offset: 0, signal: AbortSignal.timeout(5000) });
    expect(await new Response(blob.body).text()).toBe("blob");
    expect(store.asked[0]?.headers.has("authorization")).toBe(false);
  });

  test.each([
    ["a redirect in a circle", () => new Response(null, { status: 302, headers: { location: "/v2/x" } })],
    ["a redirect to no address", () => new Response(null, { status: 302, headers: { location: "http://[" } })],
    ["a redirect to a file", () => new Response(null, { status: 302, headers: { location: "file:///etc/passwd" } })],
    ["a status without meaning", () => new Response(null, { status: 204 })],
    ["a manifest that is too long", () => new Response("x".repeat(200_000))],
    ["another manifest", () => new Response("{}")],
  ])("does not take %s for a manifest", async (_, trick) => {
    await using fake = new FakeUpstream();
    fake.trick = trick;
    await expect(open(fake.url).manifest("a", digestOf("wanted"))).rejects.toMatchObject({ problem: "garbage" });
  });

  test("is not waited for longer than is worth it, and then rests", async () => {
    await using fake = new FakeUpstream();
    fake.trick = async () => {
      await Bun.sleep(1000);
      return undefined;
    };
    const clock = new ManualClock();
    const upstream = open(fake.url, { clock });
    const started = performance.now();
    await expect(upstream.resolveTag("a", V1, 50)).rejects.toMatchObject({ problem: "unavailable" });
    expect(performance.now() - started).toBeLessThan(900);
    expect(upstream.isResting).toBe(true);
    clock.advance(5_000);
    expect(upstream.isResting).toBe(false);
  });
});

describe("Upstream over TLS", () => {
  let folder = "";
  const inFolder = (name: string): string => join(folder, name);
  const read = (name: string): string => readFileSync(inFolder(name), "utf8");
  const openssl = (...args: string[]): void => {
    const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args], { cwd: folder });
    if (exitCode !== 0) throw new Error(stderr.toString());
  };
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "upstream-tls-"));
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=test ca");
    for (const [name, extension] of [["server", "subjectAltName=IP:127.0.0.1"], ["client", "extendedKeyUsage=clientAuth"]] as const) {
      openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`, "-addext", extension);
      openssl("x509", "-req", "-in", `${name}.csr`, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", `${name}.crt`);
    }
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function serve(tls: Bun.TLSOptions, fetch = () => new Response(null, { headers: { "docker-content-digest": digestOf("x") } })): Bun.Server<undefined> {
    return Bun.serve({ port: 0, hostname: "127.0.0.1", tls: { key: read("server.key"), cert: read("server.crt"), ...tls }, fetch });
  }

  test("trusts a private authority when it is told to, and only then", async () => {
    const server = serve({});
    const url = `https://127.0.0.1:${server.port}`;
    expect((await open(url, { tls: { ca: [read("ca.crt")], certificate: undefined, key: undefined } }).resolveTag("a", V1)).digest).toBe(digestOf("x"));
    await expect(open(url).resolveTag("a", V1)).rejects.toMatchObject({ problem: "unavailable" });
    await server.stop(true);
  });

  test("shows its client certificate", async () => {
    const server = serve({ ca: read("ca.crt"), requestCert: true, rejectUnauthorized: true });
    const url = `https://127.0.0.1:${server.port}`;
    const ca = [read("ca.crt")];
    expect((await open(url, { tls: { ca, certificate: read("client.crt"), key: read("client.key") } }).resolveTag("a", V1)).digest).toBe(digestOf("x"));
    await expect(open(url, { tls: { ca, certificate: undefined, key: undefined } }).resolveTag("a", V1)).rejects.toMatchObject({ problem: "unavailable" });
    await server.stop(true);
  });

  test("shows its client certificate to nobody whom the upstream redirects to", async () => {
    const ca = [read("ca.crt")];
    const stranger = serve({ ca: ca[0], requestCert: true, rejectUnauthorized: true });
    const upstream = serve({}, () => Response.redirect(`https://127.0.0.1:${stranger.port}/`, 307));
    const tls = { ca, certificate: read("client.crt"), key: read("client.key") };
    const error: unknown = await open(`https://127.0.0.1:${upstream.port}`, { tls }).resolveTag("a", V1).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ problem: "unavailable" });
    await Promise.all([stranger.stop(true), upstream.stop(true)]);
  });
});
