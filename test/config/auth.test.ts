import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type KeyPair, makeKeys, signToken } from "../../src/auth/testing/tokens.ts";
import { expectStatus } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";
import { refusedStart } from "./refusal.ts";

let folder: TempFolder;
let path: string;
beforeAll(async () => {
  folder = await tempFolder();
  path = join(folder.path, "htpasswd");
  const users = ["alice", "bob", "carol"].map(async (user) => `${user}:${await Bun.password.hash(user, { algorithm: "bcrypt", cost: 4 })}`);
  await Bun.write(path, (await Promise.all(users)).join("\n"));
});
afterAll(async () => await folder[Symbol.asyncDispose]());

async function startAuth(auth: ConfigSection | string): Promise<RegistryProcess> {
  return await startRegistry({ config: { auth } });
}

const as = (user: string): Record<string, string> => (user === "" ? {} : { authorization: `Basic ${btoa(`${user}:${user}`)}` });

/** The first challenge of an answer without a login. */
async function challenge(registry: RegistryProcess, path = ""): Promise<string> {
  return (await expectStatus(401, `${registry.url}/v2/${path}`)).headers.get("www-authenticate") ?? "";
}

describe("auth without users", () => {
  test("auth.none: everybody may do everything", async () => {
    for (const auth of ["none", { none: {} }]) {
      await using registry = await startAuth(auth);
      await expectStatus(202, `${registry.url}/v2/a/blobs/uploads/`, { method: "POST" });
    }
  });
  test("auth.silly.realm and auth.silly.service: any Authorization header is good", async () => {
    await using registry = await startAuth({ silly: { realm: "http://the.realm", service: "the service" } });
    expect(await challenge(registry)).toBe('Bearer realm="http://the.realm",service="the service"');
    await expectStatus(200, `${registry.url}/v2/`, { headers: { authorization: "whatever" } });
  });
});

