import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { digestOf } from "../support/http.ts";
import { type ConfigSection, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";
import { startTokenServer, type TokenServer } from "../support/token-server.ts";
import { type DifferenceId, LOGIN_DIFFERENCES } from "./differences.ts";
import type { ExchangeRequest, Side } from "./exchange.ts";
import { compare, type Step, unseenDifferences } from "./sequence.ts";

const NAME = "team/app";
const DIGEST = digestOf("nothing");
const UPLOAD = "5f3c2f0e-7f9b-4c3a-9d55-0123456789ab";

/** A request of every kind, by a title. */
const REQUESTS: Readonly<Record<string, ExchangeRequest>> = {
  base: { path: "/v2/" },
  "HEAD base": { method: "HEAD", path: "/v2/" },
  "OPTIONS base": { method: "OPTIONS", path: "/v2/" },
  catalog: { path: "/v2/_catalog" },
  tags: { path: `/v2/${NAME}/tags/list` },
  "GET manifest": { path: `/v2/${NAME}/manifests/latest` },
  "HEAD manifest": { method: "HEAD", path: `/v2/${NAME}/manifests/latest` },
  "PUT manifest": { method: "PUT", path: `/v2/${NAME}/manifests/latest`, body: "{}" },
  "DELETE manifest": { method: "DELETE", path: `/v2/${NAME}/manifests/${DIGEST}` },
  "GET blob": { path: `/v2/${NAME}/blobs/${DIGEST}` },
  "HEAD blob": { method: "HEAD", path: `/v2/${NAME}/blobs/${DIGEST}` },
  "DELETE blob": { method: "DELETE", path: `/v2/${NAME}/blobs/${DIGEST}` },
  "OPTIONS blob": { method: "OPTIONS", path: `/v2/${NAME}/blobs/${DIGEST}` },
  "begin an upload": { method: "POST", path: `/v2/${NAME}/blobs/uploads/`, body: "" },
  mount: { method: "POST", path: `/v2/${NAME}/blobs/uploads/?mount=${DIGEST}&from=team/other`, body: "" },
  "mount from itself": { method: "POST", path: `/v2/${NAME}/blobs/uploads/?mount=${DIGEST}&from=${NAME}`, body: "" },
  root: { path: "/" },
};
/** To whom may go on with uploads ours answers otherwise, as `DIFFERENCES` has it: these are for who may not. */
const UPLOADS: typeof REQUESTS = {
  "PATCH an upload": { method: "PATCH", path: `/v2/${NAME}/blobs/uploads/${UPLOAD}`, body: "x" },
  "PUT an upload": { method: "PUT", path: `/v2/${NAME}/blobs/uploads/${UPLOAD}?digest=${DIGEST}`, body: "x" },
  "GET an upload": { path: `/v2/${NAME}/blobs/uploads/${UPLOAD}` },
  "DELETE an upload": { method: "DELETE", path: `/v2/${NAME}/blobs/uploads/${UPLOAD}` },
};
/** What a login is tried on: a resource of the whole registry, one of a repository, and one without a body. */
const TRIED = ["base", "tags", "HEAD manifest"] as const;

let folder: TempFolder;
let tokens: TokenServer;
const cleanup = new AsyncDisposableStack();
beforeAll(async () => {
  folder = cleanup.use(await tempFolder());
  tokens = cleanup.use(await startTokenServer({}));
  await Bun.write(join(folder.path, "bundle.pem"), tokens.certificate);
  const bcrypt = async (password: string): Promise<string> => await Bun.password.hash(password, { algorithm: "bcrypt", cost: 4 });
  const lines = ["# users", "", `alice:${await bcrypt("secret")}`, `colon:${await bcrypt("a:b")}`, `ünï:${await bcrypt("pässwörd☃")}`, `long:${await bcrypt("x".repeat(72))}`, "sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "plain:secret"];
  lines.push(`twice:${await bcrypt("first")}`, `twice:${await bcrypt("second")}`, `  blanks:${await bcrypt("secret")}  `, `y:${(await bcrypt("secret")).replace("$2b$", "$2y$")}`, `a:${(await bcrypt("secret")).replace("$2b$", "$2a$")}`);
  await Bun.write(join(folder.path, "htpasswd"), lines.join("\n"));
});
afterAll(async () => await cleanup.disposeAsync());

/** Sends the steps to both, configured alike. */
async function compareWith(auth: ConfigSection, steps: readonly Step[]): Promise<void> {
  const side = async (implementation: "distribution" | undefined, config: ConfigSection): Promise<Side> => ({
    registry: cleanup.use(await startRegistry({ ...(implementation === undefined ? {} : { implementation }), config })),
    location: "",
    memory: new Map(),
  });
  await compare(await side("distribution", { auth }), await side(undefined, { auth }), steps);
}

/** Every request, with a header or without. */
function everything(title: string, header?: string): readonly Step[] {
  return Object.entries({ ...REQUESTS, ...(header === undefined ? UPLOADS : {}) }).map(([what, request]) => ({ title: `${title}: ${what}`, request: withHeader(request, header) }));
}

function tried(title: string, header: string): readonly Step[] {
  return TRIED.map((what) => ({ title: `${title}: ${what}`, request: withHeader(REQUESTS[what], header) }));
}

function differing(differs: DifferenceId, header: string): Step {
  return { title: differs, request: withHeader(REQUESTS["base"], header), differs };
}

function withHeader(request: ExchangeRequest = { path: "/" }, authorization?: string): ExchangeRequest {
  return authorization === undefined ? request : { ...request, headers: { Authorization: authorization } };
}

const basic = (login: string): string => `Basic ${Buffer.from(login).toString("base64")}`;

describeWith(["reference"], "ours lets in whom distribution 2.8 lets in, and refuses the others as it does:", () => {
  test("silly", async () => {
    await compareWith({ silly: { realm: "silly-realm", service: "silly-service" } }, [
      ...everything("nobody"),
      ...everything("anybody", "anything"),
      ...tried("an empty header", ""),
      ...tried("a login", basic("alice:secret")),
      ...tried("a token", "Bearer abc"),
    ]);
  });

  test("htpasswd", async () => {
    const refused: Readonly<Record<string, string>> = {
      "a wrong password": basic("alice:wrong"),
      "an empty password": basic("alice:"),
      "an unknown user": basic("mallory:secret"),
      nobody: basic(":"),
      "no colon": basic("alice"),
      "no base64": "Basic %%%",
      "nothing after the scheme": "Basic ",
      "the scheme alone": "Basic",
      "an empty header": "",
      "another scheme": "Bearer abc",
      "another scheme with a login": basic("alice:secret").replace("Basic", "Digest"),
      "half a password with a colon": basic("colon:a"),
      "another case": basic("Alice:secret"),
      "an SHA-1 entry": basic("sha:secret"),
      "a plain entry": basic("plain:secret"),
      "the first of two entries": basic("twice:first"),
      "a comment": basic("# users:"),
    };
    const good: Readonly<Record<string, string>> = {
      "a scheme in lower case": basic("alice:secret").replace("Basic", "basic"),
      "a scheme in upper case": basic("alice:secret").replace("Basic", "BASIC"),
      "a password with a colon": basic("colon:a:b"),
      "names and passwords beyond ASCII": basic("ünï:pässwörd☃"),
      "a password of 72 bytes": basic(`long:${"x".repeat(72)}`),
      "the second of two entries": basic("twice:second"),
      "an entry with blanks around it": basic("blanks:secret"),
      "an entry of $2y$": basic("y:secret"),
      "an entry of $2a$": basic("a:secret"),
    };
    const htpasswd = { realm: 'the "realm"', path: join(folder.path, "htpasswd") };
    await compareWith({ htpasswd: { ...htpasswd, throttle: { enabled: false } } }, [
      ...everything("nobody"),
      ...everything("a user", basic("alice:secret")),
      ...Object.entries(refused).flatMap(([title, header]) => tried(title, header)),
      ...Object.entries(good).flatMap(([title, header]) => tried(title, header)),
      differing("login-blanks", basic("alice:secret").replace(" ", "  ")),
    ]);
    await compareWith({ htpasswd }, [...Array.from({ length: 6 }, (_, index) => tried(`wrong ${index}`, basic(`alice:wrong${index}`)).slice(0, 1)).flat(), differing("throttled", basic("alice:wrong again"))]);
  });

  test("token", async () => {
    const now = Math.floor(Date.now() / 1000);
    const grant = (name: string, ...actions: readonly string[]): object => ({ type: "repository", name, actions });
    const enough = [grant(NAME, "pull", "push", "delete"), grant("team/other", "pull"), { type: "registry", name: "catalog", actions: ["*"] }];
    const bearer = (claims: object = {}, header: object = {}): string => `Bearer ${tokens.signToken(tokens.claims(enough, claims), header)}`;
    const forged = (header: object, key?: string): string => {
      const input = [header, tokens.claims(enough)].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
      return `Bearer ${input}.${key === undefined ? "" : createHmac("sha256", key).update(input).digest("base64url")}`;
    };
    const { kid } = JSON.parse(Buffer.from(tokens.signToken({}).split(".")[0] ?? "", "base64url").toString()) as { kid: string };
    const refused: Readonly<Record<string, string>> = {
      "a login": basic("alice:secret"),
      "an empty header": "",
      "the scheme alone": "Bearer",
      "no token": "Bearer ",
      "no JWT": "Bearer abc",
      "empty parts": "Bearer ..",
      "a changed signature": bearer().replace(/.{8}$/, "AAAAAAAA"),
      "a token that is over": bearer({ exp: now - 120 }),
      "a token without an end": bearer({ exp: undefined }),
      "a token that is not good yet": bearer({ nbf: now + 120 }),
      "another issuer": bearer({ iss: "other" }),
      "another service": bearer({ aud: "other" }),
      "no audience": bearer({ aud: undefined }),
      "an unknown key": bearer({}, { kid: "AAAA:BBBB" }),
      "no key": bearer({}, { kid: undefined }),
      "a key of its own": bearer({}, { kid: undefined, jwk: { kty: "oct", k: "AAAA" } }),
      "no signature": forged({ alg: "none", typ: "JWT", kid }),
      "the public key as a secret": forged({ alg: "HS256", typ: "JWT", kid }, tokens.publicKey),
      "an algorithm of another key": forged({ alg: "ES256", typ: "JWT", kid }, "x"),
      "a broken end": bearer({ exp: now + 60.5 }),
      "access of another form": bearer({ access: "all" }),
      "actions of another form": bearer({ access: [{ type: "repository", name: NAME, actions: "pull" }] }),
    };
    const insufficient: Readonly<Record<string, string>> = {
      "no access": bearer({ access: [] }),
      "access that is null": bearer({ access: null }),
      "another repository": bearer({ access: [grant("team/other", "pull", "push", "delete")] }),
      "a repository above": bearer({ access: [grant("team", "*")] }),
      "only pull": bearer({ access: [grant(NAME, "pull")] }),
      "only push": bearer({ access: [grant(NAME, "push")] }),
      "only delete": bearer({ access: [grant(NAME, "delete")] }),
      "pull and push": bearer({ access: [grant(NAME, "pull", "push")] }),
      "another type": bearer({ access: [{ type: "plugin", name: NAME, actions: ["*"] }] }),
      "the catalog alone": bearer({ access: [{ type: "registry", name: "catalog", actions: ["*"] }] }),
      "the catalog for pull": bearer({ access: [{ type: "registry", name: "catalog", actions: ["pull"] }] }),
    };
    const good: Readonly<Record<string, string>> = {
      "a scheme in lower case": bearer().replace("Bearer", "bearer"),
      "over for less than the leeway": bearer({ exp: now - 40 }),
      "good in less than the leeway": bearer({ nbf: now + 40 }),
      "no nbf, iat and jti": bearer({ nbf: undefined, iat: undefined, jti: undefined }),
      "access in two parts": bearer({ access: [grant(NAME, "pull"), grant(NAME, "push")] }),
      "a class": bearer({ access: [{ type: "repository", class: "image", name: NAME, actions: ["pull"] }] }),
    };
    await compareWith({ token: { realm: tokens.realm, service: tokens.service, issuer: tokens.issuer, rootcertbundle: join(folder.path, "bundle.pem") } }, [
      ...everything("nobody"),
      ...everything("enough", bearer()),
      ...Object.entries(insufficient).flatMap(([title, header]) => everything(title, header)),
      ...Object.entries(refused).flatMap(([title, header]) => tried(title, header)),
      ...Object.entries(good).flatMap(([title, header]) => tried(title, header)),
      ...tried("a star", bearer({ access: [grant(NAME, "*")] })),
      differing("token-audiences", bearer({ aud: ["other", tokens.service] })),
      differing("token-blanks", bearer().replace(" ", "  ")),
    ]);
  });

  test("and every row of the table of differences was seen", () => expect(unseenDifferences(LOGIN_DIFFERENCES)).toEqual([]));
});
