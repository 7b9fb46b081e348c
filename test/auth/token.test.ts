import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { digestOf, expectStatus } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { startTokenServer, type TokenServer } from "../support/token-server.ts";

let registry: RegistryProcess;
let tokens: TokenServer;
const cleanup = new AsyncDisposableStack();

beforeAll(async () => {
  tokens = cleanup.use(await startTokenServer({ alice: { password: "secret", access: { "*": ["pull", "push", "delete"] } } }));
  const folder = cleanup.use(await tempFolder());
  const bundle = join(folder.path, "bundle.pem");
  await Bun.write(bundle, tokens.publicKey);
  registry = cleanup.use(await startRegistry({ config: { auth: { token: { realm: tokens.realm, service: tokens.service, issuer: tokens.issuer, rootcertbundle: bundle } } } }));
});
afterAll(async () => await cleanup.disposeAsync());

const PULL = [{ type: "repository", name: "a/b", actions: ["pull"] }];
const list = async (token?: string): Promise<Response> => await fetch(`${registry.url}/v2/a/b/tags/list`, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } });
const now = (): number => Math.floor(Date.now() / 1000);

describe("challenges", () => {
  test("of the base have no scope", async () => {
    const response = await expectStatus(401, `${registry.url}/v2/`);
    expect(response.headers.get("www-authenticate")).toBe(`Bearer realm="${tokens.realm}",service="${tokens.service}"`);
    expect(await response.json()).toEqual({ errors: [{ code: "UNAUTHORIZED", message: "authentication required", detail: null }] });
  });
  test("of a repository name it and the actions", async () => {
    const response = await expectStatus(401, `${registry.url}/v2/a/b/blobs/uploads/`, { method: "POST" });
    expect(response.headers.get("www-authenticate")).toBe(`Bearer realm="${tokens.realm}",service="${tokens.service}",scope="repository:a/b:pull,push"`);
    expect(await response.json()).toMatchObject({ errors: [{ detail: [{ Type: "repository", Class: "", Name: "a/b", Action: "pull" }, { Action: "push" }] }] });
  });
  test("of a mount name both repositories", async () => {
    const response = await expectStatus(401, `${registry.url}/v2/a/b/blobs/uploads/?mount=sha256:${"0".repeat(64)}&from=c/d`, { method: "POST" });
    expect(response.headers.get("www-authenticate")).toContain('scope="repository:a/b:pull,push repository:c/d:pull"');
  });
  test("of the catalog", async () => expect((await expectStatus(401, `${registry.url}/v2/_catalog`)).headers.get("www-authenticate")).toContain('scope="registry:catalog:*"'));
  test("are not asked for where nothing is", async () => await expectStatus(404, `${registry.url}/v2/nothing`));
});

describeWith(["reference"], "the same server, key and tokens", () => {
  test("are good for distribution 2.8 too", async () => {
    await using folder = await tempFolder();
    const bundle = join(folder.path, "bundle.pem");
    await Bun.write(bundle, tokens.certificate);
    await using reference = await startRegistry({ implementation: "distribution", config: { auth: { token: { realm: tokens.realm, service: tokens.service, issuer: tokens.issuer, rootcertbundle: bundle } } } });
    for (const { url } of [reference, registry]) {
      const challenge = (await expectStatus(401, `${url}/v2/a/b/tags/list`)).headers.get("www-authenticate");
      expect(challenge).toBe(`Bearer realm="${tokens.realm}",service="${tokens.service}",scope="repository:a/b:pull"`);
      const { token } = (await (await expectStatus(200, `${tokens.realm}?service=${tokens.service}&scope=repository:a/b:pull`, { headers: { authorization: `Basic ${btoa("alice:secret")}` } })).json()) as { token: string };
      await expectStatus(404, `${url}/v2/a/b/tags/list`, { headers: { authorization: `Bearer ${token}` } });
      const bad: readonly (readonly [string, string])[] = [
        ["malformed", "invalid_token"],
        [`${token.slice(0, -8)}AAAAAAAA`, "invalid_token"],
        [tokens.signToken(tokens.claims(PULL, { exp: 1 })), "invalid_token"],
        [tokens.signToken(tokens.claims([])), "insufficient_scope"],
      ];
      for (const [wrong, error] of bad) {
        const refused = await expectStatus(401, `${url}/v2/a/b/tags/list`, { headers: { authorization: `Bearer ${wrong}` } });
        expect([url, refused.headers.get("www-authenticate")]).toEqual([url, `${challenge},error="${error}"`]);
      }
    }
  });
});

