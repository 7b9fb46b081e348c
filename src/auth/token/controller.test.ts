import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { z } from "zod";
import { type TempFolder, tempFolder } from "../../../test/support/temp-folder.ts";
import type { RepositoryName } from "../../oci/name.ts";
import { settled } from "../../registry/testing/test-clock.ts";
import type { AccessController } from "../controller.ts";
import { openAccessController } from "../open.ts";
import { AUTH_OPTIONS } from "../options.ts";
import { access, CATALOG, credentialsOf, outcomeOf, refusal, testParts } from "../testing/parts.ts";
import { type KeyPair, makeCertificate, makeKeys, signToken, type TestCertificate } from "../testing/tokens.ts";
import { libtrustKeyId, thumbprintKeyId } from "./key-ids.ts";
import { SIGNING_ALGORITHMS } from "./options.ts";

let folder: TempFolder;
const keys = new Map<string, KeyPair>();
let rsa: KeyPair;
beforeAll(async () => {
  folder = await tempFolder();
  for (const algorithm of SIGNING_ALGORITHMS) if (!algorithm.startsWith("HS")) keys.set(algorithm, makeKeys(algorithm));
  rsa = keyOf("RS256");
});
afterAll(async () => await folder[Symbol.asyncDispose]());

function keyOf(algorithm: string): KeyPair {
  const pair = keys.get(algorithm);
  if (pair === undefined) throw new Error(`no key for ${algorithm}`);
  return pair;
}

type TokenInput = NonNullable<z.input<typeof AUTH_OPTIONS>["token"]>;
interface Opened {
  readonly controller: AccessController;
  readonly parts: ReturnType<typeof testParts>;
}

let files = 0;
async function write(text: string): Promise<string> {
  const path = join(folder.path, `file-${files++}`);
  await writeFile(path, text);
  return path;
}
const pem = (pair: KeyPair): string => pair.publicKey.export({ type: "spki", format: "pem" }).toString();

async function openWith(options: Partial<TokenInput>): Promise<Opened> {
  const parts = testParts();
  const controller = await openAccessController(AUTH_OPTIONS.parse({ token: { realm: "https://tokens.test/token", service: "the service", issuer: "the issuer", ...options } }), parts);
  if (controller === undefined) throw new Error("no controller");
  return { controller, parts };
}
const openWithKeys = async (...pairs: readonly KeyPair[]): Promise<Opened> => await openWith({ rootcertbundle: await write(pairs.map(pem).join("")) });

const NOW = Math.floor(testParts().clock.now() / 1000);
const GRANTED = [{ type: "repository", name: "team/app", actions: ["pull", "push"] }];
const claims = (changes: object = {}): object => ({ iss: "the issuer", aud: "the service", sub: "alice", exp: NOW + 300, nbf: NOW - 1, iat: NOW - 1, jti: "1", access: GRANTED, ...changes });
const tokenOf = (changes: object = {}, header: object = {}): string => signToken({ alg: "RS256", kid: libtrustKeyId(rsa.publicKey), ...header }, claims(changes), rsa.privateKey);
const bearing = (token: string): ReturnType<typeof credentialsOf> => credentialsOf(`Bearer ${token}`);

