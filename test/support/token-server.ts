import { createPrivateKey, type KeyObject, sign, X509Certificate } from "node:crypto";
import { BasicConstraintsExtension, X509CertificateGenerator } from "@peculiar/x509";
import { libtrustKeyId } from "../../src/auth/token/key-ids.ts";

/** A user, and what the server lets it do: actions by repository; `*` for every repository, `catalog` for the catalog. */
export interface TokenUser {
  readonly password: string;
  readonly access: Readonly<Record<string, readonly string[]>>;
}

/** A token server as sites run them beside distribution 2.x: an RSA key in a certificate, RS256, libtrust's key id. */
export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** PEM of the public key. */
  readonly publicKey: string;
  /** PEM of a certificate of the same key; distribution takes nothing else in its `rootcertbundle`. */
  readonly certificate: string;
  /** How often it was asked for a token. */
  readonly requests: number;
  /** Signs any claims, for tests of what must be refused. */
  signToken(claims: object, header?: object): string;
  /** Claims that are good for some access. */
  claims(access: readonly object[], changes?: object): object;
}

const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", publicExponent: Uint8Array.of(1, 0, 1), modulusLength: 2048 } as const;
const TTL_SECONDS = 300;

/**
 * Starts a token server on loopback. It takes GET with a Basic header, and POST with the form of OAuth, with passwords or with
 * refresh tokens, which it hands out to whoever asks for an `offline_token`.
 * @param users By name; the user of the name `""` is everybody without a login.
 */
export async function startTokenServer(users: Readonly<Record<string, TokenUser>>): Promise<TokenServer> {
  const signer = await makeSigner();
  const service = "registry.test";
  const issuer = "tokens.test";
  const refreshTokens = new Map<string, string>();
  let requests = 0;

  const claims = (access: readonly object[], changes: object = {}): object => {
    const now = Math.floor(Date.now() / 1000);
    return { iss: issuer, aud: service, sub: "alice", iat: now, nbf: now - 1, exp: now + TTL_SECONDS, jti: crypto.randomUUID(), access, ...changes };
  };
  const signToken = (payload: object, header: object = {}): string => signJws({ typ: "JWT", alg: "RS256", kid: signer.keyId, ...header }, payload, signer.privateKey);

  const answer = async (request: Request): Promise<Response> => {
    requests++;
    const parameters = request.method === "POST" ? new URLSearchParams(await request.text()) : new URL(request.url).searchParams;
    const name = logIn(users, refreshTokens, { parameters, authorization: request.headers.get("authorization") ?? "" });
    if (name === undefined) return Response.json({ details: "incorrect username or password" }, { status: 401 });
    const token = signToken(claims(grantedScopes(parameters, users[name]?.access ?? {}), { sub: name }));
    const answer = { token, access_token: token, expires_in: TTL_SECONDS, issued_at: new Date().toISOString() };
    if (parameters.get("offline_token") !== "true" && parameters.get("access_type") !== "offline") return Response.json(answer);
    const refreshToken = crypto.randomUUID();
    refreshTokens.set(refreshToken, name);
    return Response.json({ ...answer, refresh_token: refreshToken });
  };
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", development: false, fetch: answer });
  return {
    realm: `http://127.0.0.1:${server.port}/token`,
    service,
    issuer,
    publicKey: signer.publicKey,
    certificate: signer.certificate,
    get requests() {
      return requests;
    },
    signToken,
    claims,
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
}

interface LoginParts {
  readonly parameters: URLSearchParams;
  readonly authorization: string;
}

/** @returns The user's name; undefined when the login is wrong. */
function logIn(users: Readonly<Record<string, TokenUser>>, refreshTokens: ReadonlyMap<string, string>, { parameters, authorization }: LoginParts): string | undefined {
  const refreshToken = parameters.get("refresh_token");
  if (parameters.get("grant_type") === "refresh_token") return refreshTokens.get(refreshToken ?? "");
  const [, encoded = ""] = /^Basic (\S+)$/i.exec(authorization) ?? [];
  const basic = Buffer.from(encoded, "base64").toString();
  const colon = basic.indexOf(":");
  const name = parameters.get("username") ?? basic.slice(0, Math.max(0, colon));
  const password = parameters.get("password") ?? basic.slice(colon + 1);
  return users[name]?.password === password ? name : undefined;
}

function grantedScopes(parameters: URLSearchParams, allowed: TokenUser["access"]): readonly object[] {
  const scopes = parameters.getAll("scope").flatMap((scope) => scope.split(" ")).filter((scope) => scope !== "");
  return scopes.map((scope) => {
    const [type = "", name = "", actions = ""] = scope.split(":");
    const mayDo = type === "registry" ? (allowed[name] ?? []) : (allowed[name] ?? allowed["*"] ?? []);
    return { type, name, actions: actions.split(",").filter((action) => mayDo.includes(action)) };
  });
}

interface Signer {
  readonly privateKey: KeyObject;
  readonly keyId: string;
  /** PEM. */
  readonly publicKey: string;
  /** PEM. */
  readonly certificate: string;
}

async function makeSigner(): Promise<Signer> {
  const keys = (await crypto.subtle.generateKey(RSA, true, ["sign", "verify"])) as CryptoKeyPair;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: "CN=token server of the tests",
    keys,
    signingAlgorithm: RSA,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 24 * 3_600_000),
    extensions: [new BasicConstraintsExtension(true)],
  });
  const pem = `${certificate.toString("pem")}\n`;
  const { publicKey } = new X509Certificate(pem);
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    privateKey: createPrivateKey({ key: pkcs8, type: "pkcs8", format: "der" }),
    keyId: libtrustKeyId(publicKey),
    publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
    certificate: pem,
  };
}

function signJws(header: object, payload: object, key: KeyObject): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${sign("sha256", Buffer.from(input), key).toString("base64url")}`;
}