test("a mount is refused with both repositories in the challenge, and done with the token that it asks for", async () => {
  const ask = async (challenge: string | null): Promise<{ readonly authorization: string }> => {
    const [, realm = "", service = "", scope = ""] = /^Bearer realm="([^"]*)",service="([^"]*)",scope="([^"]*)"/.exec(challenge ?? "") ?? [];
    const query = new URLSearchParams([["service", service], ...scope.split(" ").map((each): [string, string] => ["scope", each])]);
    const { token } = (await (await expectStatus(200, `${realm}?${query}`, { headers: { authorization: `Basic ${btoa("alice:secret")}` } })).json()) as { token: string };
    return { authorization: `Bearer ${token}` };
  };
  const post = async (status: number, path: string, init: RequestInit = {}): Promise<Response> => await expectStatus(status, `${registry.url}/v2/${path}`, { method: "POST", ...init });
  const digest = digestOf("a layer");
  const source = await ask((await post(401, "mount/from/blobs/uploads/")).headers.get("www-authenticate"));
  await post(201, `mount/from/blobs/uploads/?digest=${digest}`, { headers: source, body: "a layer" });

  const mount = `mount/to/blobs/uploads/?mount=${digest}&from=mount/from`;
  const targetOnly = await ask((await post(401, "mount/to/blobs/uploads/")).headers.get("www-authenticate"));
  const refused = (await post(401, mount, { headers: targetOnly })).headers.get("www-authenticate");
  expect(refused).toEndWith('scope="repository:mount/to:pull,push repository:mount/from:pull",error="insufficient_scope"');
  const both = await ask(refused);
  const mounted = await post(201, mount, { headers: both });
  expect(mounted.headers.get("docker-content-digest")).toBe(digest);
  await expectStatus(200, `${registry.url}/v2/mount/to/blobs/${digest}`, { method: "HEAD", headers: both });
});

describe("tokens that are taken", () => {
  const good: [string, () => string][] = [
    ["with the access", () => tokens.signToken(tokens.claims(PULL))],
    ["with a star", () => tokens.signToken(tokens.claims([{ type: "repository", name: "a/b", actions: ["*"] }]))],
    ["with a list of audiences", () => tokens.signToken(tokens.claims(PULL, { aud: ["other", tokens.service] }))],
    ["expired for less than the leeway", () => tokens.signToken(tokens.claims(PULL, { exp: now() - 55 }))],
    ["good in less than the leeway", () => tokens.signToken(tokens.claims(PULL, { nbf: now() + 55 }))],
    ["without nbf", () => tokens.signToken(tokens.claims(PULL, { nbf: undefined }))],
  ];
  for (const [what, make] of good) test(what, async () => expect((await list(make())).status).toBe(404));
  test("for the base without any access", async () => await expectStatus(200, `${registry.url}/v2/`, { headers: { authorization: `Bearer ${tokens.signToken(tokens.claims([]))}` } }));
});

describe("tokens that are refused", () => {
  const bad: [string, () => string, string][] = [
    ["malformed", () => "abc", "invalid_token"],
    ["empty parts", () => "..", "invalid_token"],
    ["expired", () => tokens.signToken(tokens.claims(PULL, { exp: now() - 65 })), "invalid_token"],
    ["without an end", () => tokens.signToken(tokens.claims(PULL, { exp: undefined })), "invalid_token"],
    ["not good yet", () => tokens.signToken(tokens.claims(PULL, { nbf: now() + 65 })), "invalid_token"],
    ["another issuer's", () => tokens.signToken(tokens.claims(PULL, { iss: "evil" })), "invalid_token"],
    ["for another service", () => tokens.signToken(tokens.claims(PULL, { aud: "evil" })), "invalid_token"],
    ["for another repository", () => tokens.signToken(tokens.claims([{ type: "repository", name: "c/d", actions: ["pull"] }])), "insufficient_scope"],
    ["for another action", () => tokens.signToken(tokens.claims([{ type: "repository", name: "a/b", actions: ["push"] }])), "insufficient_scope"],
    ["for a type of the same name", () => tokens.signToken(tokens.claims([{ type: "plugin", name: "a/b", actions: ["pull"] }])), "insufficient_scope"],
    ["without access", () => tokens.signToken(tokens.claims([], { access: null })), "insufficient_scope"],
    ["of an unknown key", () => tokens.signToken(tokens.claims(PULL), { kid: "AAAA:BBBB" }), "invalid_token"],
    ["with a key of its own", () => tokens.signToken(tokens.claims(PULL), { kid: undefined, jwk: { kty: "oct", k: "AAAA" } }), "invalid_token"],
    ["unsigned", () => `${Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url")}.${Buffer.from(JSON.stringify(tokens.claims(PULL))).toString("base64url")}.`, "invalid_token"],
    ["changed", () => tokens.signToken(tokens.claims(PULL)).replace(/\.(.)/, (_, c: string) => `.${c === "e" ? "f" : "e"}`), "invalid_token"],
    ["with a time that is no whole number", () => tokens.signToken(tokens.claims(PULL, { exp: now() + 0.5 })), "invalid_token"],
  ];
  for (const [what, make, error] of bad) {
    test(what, async () => {
      const response = await list(make());
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toEndWith(`,error="${error}"`);
    });
  }

  test("signed with the public key as if it were a secret", async () => {
    const kid = JSON.parse(Buffer.from(tokens.signToken({}).split(".")[0] ?? "", "base64url").toString()) as { kid: string };
    const input = `${Buffer.from(JSON.stringify({ alg: "HS256", typ: "JWT", kid: kid.kid })).toString("base64url")}.${Buffer.from(JSON.stringify(tokens.claims(PULL))).toString("base64url")}`;
    for (const secret of [tokens.publicKey, tokens.publicKey.trim()]) {
      expect((await list(`${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`)).status).toBe(401);
    }
  });
  test("oversized", async () => expect([401, 431]).toContain((await list("x".repeat(100_000))).status));
  test("noise", async () => {
    for (let seed = 1; seed < 50; seed++) {
      const noise = Buffer.from(new Bun.CryptoHasher("sha512").update(String(seed)).digest()).toString("base64url").replace(/(.{20})/g, "$1.");
      expect((await list(noise)).status).toBe(401);
    }
  });
});