describe("challenges of a token server", () => {
  const noError = 'Bearer realm="https://tokens.test/token",service="the service"';
  test.each([undefined, "", "Basic YTpi", "Bearer"])("to %p name no error", async (header) => {
    const { controller } = await openWithKeys(rsa);
    const refused = await refusal(controller.authorize(credentialsOf(header), []));
    expect([refused.outcome, refused.challenge]).toEqual(["unauthenticated", noError]);
  });
  test("name what is needed, by resource and in the order of the request", async () => {
    const { controller } = await openWithKeys(rsa);
    const required = [access("pull"), access("push"), access("pull", "other/app")];
    expect((await refusal(controller.authorize(credentialsOf(undefined), required))).challenge).toBe(`${noError},scope="repository:team/app:pull,push repository:other/app:pull"`);
    expect((await refusal(controller.authorize(credentialsOf(undefined), [CATALOG]))).challenge).toBe(`${noError},scope="registry:catalog:*"`);
  });
  test("say why a token is not enough", async () => {
    const { controller } = await openWithKeys(rsa);
    expect((await refusal(controller.authorize(bearing("x"), []))).challenge).toBe(`${noError},error="invalid_token"`);
    expect((await refusal(controller.authorize(bearing(tokenOf()), [access("delete")]))).challenge).toBe(`${noError},scope="repository:team/app:delete",error="insufficient_scope"`);
  });
  test("point to the host that was asked, where that is wanted", async () => {
    const rootcertbundle = await write(pem(rsa));
    const challenge = async (options: Partial<TokenInput>): Promise<string | undefined> => (await refusal((await openWith({ rootcertbundle, ...options })).controller.authorize(credentialsOf(undefined), []))).challenge;
    expect(await challenge({ autoredirect: true })).toBe('Bearer realm="https://registry.test/auth/token",service="the service"');
    expect(await challenge({ autoredirect: true, autoredirectpath: "/own/path" })).toBe('Bearer realm="https://registry.test/own/path",service="the service"');
    expect(await challenge({ autoredirectpath: "/own/path" })).toBe(noError);
  });
});

