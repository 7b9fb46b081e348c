import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { ROUTES, type Route } from "../../src/http/routes.ts";
import { digestOf } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";
import { startTokenServer, type TokenServer } from "../support/token-server.ts";

const NAME = "team/app";
/** The records that each kind of access stands for. */
const NEEDED: Readonly<Record<Route["access"], readonly object[]>> = {
  login: [],
  pull: [{ type: "repository", name: NAME, actions: ["pull"] }],
  push: [{ type: "repository", name: NAME, actions: ["pull", "push"] }],
  delete: [{ type: "repository", name: NAME, actions: ["delete"] }],
  catalog: [{ type: "registry", name: "catalog", actions: ["*"] }],
};
/** What is nearly, and not quite, enough. */
const TOO_LITTLE: Readonly<Record<Exclude<Route["access"], "login">, readonly object[]>> = {
  pull: [{ type: "repository", name: NAME, actions: ["push", "delete"] }],
  push: [{ type: "repository", name: NAME, actions: ["push", "delete"] }],
  delete: [{ type: "repository", name: NAME, actions: ["pull", "push"] }],
  catalog: [{ type: "registry", name: "catalog", actions: ["pull"] }],
};

let folder: TempFolder;
let tokens: TokenServer;
let withPasswords: RegistryProcess;
let withTokens: RegistryProcess;
let withRules: RegistryProcess;
const cleanup = new AsyncDisposableStack();
beforeAll(async () => {
  folder = cleanup.use(await tempFolder());
  tokens = cleanup.use(await startTokenServer({}));
  const htpasswd = join(folder.path, "htpasswd");
  const entries = [["alice", "secret"], ["ünï", "pässwörd☃"], ["colon", "a:b"]] as const;
  await Bun.write(htpasswd, (await Promise.all(entries.map(async ([user, password]) => `${user}:${await Bun.password.hash(password, { algorithm: "bcrypt", cost: 4 })}`))).join("\n"));
  const bundle = join(folder.path, "bundle.pem");
  await Bun.write(bundle, tokens.certificate);
  withPasswords = cleanup.use(await startRegistry({ config: { auth: { htpasswd: { realm: "r", path: htpasswd, throttle: { enabled: false } } } } }));
  const rules = [{ repositories: ["public/**"], anonymous: true, actions: ["pull"] }, { users: ["alice"], actions: ["*"] }];
  withRules = cleanup.use(await startRegistry({ config: { auth: { htpasswd: { realm: "r", path: htpasswd, rules, throttle: { enabled: false } } } } }));
  withTokens = cleanup.use(await startRegistry({ config: { auth: { token: { realm: tokens.realm, service: tokens.service, issuer: tokens.issuer, rootcertbundle: bundle } } } }));
});
afterAll(async () => await cleanup.disposeAsync());

/** Sends a request for a route, with all that its path needs. */
async function send(registry: RegistryProcess, route: Route, authorization?: string): Promise<Response> {
  const path = route.path.replace("<name>", NAME).replace("<reference>", "latest").replace("<digest>", digestOf("nothing")).replace("<id>", "5f3c2f0e-7f9b-4c3a-9d55-0123456789ab");
  return await fetch(registry.url + path, { method: route.method === "*" ? "GET" : route.method, redirect: "manual", headers: authorization === undefined ? {} : { authorization } });
}