describe("auth.htpasswd", () => {
  /** Statuses of asking for tags, beginning an upload, deleting a tag and listing the catalog. */
  async function may(registry: RegistryProcess, user: string, name: string): Promise<string> {
    const allowed = async (method: string, target: string): Promise<boolean> => ![401, 403].includes((await fetch(`${registry.url}/v2/${target}`, { method, headers: as(user) })).status);
    const rights = [["pull", "GET", `${name}/tags/list`], ["push", "POST", `${name}/blobs/uploads/`], ["delete", "DELETE", `${name}/manifests/t`], ["catalog", "GET", "_catalog"]] as const;
    const found: string[] = [];
    for (const [right, method, target] of rights) if (await allowed(method, target)) found.push(right);
    return found.join(" ");
  }

  test("auth.htpasswd.realm and auth.htpasswd.path: who is in the file may do everything", async () => {
    await using registry = await startAuth({ htpasswd: { realm: "the realm", path } });
    expect(await challenge(registry)).toBe('Basic realm="the realm"');
    expect(await may(registry, "alice", "a")).toBe("pull push delete catalog");
    expect(await may(registry, "mallory", "a")).toBe("");
  });

  test("auth.htpasswd.rules and auth.htpasswd.groups: repositories, users, groups, anonymous, actions and always", async () => {
    const rules = [
      { repositories: ["public/**"], anonymous: true, actions: ["pull"] },
      { repositories: ["team/*"], users: ["alice"], actions: ["pull", "push"] },
      { groups: ["readers"], actions: ["pull", "catalog"] },
      { groups: ["admins"], actions: ["*"], always: true },
    ];
    await using registry = await startAuth({ htpasswd: { realm: "r", path, rules, groups: { admins: ["carol"], readers: ["bob"] } } });
    expect(await may(registry, "", "public/a/b")).toBe("pull");
    expect(await may(registry, "", "team/a")).toBe("");
    expect(await may(registry, "alice", "team/a")).toBe("pull push");
    expect(await may(registry, "alice", "team/a/b")).toBe("");
    expect(await may(registry, "bob", "other")).toBe("pull catalog");
    // The more specific rule decides, but for those who always may.
    expect(await may(registry, "bob", "team/a")).toBe("catalog");
    expect(await may(registry, "carol", "team/a")).toBe("pull push delete catalog");
  });

  test("auth.htpasswd.groupsfile: groups from a file", async () => {
    const groupsfile = join(folder.path, "groups");
    await Bun.write(groupsfile, "team: alice bob\n");
    await using registry = await startAuth({ htpasswd: { realm: "r", path, groupsfile, rules: [{ groups: ["team"], actions: ["pull"] }] } });
    expect(await may(registry, "bob", "a")).toBe("pull");
    expect(await may(registry, "carol", "a")).toBe("");
  });

  test("auth.htpasswd.throttle: failures, maxdelay and enabled", async () => {
    const failing = async (registry: RegistryProcess, times: number): Promise<Response> => {
      let response = new Response();
      for (let attempt = 0; attempt < times; attempt++) response = await fetch(`${registry.url}/v2/`, { headers: { authorization: `Basic ${btoa(`alice:wrong${attempt}`)}` } });
      return response;
    };
    await using strict = await startAuth({ htpasswd: { realm: "r", path, throttle: { failures: 2, maxdelay: "500ms" } } });
    const response = await failing(strict, 4);
    expect(response.status).toBe(429);
    expect(response.headers.get("retry-after")).toBe("1");
    await Bun.sleep(700);
    await expectStatus(200, `${strict.url}/v2/`, { headers: as("alice") });
    await using lenient = await startAuth({ htpasswd: { realm: "r", path, throttle: { failures: 8 } } });
    expect((await failing(lenient, 6)).status).toBe(401);
    await using off = await startAuth({ htpasswd: { realm: "r", path, throttle: { enabled: false } } });
    expect((await failing(off, 12)).status).toBe(401);
  });

  test("auth.htpasswd.tokenttl: how long our own tokens are good", async () => {
    await using registry = await startAuth({ htpasswd: { realm: "r", path, tokenttl: "90s", rules: [{ anonymous: true, actions: ["pull"] }] } });
    const answer = (await (await expectStatus(200, `${registry.url}/v2/token?service=r&scope=repository:a:pull`)).json()) as { expires_in: number };
    expect(answer.expires_in).toBe(90);
  });
});