describe("claims", () => {
  const good: readonly (readonly [string, object])[] = [
    ["as they are", {}],
    ["a list of audiences", { aud: ["other", "the service"] }],
    ["expired 59 seconds ago", { exp: NOW - 59 }],
    ["good in 59 seconds", { nbf: NOW + 59 }],
    ["without nbf", { nbf: undefined }],
    ["with nbf null", { nbf: null }],
    ["without iat, jti and sub", { iat: undefined, jti: undefined, sub: undefined }],
    ["issued in the future", { iat: NOW + 1000 }],
    ["actions of everything", { access: [{ type: "repository", name: "team/app", actions: ["*"] }] }],
    ["several entries of a repository", { access: [{ type: "repository", name: "team/app", actions: ["pull"] }, { type: "repository", name: "team/app", actions: ["push"] }] }],
    ["further members", { access: [{ ...GRANTED[0], more: 1 }], more: {} }],
  ];
  test.each(good)("%s are taken", async (_, changes) => {
    const { controller } = await openWithKeys(rsa);
    expect(await outcomeOf(controller, bearing(tokenOf(changes)), [access("pull"), access("push")])).toBe("allowed");
  });

  const bad: readonly (readonly [string, object])[] = [
    ["another issuer", { iss: "other" }],
    ["no issuer", { iss: undefined }],
    ["another audience", { aud: "other" }],
    ["no audience", { aud: undefined }],
    ["an audience that is null", { aud: null }],
    ["an audience that is a number", { aud: 1 }],
    ["an empty list of audiences", { aud: [] }],
    ["a list in a list of audiences", { aud: [["the service"]] }],
    ["expired 61 seconds ago", { exp: NOW - 61 }],
    ["no end", { exp: undefined }],
    ["an end that is no whole number", { exp: NOW + 300.5 }],
    ["an end that is a text", { exp: String(NOW + 300) }],
    ["an endless end", { exp: Number.POSITIVE_INFINITY }],
    ["good in 61 seconds", { nbf: NOW + 62 }],
    ["a beginning that is no number", { nbf: "now" }],
    ["an issue time that is no whole number", { iat: 1.5 }],
    ["access that is no list", { access: {} }],
    ["access of something else", { access: ["team/app"] }],
    ["a type that is no text", { access: [{ type: 1, name: "team/app", actions: ["pull"] }] }],
    ["actions that are no list", { access: [{ type: "repository", name: "team/app", actions: "pull" }] }],
  ];
  test.each(bad)("%s are refused", async (_, changes) => {
    const { controller } = await openWithKeys(rsa);
    const refused = await refusal(controller.authorize(bearing(tokenOf(changes)), [access("pull")]));
    expect([refused.outcome, refused.challenge?.endsWith('error="invalid_token"')]).toEqual(["unauthenticated", true]);
  });

  test.each(["null", "[]", '"text"', "1", "{", ""])("that are %s are refused", async (text) => {
    const { controller } = await openWithKeys(rsa);
    expect(await outcomeOf(controller, bearing(signToken({ alg: "RS256", kid: libtrustKeyId(rsa.publicKey) }, text, rsa.privateKey)), [])).toBe("unauthenticated");
  });

  const lacking: readonly (readonly [string, unknown])[] = [
    ["nothing", undefined],
    ["null", null],
    ["an empty list", []],
    ["another repository", [{ type: "repository", name: "other/app", actions: ["*"] }]],
    ["the beginning of the name", [{ type: "repository", name: "team", actions: ["*"] }]],
    ["another type", [{ type: "plugin", name: "team/app", actions: ["*"] }]],
    ["another action", [{ type: "repository", name: "team/app", actions: ["push"] }]],
    ["actions that are null", [{ type: "repository", name: "team/app", actions: null }]],
  ];
  test.each(lacking)("that allow %s are not enough", async (_, granted) => {
    const { controller } = await openWithKeys(rsa);
    const token = bearing(tokenOf({ access: granted }));
    expect((await refusal(controller.authorize(token, [access("pull")]))).challenge).toEndWith('error="insufficient_scope"');
    expect(await outcomeOf(controller, token, [])).toBe("allowed");
  });

  test("must allow everything that a request needs", async () => {
    const { controller } = await openWithKeys(rsa);
    const mount = [access("pull"), access("push"), access("pull", "other/app")];
    expect(await outcomeOf(controller, bearing(tokenOf()), mount)).toBe("unauthenticated");
    expect(await outcomeOf(controller, bearing(tokenOf({ access: [...GRANTED, { type: "repository", name: "other/app", actions: ["pull"] }] })), mount)).toBe("allowed");
    expect(await outcomeOf(controller, bearing(tokenOf({ access: [{ type: "registry", name: "catalog", actions: ["*"] }] })), [CATALOG])).toBe("allowed");
  });

  test("say who somebody is, and what they may see", async () => {
    const { controller } = await openWithKeys(rsa);
    const granted = [{ type: "repository", name: "team/app", class: "plugin", actions: ["pull"] }, { type: "repository", name: "team/app", actions: ["push"] }, { type: "repository", name: "pushed", actions: ["push"] }, { type: "registry", name: "catalog", actions: ["*"] }];
    const grant = await controller.authorize(bearing(tokenOf({ access: granted })), [access("pull")]);
    const pulls = ["team/app", "pushed", "other"].map((name) => grant.mayPull?.(name as RepositoryName));
    expect([grant.user, pulls, grant.classesOf?.("team/app" as RepositoryName), grant.classesOf?.("other" as RepositoryName)]).toEqual(["alice", [true, false, false], ["plugin", "image"], []]);
    expect((await controller.authorize(bearing(tokenOf({ sub: "" })), [])).user).toBeUndefined();
  });

  test("that allow the catalog allow the whole of it", async () => {
    const { controller } = await openWithKeys(rsa);
    const grant = await controller.authorize(bearing(tokenOf({ access: [{ type: "registry", name: "catalog", actions: ["*"] }] })), [CATALOG]);
    expect(grant).toEqual({ user: "alice" });
  });

  test("of a token that is known end with their time all the same", async () => {
    const { controller, parts } = await openWithKeys(rsa);
    const token = bearing(tokenOf({ exp: NOW + 1 }));
    expect(await outcomeOf(controller, token, [])).toBe("allowed");
    await parts.clock.advance(60_000);
    expect(await outcomeOf(controller, token, [])).toBe("allowed");
    await parts.clock.advance(2_000);
    expect(await outcomeOf(controller, token, [])).toBe("unauthenticated");
  });
});