const basic = (user: string, password: string): string => `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
const titled = ROUTES.map((route) => [`${route.method} ${route.path}`, route] as const);
const isRefused = (status: number): boolean => status === 401 || status === 403;

describe("with a password file", () => {
  const wrong: readonly (readonly [string, string | undefined])[] = [
    ["no credentials", undefined],
    ["a wrong password", basic("alice", "wrong")],
    ["an unknown user", basic("mallory", "secret")],
    ["a malformed header", "Basic %%%"],
    ["a login without a colon", `Basic ${btoa("alice")}`],
    ["an oversized header", basic("alice", "x".repeat(20_000))],
    ["another scheme", "Bearer abc"],
    ["half a password with a colon", basic("colon", "a")],
    ["half of a user beyond ASCII", basic("u\u0308ni\u0308", "pässwörd☃")],
    ["an empty login", basic("", "")],
    ["a user alone", basic("alice", "")],
  ];
  test.each(titled)("%s refuses whoever has not logged in", async (_, route) => {
    for (const [what, header] of wrong) {
      const response = await send(withPasswords, route, header);
      expect([what, response.status, response.headers.get("www-authenticate")]).toEqual([what, 401, 'Basic realm="r"']);
    }
  });
  test.each(titled)("%s lets users in", async (_, route) => {
    for (const header of [basic("alice", "secret"), basic("ünï", "pässwörd☃"), basic("colon", "a:b")]) expect(isRefused((await send(withPasswords, route, header)).status)).toBe(false);
  });
});

describe("with tokens", () => {
  const bearer = (claims: object, header: object = {}): string => `Bearer ${tokens.signToken(claims, header)}`;
  const wrongFor = (route: Route): readonly (readonly [string, string | undefined])[] => {
    const needed = NEEDED[route.access];
    const now = Math.floor(Date.now() / 1000);
    const any: readonly (readonly [string, string | undefined])[] = [
      ["no token", undefined],
      ["a login", basic("alice", "secret")],
      ["an expired token", bearer(tokens.claims(needed, { exp: now - 120 }))],
      ["a token of another issuer", bearer(tokens.claims(needed, { iss: "other" }))],
      ["a token for another service", bearer(tokens.claims(needed, { aud: "other" }))],
      ["a token without a key", bearer(tokens.claims(needed), { kid: undefined })],
      ["a token that is not good yet", bearer(tokens.claims(needed, { nbf: now + 120 }))],
      ["a token that is not signed", `Bearer ${unsigned(tokens.claims(needed))}`],
      ["a token with another signature", bearer(tokens.claims(needed)).replace(/.{8}$/, "AAAAAAAA")],
      ["a token signed with the public key as a secret", `Bearer ${confused(tokens.claims(needed))}`],
      ["an oversized token", `Bearer ${"x".repeat(40_000)}`],
    ];
    if (route.access === "login") return any;
    return [...any, ["a token for another repository", bearer(tokens.claims([{ type: "repository", name: "team/other", actions: ["*"] }]))], ["a token for other actions", bearer(tokens.claims(TOO_LITTLE[route.access]))]];
  };
  test.each(titled)("%s refuses tokens that are not good for it", async (_, route) => {
    for (const [what, header] of wrongFor(route)) {
      const response = await send(withTokens, route, header);
      expect([what, response.status, response.headers.get("www-authenticate")?.startsWith("Bearer realm=")]).toEqual([what, 401, true]);
    }
  });
  test.each(titled)("%s takes the token that it asks for", async (_, route) => {
    expect(isRefused((await send(withTokens, route, bearer(tokens.claims(NEEDED[route.access])))).status)).toBe(false);
  });

  function unsigned(claims: object): string {
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    return `${encode({ alg: "none", typ: "JWT" })}.${encode(claims)}.`;
  }

  function confused(claims: object): string {
    const { kid } = JSON.parse(Buffer.from(tokens.signToken({}).split(".")[0] ?? "", "base64url").toString()) as { kid: string };
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const input = `${encode({ alg: "HS256", typ: "JWT", kid })}.${encode(claims)}`;
    return `${input}.${createHmac("sha256", tokens.publicKey).update(input).digest("base64url")}`;
  }
});

describe("with access rules", () => {
  test.each(titled)("%s is for whom a rule names; others are not told what there is", async (_, route) => {
    const anonymous = await send(withRules, route);
    expect([anonymous.status, anonymous.headers.get("www-authenticate")?.startsWith(`Bearer realm="${withRules.url}/v2/token"`)]).toEqual([401, true]);
    expect(isRefused((await send(withRules, route, basic("alice", "secret"))).status)).toBe(false);
    const other = await send(withRules, route, basic("colon", "a:b"));
    if (route.access === "login") return expect(isRefused(other.status)).toBe(false);
    expect([other.status, other.headers.get("www-authenticate")]).toEqual([403, null]);
    if (route.method !== "HEAD") expect(await other.json()).toMatchObject({ errors: [{ code: "DENIED" }] });
  });
});

test.each(titled)("%s: preflights ask for a login like everything else, and get no headers for browsers", async (_, route) => {
  const preflight = { ...route, method: "OPTIONS" as Route["method"] };
  expect((await send(withPasswords, preflight)).status).toBe(401);
  const response = await send(withPasswords, preflight, basic("alice", "secret"));
  expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([200, null]);
});

test("headers that are too long for the server are refused before anything else", async () => {
  for (const registry of [withPasswords, withTokens]) {
    const response = await fetch(`${registry.url}/v2/`, { headers: { authorization: `Bearer ${"x".repeat(140 * 1024)}` } });
    expect(response.status).toBe(431);
  }
});

test("probes and the root are for everybody, and nothing else that is no route asks for a login", async () => {
  for (const registry of [withPasswords, withTokens]) {
    for (const path of ["/", "/livez", "/readyz"]) expect((await fetch(registry.url + path)).status).toBe(200);
    expect((await fetch(`${registry.url}/v2/${NAME}/nothing/here`)).status).toBe(404);
    expect((await fetch(`${registry.url}/v2/`, { method: "HEAD" })).status).toBe(401);
    expect((await fetch(`${registry.url}/v2/`, { method: "OPTIONS" })).status).toBe(401);
  }
});

test.each([
  [300, 400],
  [40_000, 404],
])("a name of %d characters is neither looked up in the rules nor repeated in a challenge", async (length, status) => {
  for (const registry of [withRules, withPasswords, withTokens]) {
    const response = await fetch(`${registry.url}/v2/${"a/".repeat(length / 2)}b/tags/list`);
    expect([response.status, response.headers.get("www-authenticate")]).toEqual([status, null]);
    expect(await response.json()).toMatchObject({ errors: [{ code: "NAME_INVALID" }] });
  }
});
