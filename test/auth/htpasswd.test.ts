import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { expectStatus, pushImage, startUpload } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const bcrypt = async (password: string, cost = 4): Promise<string> => await Bun.password.hash(password, { algorithm: "bcrypt", cost });
const basic = (user: string, password: string): { readonly authorization: string } => ({ authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` });

describe("a password file", () => {
  let registry: RegistryProcess;
  let folder: TempFolder;
  const cleanup = new AsyncDisposableStack();
  beforeAll(async () => {
    folder = cleanup.use(await tempFolder());
    const lines = ["# users", "", `alice:${await bcrypt("secret")}`, `ünï:${await bcrypt("pässwörd☃")}`, "old:$apr1$x$y", "plain:{PLAIN}secret", `colon:${await bcrypt("a:b")}`];
    await Bun.write(join(folder.path, "htpasswd"), lines.join("\n"));
    registry = cleanup.use(await startRegistry({ config: { auth: { htpasswd: { realm: 'the "realm"', path: join(folder.path, "htpasswd") } } } }));
  });
  afterAll(async () => await cleanup.disposeAsync());

  test("asks for a password", async () => {
    const response = await expectStatus(401, `${registry.url}/v2/`);
    expect(response.headers.get("www-authenticate")).toBe('Basic realm="the \\"realm\\""');
    for (const path of ["/v2/a/tags/list", "/v2/_catalog", "/v2/a/manifests/x"]) await expectStatus(401, `${registry.url}${path}`);
    await expectStatus(200, `${registry.url}/`);
    await expectStatus(200, `${registry.url}/livez`);
    await expectStatus(200, `${registry.url}/readyz`);
  });
  test("lets users in", async () => {
    for (const [user, password] of [["alice", "secret"], ["ünï", "pässwörd☃"], ["colon", "a:b"]] as const) await expectStatus(200, `${registry.url}/v2/`, { headers: basic(user, password) });
  });
  test("and nobody else", async () => {
    const wrong = [basic("alice", "wrong"), basic("nobody", "secret"), basic("old", "x"), basic("plain", "secret"), basic("plain", "{PLAIN}secret"), { authorization: "Basic !!!" }, { authorization: "Basic" }, { authorization: `Basic ${Buffer.from("nocolon").toString("base64")}` }, { authorization: "Bearer x" }, { authorization: `Basic ${"A".repeat(9000)}` }];
    for (const headers of wrong) await expectStatus(401, `${registry.url}/v2/`, { headers });
  });
  test("says which entries it does not take, and not their hashes", () => {
    expect(registry.child.output()).toMatch(/lets nobody in, expected a bcrypt hash.*line=5.*user=old/);
    expect(registry.child.output()).not.toContain("{PLAIN}");
    expect(registry.child.output()).not.toContain("secret");
  });
  test("is read again when it changes; a broken one is not", async () => {
    const path = join(folder.path, "htpasswd");
    await Bun.write(path, "broken line");
    await Bun.sleep(1200);
    await expectStatus(200, `${registry.url}/v2/`, { headers: basic("alice", "secret") });
    await Bun.write(path, `alice:${await bcrypt("changed")}\n`);
    await Bun.sleep(1200);
    await expectStatus(401, `${registry.url}/v2/`, { headers: basic("alice", "secret") });
    await expectStatus(200, `${registry.url}/v2/`, { headers: basic("alice", "changed") });
    expect(registry.child.output()).toContain("its last good content stays in force");
  });
});

test("a missing password file is made, with a password that works", async () => {
  await using folder = await tempFolder();
  const path = join(folder.path, "deep/htpasswd");
  await using registry = await startRegistry({ config: { auth: { htpasswd: { realm: "r", path } } } });
  const password = /password=(\S+)/.exec(registry.child.output())?.[1] ?? "";
  await expectStatus(200, `${registry.url}/v2/`, { headers: basic("docker", password) });
  expect(await Bun.file(path).text()).toMatch(/^docker:\$2[aby]\$10\$/);
});

test("repeated failures of one address have to wait", async () => {
  await using folder = await tempFolder();
  const path = join(folder.path, "htpasswd");
  await Bun.write(path, `alice:${await bcrypt("secret")}`);
  await using registry = await startRegistry({ config: { auth: { htpasswd: { realm: "r", path, throttle: { failures: 3 } } } } });
  for (let i = 0; i < 4; i++) await expectStatus(401, `${registry.url}/v2/`, { headers: basic("alice", `wrong${i}`) });
  const response = await expectStatus(429, `${registry.url}/v2/`, { headers: basic("alice", "wrong again") });
  expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
});

test("http.trustedproxies: failures are counted by the address that a trusted proxy names, and by that of everybody else's socket", async () => {
  await using folder = await tempFolder();
  const path = join(folder.path, "htpasswd");
  await Bun.write(path, `alice:${await bcrypt("secret")}`);
  const auth = { htpasswd: { realm: "r", path, throttle: { failures: 1 } } };
  const statuses = async (registry: RegistryProcess): Promise<readonly number[]> => {
    const found: number[] = [];
    for (let index = 0; index < 4; index++) {
      const headers = { ...basic(`user${index}`, "wrong"), "x-forwarded-for": `203.0.113.9, 198.51.100.${index}` };
      found.push((await fetch(`${registry.url}/v2/`, { headers })).status);
    }
    return found;
  };
  await using behindProxy = await startRegistry({ config: { auth } });
  expect(await statuses(behindProxy)).toEqual([401, 401, 401, 401]);
  await using direct = await startRegistry({ config: { auth, http: { trustedproxies: ["192.0.2.0/24"] } } });
  expect(await statuses(direct)).toEqual([401, 401, 429, 429]);
  await direct.child.waitForOutput(/error authorizing context.* auth\.address=127\.0\.0\.1 .*http\.request\.remoteaddr=203\.0\.113\.9/);
});

describe("access rules", () => {
  let registry: RegistryProcess;
  const cleanup = new AsyncDisposableStack();
  beforeAll(async () => {
    const folder = cleanup.use(await tempFolder());
    const path = join(folder.path, "htpasswd");
    await Bun.write(path, `ci:${await bcrypt("ci")}\nroot:${await bcrypt("root")}\nguest:${await bcrypt("guest")}`);
    await Bun.write(join(folder.path, "groups"), "admins: root\n");
    const rules = [
      { repositories: ["public/**"], anonymous: true, actions: ["pull", "catalog"] },
      { repositories: ["team-a/**"], users: ["ci"], actions: ["pull", "push"] },
      { groups: ["admins"], actions: ["*"] },
      { repositories: ["public/**", "team-a/**"], groups: ["admins"], actions: ["*"] },
    ];
    registry = cleanup.use(await startRegistry({ config: { auth: { htpasswd: { realm: "r", path, groupsfile: join(folder.path, "groups"), rules } } } }));
    for (const name of ["public/x", "team-a/x", "secret/x"]) await push(name);
  });
  afterAll(async () => await cleanup.disposeAsync());

  // The helpers know no passwords: a fetch that does.
  async function push(name: string): Promise<void> {
    const plain = globalThis.fetch;
    globalThis.fetch = Object.assign(async (input: Parameters<typeof fetch>[0], init?: RequestInit) => await plain(input, { ...init, headers: { ...(init?.headers as object), ...basic("root", "root") } }), { preconnect: plain.preconnect });
    try {
      await pushImage({ url: registry.url, name }, "t");
    } finally {
      globalThis.fetch = plain;
    }
  }
  const manifest = async (status: number, name: string, headers: Record<string, string> = {}): Promise<Response> => await expectStatus(status, `${registry.url}/v2/${name}/manifests/t`, { headers });

  test("the anonymous pull what is public, and are asked for a login elsewhere", async () => {
    await manifest(200, "public/x");
    const refused = await manifest(401, "secret/x");
    expect(refused.headers.get("www-authenticate")).toBe(`Bearer realm="${registry.url}/v2/token",service="r",scope="repository:secret/x:pull"`);
    await manifest(401, "secret/unknown");
    await expectStatus(401, `${registry.url}/v2/public/x/blobs/uploads/`, { method: "POST" });
  });
  test("a user is refused what no rule allows, alike whether it exists", async () => {
    const bodies = await Promise.all(["secret/x", "secret/unknown"].map(async (name) => (await manifest(403, name, basic("ci", "ci"))).text()));
    expect(bodies[0]?.replaceAll("secret/x", "secret/unknown")).toBe(bodies[1] ?? "");
    await manifest(200, "team-a/x", basic("ci", "ci"));
    await expectStatus(202, `${registry.url}/v2/team-a/x/blobs/uploads/`, { method: "POST", headers: basic("ci", "ci") });
    await expectStatus(403, `${registry.url}/v2/public/x/blobs/uploads/`, { method: "POST", headers: basic("ci", "ci") });
    await expectStatus(403, `${registry.url}/v2/team-a/x/manifests/t`, { method: "DELETE", headers: basic("ci", "ci") });
  });
  test("the catalog shows what may be pulled", async () => {
    const catalog = async (headers: Record<string, string>): Promise<unknown> => await (await expectStatus(200, `${registry.url}/v2/_catalog`, { headers })).json();
    expect(await catalog({})).toEqual({ repositories: ["public/x"] });
    expect(await catalog(basic("ci", "ci"))).toEqual({ repositories: ["public/x", "team-a/x"] });
    expect(await catalog(basic("root", "root"))).toEqual({ repositories: ["public/x", "secret/x", "team-a/x"] });
  });
  test("pages of the catalog are as long as they are asked for, and lead on to the next", async () => {
    const first = await expectStatus(200, `${registry.url}/v2/_catalog?n=1`, { headers: basic("ci", "ci") });
    expect([await first.json(), first.headers.get("link")]).toEqual([{ repositories: ["public/x"] }, '</v2/_catalog?last=public%2Fx&n=1>; rel="next"']);
    expect(await (await expectStatus(200, `${registry.url}/v2/_catalog?last=public%2Fx&n=1`, { headers: basic("ci", "ci") })).json()).toEqual({ repositories: ["team-a/x"] });
  });
  test("what stands several times in the query is all there beside a form, in its order", async () => {
    const scopes = ["repository:public/x:pull", "repository:team-a/x:pull"];
    const query = new URLSearchParams(scopes.map((scope): [string, string] => ["scope", scope]));
    const form = new URLSearchParams({ grant_type: "password", username: "ci", password: "ci", scope: "repository:secret/x:pull" });
    const answer = await expectStatus(200, `${registry.url}/v2/token?${query}`, { method: "POST", body: form });
    expect(await answer.json()).toMatchObject({ scope: scopes.join(" ") });
  });
  test("a mount without a source looks only where the caller may read", async () => {
    const digest = ((await (await manifest(200, "secret/x", basic("root", "root"))).json()) as { layers: { digest: string }[] }).layers[0]?.digest ?? "";
    await push("secret/only");
    const response = await expectStatus(201, `${registry.url}/v2/team-a/y/blobs/uploads/?mount=${digest}`, { method: "POST", headers: basic("ci", "ci") });
    expect(response.headers.get("docker-content-digest")).toBe(digest);
  });
  test("tokens of our own stand in for logins, and for none", async () => {
    await expectStatus(401, `${registry.url}/v2/`);
    for (const [headers, status] of [[{}, 401], [basic("root", "root"), 200], [basic("ci", "ci"), 403]] as const) {
      const { token } = (await (await expectStatus(200, `${registry.url}/v2/token?service=r&scope=repository:secret/x:pull`, { headers })).json()) as { token: string };
      await expectStatus(200, `${registry.url}/v2/`, { headers: { authorization: `Bearer ${token}` } });
      await manifest(status, "secret/x", { authorization: `Bearer ${token}` });
    }
    await expectStatus(401, `${registry.url}/v2/token`, { headers: basic("ci", "wrong") });
    const form = new URLSearchParams({ grant_type: "password", username: "root", password: "root", service: "r", scope: "repository:secret/x:pull,push" });
    const { access_token } = (await (await expectStatus(200, `${registry.url}/v2/token`, { method: "POST", body: form })).json()) as { access_token: string };
    await manifest(200, "secret/x", { authorization: `Bearer ${access_token}` });
    await expectStatus(401, `${registry.url}/v2/`, { headers: { authorization: `Bearer ${access_token.slice(0, -4)}AAAA` } });
  });
  test("uploads of a user who may push work to the end", async () => {
    const plain = await expectStatus(202, `${registry.url}/v2/team-a/z/blobs/uploads/`, { method: "POST", headers: basic("ci", "ci") });
    expect(plain.headers.get("location")).toContain("/v2/team-a/z/blobs/uploads/");
    await expect(startUpload({ url: registry.url, name: "team-a/z" })).rejects.toThrow("401");
  });
});