describe("keys", () => {
  const asymmetric = SIGNING_ALGORITHMS.filter((algorithm) => !algorithm.startsWith("HS"));
  test.each(asymmetric)("for %s are known by both ids", async (algorithm) => {
    const pair = keyOf(algorithm);
    const { controller } = await openWithKeys(rsa, pair);
    for (const kid of [libtrustKeyId(pair.publicKey), await thumbprintKeyId(pair.publicKey)]) {
      expect(await outcomeOf(controller, bearing(signToken({ alg: algorithm, kid }, claims(), pair.privateKey)), [access("pull")])).toBe("allowed");
    }
  });

  test("of certificates count like bare ones, and blocks of other kinds not at all", async () => {
    const root = await authority("root");
    const bundle = `some text\n${root.pem}\n${rsa.privateKey.export({ type: "pkcs8", format: "pem" }).toString()}${pem(keyOf("ES384"))}`;
    const { controller } = await openWith({ rootcertbundle: await write(bundle) });
    const kid = libtrustKeyId(keyOf("ES384").publicKey);
    expect(await outcomeOf(controller, bearing(signToken({ alg: "ES384", kid }, claims(), keyOf("ES384").privateKey)), [])).toBe("allowed");
    expect(await outcomeOf(controller, bearing(tokenOf()), [])).toBe("unauthenticated");
  });

  test("in the header are believed for their id alone", async () => {
    const { controller } = await openWithKeys(rsa);
    const stranger = makeKeys("RS256");
    const jwk = (pair: KeyPair, kid: string | undefined): object => ({ ...pair.publicKey.export({ format: "jwk" }), kid });
    const trusted = libtrustKeyId(rsa.publicKey);
    const allowed = async (header: object, signer: KeyPair): Promise<string> => await outcomeOf(controller, bearing(signToken({ alg: "RS256", ...header }, claims(), signer.privateKey)), []);
    expect(await allowed({ jwk: jwk(rsa, trusted) }, rsa)).toBe("allowed");
    expect(await allowed({ jwk: jwk(stranger, trusted) }, rsa)).toBe("allowed");
    expect(await allowed({ jwk: jwk(stranger, trusted) }, stranger)).toBe("unauthenticated");
    expect(await allowed({ jwk: jwk(stranger, libtrustKeyId(stranger.publicKey)) }, stranger)).toBe("unauthenticated");
    expect(await allowed({ jwk: jwk(rsa, undefined) }, rsa)).toBe("unauthenticated");
    expect(await allowed({ jwk: null, kid: trusted }, rsa)).toBe("unauthenticated");
    expect(await allowed({ kid: trusted }, stranger)).toBe("unauthenticated");
    expect(await allowed({ kid: libtrustKeyId(stranger.publicKey) }, stranger)).toBe("unauthenticated");
    expect(await allowed({}, rsa)).toBe("unauthenticated");
    expect(await allowed({ kid: 1 }, rsa)).toBe("unauthenticated");
    expect(await allowed({ kid: trusted, jku: "http://127.0.0.1:1/keys", x5u: "http://127.0.0.1:1/chain" }, rsa)).toBe("allowed");
  });

  test.each([
    ["nothing of the kind", {}, "requires at least one token signing key"],
    ["an empty bundle", { rootcertbundle: "" }, "requires at least one token signing key"],
    ["a broken certificate", { rootcertbundle: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }, "block 1 (CERTIFICATE)"],
    ["a set that is no JSON", { jwks: "{" }, "is not JSON"],
    ["a set without keys", { jwks: "{}" }, 'has no list of "keys"'],
    ["a set of nothing that can be used", { jwks: '{"keys":[{"kty":"RSA"},1,{"kty":"oct"}]}' }, "requires at least one token signing key"],
  ] as const)("must be there: %s", async (_, contents, message) => {
    const options = Object.fromEntries(await Promise.all(Object.entries(contents).map(async ([key, text]) => [key, await write(text)])));
    await expect(openWith(options)).rejects.toThrow(message);
  });
  test("must be in files that can be read", async () => {
    await expect(openWith({ rootcertbundle: "/nonexistent" })).rejects.toThrow("auth.token.rootcertbundle: /nonexistent: ENOENT");
    await expect(openWith({ jwks: "/nonexistent" })).rejects.toThrow("auth.token.jwks: /nonexistent: ENOENT");
  });
  test("of RSA that are too short are refused when they are read", async () => {
    const short = generateKeyPairSync("rsa", { modulusLength: 1024 });
    await expect(openWithKeys(short)).rejects.toThrow("an RSA key of 1024 bits is too short, expected at least 2048");
  });

  test("are read again at a reload; broken ones leave those that are known", async () => {
    const path = await write(pem(rsa));
    const { controller, parts } = await openWith({ rootcertbundle: path });
    const token = bearing(tokenOf());
    expect(await outcomeOf(controller, token, [])).toBe("allowed");
    await writeFile(path, "nothing");
    expect(await controller.reload?.()).toEqual([]);
    expect(parts.lines.map(({ level }) => level)).toEqual(["error"]);
    expect(await outcomeOf(controller, token, [])).toBe("allowed");
    await writeFile(path, pem(keyOf("ES256")));
    expect(await controller.reload?.()).toEqual(["token signing keys"]);
    expect(await outcomeOf(controller, token, [])).toBe("unauthenticated");
  });
});