describe("auth.token", () => {
  const SERVICE = { realm: "https://tokens.example/token", service: "the-registry", issuer: "the-issuer" };
  const now = (): number => Math.floor(Date.now() / 1000);
  const claims = (changes: object = {}): object => ({ iss: SERVICE.issuer, aud: SERVICE.service, sub: "alice", exp: now() + 60, nbf: now() - 1, access: [{ type: "repository", name: "a", actions: ["pull"] }], ...changes });
  let rsa: KeyPair;
  let ec: KeyPair;
  let jwks: string;
  let bundle: string;

  beforeAll(async () => {
    [rsa, ec] = [makeKeys("RS256"), makeKeys("ES256")];
    jwks = join(folder.path, "jwks.json");
    bundle = join(folder.path, "bundle.pem");
    await Bun.write(jwks, JSON.stringify(keySet("one", rsa)));
    await Bun.write(bundle, rsa.publicKey.export({ type: "spki", format: "pem" }));
  });

  function keySet(kid: string, keys: KeyPair): object {
    return { keys: [{ ...keys.publicKey.export({ format: "jwk" }), kid, use: "sig" }] };
  }

  async function startToken(token: ConfigSection): Promise<RegistryProcess> {
    return await startAuth({ token: { ...SERVICE, ...token } });
  }

  /** Whether a token lets one list tags: the repository is unknown then. */
  async function isTaken(registry: RegistryProcess, token: string): Promise<boolean> {
    return (await fetch(`${registry.url}/v2/a/tags/list`, { headers: { authorization: `Bearer ${token}` } })).status === 404;
  }

  test("auth.token.realm, auth.token.service and auth.token.issuer: in challenges, and in tokens", async () => {
    await using registry = await startToken({ jwks });
    expect(await challenge(registry, "a/tags/list")).toBe('Bearer realm="https://tokens.example/token",service="the-registry",scope="repository:a:pull"');
    const sign = (changes: object): string => signToken({ alg: "RS256", kid: "one" }, claims(changes), rsa.privateKey);
    expect(await isTaken(registry, sign({}))).toBe(true);
    expect(await isTaken(registry, sign({ iss: "another" }))).toBe(false);
    expect(await isTaken(registry, sign({ aud: "another" }))).toBe(false);
  });

  test("auth.token.rootcertbundle and auth.token.jwks: whose signatures are believed", async () => {
    await using byBundle = await startToken({ rootcertbundle: bundle });
    const { e, n } = rsa.publicKey.export({ format: "jwk" });
    const thumbprint = new Bun.CryptoHasher("sha256").update(JSON.stringify({ e, kty: "RSA", n })).digest("base64url");
    expect(await isTaken(byBundle, signToken({ alg: "RS256", kid: thumbprint }, claims(), rsa.privateKey))).toBe(true);
    expect(await isTaken(byBundle, signToken({ alg: "ES256", kid: thumbprint }, claims(), ec.privateKey))).toBe(false);
    await using byKeySet = await startToken({ jwks });
    expect(await isTaken(byKeySet, signToken({ alg: "RS256", kid: "one" }, claims(), rsa.privateKey))).toBe(true);
    expect(await isTaken(byKeySet, signToken({ alg: "ES256", kid: "one" }, claims(), ec.privateKey))).toBe(false);
    expect((await refusedStart({ auth: { token: { ...SERVICE, rootcertbundle: "/nowhere.pem" } } })).stderr).toContain("/nowhere.pem");
  });

  test("auth.token.jwksurl and auth.token.jwksrefresh: keys are fetched, and fetched again", async () => {
    let served = keySet("one", rsa);
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json(served) });
    await using registry = await startToken({ jwksurl: `${server.url.origin}/keys`, jwksrefresh: "1s" });
    expect(await isTaken(registry, signToken({ alg: "RS256", kid: "one" }, claims(), rsa.privateKey))).toBe(true);
    const token = signToken({ alg: "ES256", kid: "two" }, claims(), ec.privateKey);
    expect(await isTaken(registry, token)).toBe(false);
    served = keySet("two", ec);
    const deadline = Date.now() + 6000;
    while (!(await isTaken(registry, token)) && Date.now() < deadline) await Bun.sleep(100);
    expect(await isTaken(registry, token)).toBe(true);
    await server.stop(true);
  });

  test("auth.token.signingalgorithms: others are refused", async () => {
    await using registry = await startToken({ jwks, signingalgorithms: ["RS512"] });
    expect(await isTaken(registry, signToken({ alg: "RS512", kid: "one" }, claims(), rsa.privateKey))).toBe(true);
    expect(await isTaken(registry, signToken({ alg: "RS256", kid: "one" }, claims(), rsa.privateKey))).toBe(false);
  });

  test("auth.token.autoredirect and auth.token.autoredirectpath: the realm is on the host that was asked", async () => {
    await using usual = await startToken({ jwks, autoredirect: true });
    expect(await challenge(usual)).toBe(`Bearer realm="${usual.url}/auth/token",service="the-registry"`);
    await using own = await startToken({ jwks, autoredirect: true, autoredirectpath: "/my/token" });
    const response = await expectStatus(401, `${own.url}/v2/`, { headers: { "x-forwarded-proto": "https", host: "registry.example" } });
    expect(response.headers.get("www-authenticate")).toBe('Bearer realm="https://registry.example/my/token",service="the-registry"');
  });
});