describe("algorithms", () => {
  test("that are not configured are refused", async () => {
    const { controller } = await openWith({ rootcertbundle: await write(pem(rsa)), signingalgorithms: ["RS512"] });
    expect(await outcomeOf(controller, bearing(tokenOf()), [])).toBe("unauthenticated");
    expect(await outcomeOf(controller, bearing(tokenOf({}, { alg: "RS512" })), [])).toBe("allowed");
  });

  test("none is never one", async () => {
    const { controller } = await openWith({ rootcertbundle: await write(pem(rsa)), signingalgorithms: ["none", "RS256"] });
    for (const alg of ["none", "None", "NONE", ""]) {
      const head = Buffer.from(JSON.stringify({ alg, kid: libtrustKeyId(rsa.publicKey) })).toString("base64url");
      const [, body = ""] = tokenOf().split(".");
      for (const signature of ["", "AAAA"]) expect(await outcomeOf(controller, bearing(`${head}.${body}.${signature}`), [])).toBe("unauthenticated");
    }
  });

  test("of secrets are not those of public keys", async () => {
    const { controller } = await openWithKeys(rsa, keyOf("ES256"));
    for (const pair of [rsa, keyOf("ES256")]) {
      const der = pair.publicKey.export({ type: "spki", format: "der" });
      for (const secret of [pem(pair), pem(pair).trim(), der, der.toString("base64"), "", JSON.stringify(pair.publicKey.export({ format: "jwk" }))]) {
        for (const alg of ["HS256", "HS384", "HS512"]) expect(await outcomeOf(controller, bearing(signToken({ alg, kid: libtrustKeyId(pair.publicKey) }, claims(), secret)), [])).toBe("unauthenticated");
      }
    }
  });

  test("of one kind of key are not another's", async () => {
    const { controller } = await openWithKeys(rsa, keyOf("ES256"), keyOf("EdDSA"));
    for (const [alg, pair] of [["ES256", rsa], ["RS256", keyOf("ES256")], ["EdDSA", rsa], ["ES384", keyOf("ES256")], ["ES256", keyOf("EdDSA")]] as const) {
      const head = Buffer.from(JSON.stringify({ alg, kid: libtrustKeyId(pair.publicKey) })).toString("base64url");
      const [, body = ""] = tokenOf().split(".");
      expect(await outcomeOf(controller, bearing(`${head}.${body}.${Buffer.alloc(64).toString("base64url")}`), [])).toBe("unauthenticated");
    }
  });

  test("of secrets in a key set are taken, and stay with their key", async () => {
    const k = Buffer.from("a secret of thirty-two characters").toString("base64url");
    const { controller } = await openWith({ jwks: await write(JSON.stringify({ keys: [{ kty: "oct", kid: "secret", k }, { kty: "oct", kid: "pinned", alg: "HS512", k }] })) });
    const signed = (alg: string, kid: string): ReturnType<typeof bearing> => bearing(signToken({ alg, kid }, claims(), Buffer.from(k, "base64url")));
    expect(await outcomeOf(controller, signed("HS256", "secret"), [])).toBe("allowed");
    expect(await outcomeOf(controller, signed("HS512", "pinned"), [])).toBe("allowed");
    expect(await outcomeOf(controller, signed("HS256", "pinned"), [])).toBe("unauthenticated");
  });
});

async function authority(name: string, issuer?: TestCertificate, changes: { readonly isAuthority?: boolean; readonly from?: number; readonly to?: number } = {}): Promise<TestCertificate> {
  const at = (seconds: number): Date => new Date((NOW + seconds) * 1000);
  return await makeCertificate({ name, isAuthority: changes.isAuthority ?? true, notBefore: at(changes.from ?? -1000), notAfter: at(changes.to ?? 1000), ...(issuer === undefined ? {} : { issuer }) });
}

describe("chains of certificates", () => {
  let root: TestCertificate;
  let controller: AccessController;
  beforeAll(async () => {
    root = await authority("root");
    controller = (await openWith({ rootcertbundle: await write(root.pem) })).controller;
  });
  const outcome = async (chain: readonly TestCertificate[], header?: object): Promise<string> => {
    const [signer] = chain;
    if (signer === undefined) throw new Error("an empty chain");
    return await outcomeOf(controller, bearing(signToken({ alg: "ES256", x5c: chain.map(({ base64 }) => base64), ...header }, claims(), signer.privateKey)), [access("pull")]);
  };

  test("of every length lead to a trusted certificate, with it in the chain or not", async () => {
    expect(await outcome([root])).toBe("allowed");
    let issuer = root;
    const chain: TestCertificate[] = [];
    for (let depth = 1; depth <= 5; depth++) {
      const signer = await authority(`signer ${depth}`, issuer, { isAuthority: false });
      expect(await outcome([signer, ...chain])).toBe("allowed");
      expect(await outcome([signer, ...chain, root])).toBe("allowed");
      issuer = await authority(`authority ${depth}`, issuer);
      chain.unshift(issuer);
    }
  });

  test("in the key of a header count as well", async () => {
    const signer = await authority("signer", root, { isAuthority: false });
    const token = signToken({ alg: "ES256", jwk: { kty: "EC", x5c: [signer.base64] } }, claims(), signer.privateKey);
    expect(await outcomeOf(controller, bearing(token), [])).toBe("allowed");
  });

  test("that prove nothing are refused, whatever else the header says", async () => {
    const stranger = await authority("root");
    const signer = await authority("signer", root, { isAuthority: false });
    const underSigner = await authority("under a signer", signer);
    const early = await authority("early", root, { from: 10 });
    const late = await authority("late", root, { to: -10 });
    const middle = await authority("middle", root);
    const underMiddle = await authority("under middle", middle);
    const oldAuthority = await authority("old", root, { to: -10 });
    const cases: readonly (readonly [string, readonly TestCertificate[]])[] = [
      ["another root of the same name", [stranger]],
      ["issued by that", [await authority("signer", stranger)]],
      ["issued by that, with the trusted one behind", [await authority("signer", stranger), root]],
      ["issued by what is no authority", [underSigner, signer]],
      ["not good yet", [early]],
      ["no longer good", [late]],
      ["with an authority that is no longer good", [await authority("new", oldAuthority), oldAuthority]],
      ["with a gap", [underMiddle]],
      ["in the wrong order", [underMiddle, root, middle]],
      ["endless", Array.from({ length: 9 }, () => stranger)],
    ];
    for (const [what, chain] of cases) expect([what, await outcome(chain)]).toEqual([what, "unauthenticated"]);
    for (const x5c of [[], "text", null, [1], ["AAAA"], [signer.base64.slice(0, -8)], {}, [[signer.base64]]]) expect([x5c, await outcome([signer], { x5c })]).toEqual([x5c, "unauthenticated"]);
    const forged = signToken({ alg: "ES256", x5c: [signer.base64] }, claims(), middle.privateKey);
    expect(await outcomeOf(controller, bearing(forged), [])).toBe("unauthenticated");
  });

  test("end with the trusted certificate", async () => {
    const short = await authority("short", undefined, { to: 100 });
    const { controller: own, parts } = await openWith({ rootcertbundle: await write(short.pem) });
    const signer = await authority("signer", short);
    const token = (): ReturnType<typeof bearing> => bearing(signToken({ alg: "ES256", x5c: [signer.base64] }, claims({ jti: crypto.randomUUID() }), signer.privateKey));
    expect(await outcomeOf(own, token(), [])).toBe("allowed");
    await parts.clock.advance(101_000);
    expect(await outcomeOf(own, token(), [])).toBe("unauthenticated");
  });
});

describe("key sets", () => {
  const jwkOf = (pair: KeyPair, members: object): object => ({ ...pair.publicKey.export({ format: "jwk" }), ...members });
  const es256 = (): KeyPair => keyOf("ES256");
  const signed = (kid: string, pair: KeyPair = es256(), alg = "ES256"): ReturnType<typeof bearing> => bearing(signToken({ alg, kid }, claims({ jti: crypto.randomUUID() }), pair.privateKey));

  test("in a file give keys by their own ids, or by thumbprints", async () => {
    const { controller } = await openWith({ jwks: await write(JSON.stringify({ keys: [jwkOf(es256(), { kid: "first" }), jwkOf(rsa, {})] })) });
    expect(await outcomeOf(controller, signed("first"), [])).toBe("allowed");
    expect(await outcomeOf(controller, signed("other"), [])).toBe("unauthenticated");
    expect(await outcomeOf(controller, signed(await thumbprintKeyId(rsa.publicKey), rsa, "RS256"), [])).toBe("allowed");
  });

  test("say what of them cannot be used", async () => {
    const odd = [jwkOf(es256(), { kid: "encryption", use: "enc" }), jwkOf(es256(), { kid: "confused", alg: "HS256" }), { kty: "RSA", kid: "broken" }, 5, { kty: "oct", kid: "empty", k: "" }];
    const { controller, parts } = await openWith({ jwks: await write(JSON.stringify({ keys: [...odd, jwkOf(es256(), { kid: "good", use: "sig", alg: "ES256" })] })) });
    expect(parts.lines.map(({ fields }) => String(fields["err.message"]).replace(/:.*/, ""))).toEqual(odd.map((_, index) => `keys[${index}]`));
    expect(await outcomeOf(controller, signed("good"), [])).toBe("allowed");
    for (const kid of ["encryption", "confused", "broken", "empty"]) expect(await outcomeOf(controller, signed(kid), [])).toBe("unauthenticated");
  });

  test("by URL are fetched, kept over an outage, and fetched again for an unknown key", async () => {
    const served = { keys: [jwkOf(es256(), { kid: "one" })] as object[], status: 200, requests: 0 };
    await using server = serveSet(served);
    const { controller, parts } = await openWith({ jwksurl: server.url, jwksrefresh: "10m" });
    expect([await outcomeOf(controller, signed("one"), []), served.requests]).toEqual(["allowed", 1]);

    served.keys.push(jwkOf(rsa, { kid: "two" }));
    expect([await outcomeOf(controller, signed("two", rsa, "RS256"), []), served.requests]).toEqual(["unauthenticated", 1]);
    await parts.clock.advance(30_000);
    expect([await outcomeOf(controller, signed("two", rsa, "RS256"), []), served.requests]).toEqual(["allowed", 2]);

    served.status = 503;
    await parts.clock.advance(30_000);
    expect([await outcomeOf(controller, signed("three"), []), served.requests]).toEqual(["unauthenticated", 3]);
    expect(parts.lines.at(-1)).toMatchObject({ level: "error", fields: { "err.message": "answered with status 503" } });
    expect(await outcomeOf(controller, signed("one"), [])).toBe("allowed");
  });

  test("by URL are fetched again when they are old, and keys that are gone with them", async () => {
    const served = { keys: [jwkOf(es256(), { kid: "one" })] as object[], status: 200, requests: 0 };
    await using server = serveSet(served);
    const { controller, parts } = await openWith({ jwksurl: server.url, jwksrefresh: "10m" });
    const known = signed("one");
    expect(await outcomeOf(controller, known, [])).toBe("allowed");
    served.keys = [jwkOf(rsa, { kid: "two" })];
    await parts.clock.advance(2 * 60_000);
    await controller.reload?.();
    expect(await outcomeOf(controller, known, [])).toBe("unauthenticated");
    served.keys = [jwkOf(es256(), { kid: "two" })];
    await parts.clock.advance(10 * 60_000 - 1);
    await outcomeOf(controller, signed("two", rsa, "RS256"), []);
    await settled();
    expect(served.requests).toBe(2);
    await parts.clock.advance(1);
    await outcomeOf(controller, signed("two", rsa, "RS256"), []);
    while (served.requests < 3) await settled();
  });

  test("by URL give no secrets", async () => {
    const k = Buffer.from("a secret of thirty-two characters").toString("base64url");
    await using server = serveSet({ keys: [{ kty: "oct", kid: "secret", k }], status: 200, requests: 0 });
    const { controller, parts } = await openWith({ jwksurl: server.url });
    expect(await outcomeOf(controller, bearing(signToken({ alg: "HS256", kid: "secret" }, claims(), Buffer.from(k, "base64url"))), [])).toBe("unauthenticated");
    expect(String(parts.lines[0]?.fields["err.message"])).toContain("keys[0]: is a secret that others can read too");
  });

  test("that cannot be had yet do not keep the registry from starting", async () => {
    const { controller, parts } = await openWith({ jwksurl: "http://127.0.0.1:1/keys" });
    expect(parts.lines.map(({ level }) => level)).toEqual(["error"]);
    expect(await outcomeOf(controller, signed("one"), [])).toBe("unauthenticated");
  });

  test("that are too large are not taken", async () => {
    await using server = serveSet({ keys: [{ kid: "x".repeat(2 * 1024 * 1024) }], status: 200, requests: 0 });
    const { parts } = await openWith({ jwksurl: server.url });
    expect(String(parts.lines[0]?.fields["err.message"])).toContain("larger than");
  });
});

function serveSet(served: { keys: object[]; status: number; requests: number }): AsyncDisposable & { readonly url: string } {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    development: false,
    fetch() {
      served.requests++;
      return Response.json({ keys: served.keys }, { status: served.status });
    },
  });
  return { url: `http://127.0.0.1:${server.port}/keys`, [Symbol.asyncDispose]: async () => await server.stop(true) };
}

describe("tokens of noise", () => {
  test("are refused, and nothing else happens", async () => {
    const { controller } = await openWithKeys(rsa);
    const good = tokenOf();
    let state = 99;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    };
    for (let round = 0; round < 600; round++) {
      const changed = mutate(good, random);
      if (changed === good) continue;
      const result = await outcomeOf(controller, bearing(changed), [access("pull")]);
      expect([changed, result]).toEqual([changed, "unauthenticated"]);
    }
  });

  test.each(["", ".", "..", "...", "a.b.c", " ", "é.é.é", `${"A".repeat(70_000)}.A.A`])("%p is malformed", async (token) => {
    const { controller } = await openWithKeys(rsa);
    expect((await refusal(controller.authorize(bearing(token), []))).challenge).toEndWith('error="invalid_token"');
  });

  test("a token with blanks before it is malformed, as in distribution", async () => {
    const { controller } = await openWithKeys(rsa);
    expect(await outcomeOf(controller, credentialsOf(`Bearer  ${tokenOf()}`), [])).toBe("unauthenticated");
    expect(await outcomeOf(controller, credentialsOf(`bEARER ${tokenOf()}`), [])).toBe("allowed");
  });
});

/** Changes one character, or leaves out, doubles or swaps a part. */
function mutate(token: string, random: (below: number) => number): string {
  const parts = token.split(".");
  const at = random(token.length);
  switch (random(5)) {
    case 0:
      return `${token.slice(0, at)}${String.fromCharCode(33 + random(90))}${token.slice(at + 1)}`;
    case 1:
      return token.slice(0, at);
    case 2:
      return parts.toSpliced(random(3), 1).join(".");
    case 3:
      return parts.toSpliced(random(3), 0, parts[random(3)] ?? "").join(".");
    default:
      return [parts[random(3)], parts[random(3)], parts[random(3)]].join(".");
  }
}
