import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { libtrustKeyId } from "../../src/auth/token/key-ids.ts";

/** Who may do what, as the server decides: actions by repository; `*` for every repository. */
export interface TokenUser {
  readonly password: string;
  readonly access: Readonly<Record<string, readonly string[]>>;
}

/** A token server as sites run them beside distribution 2.x: an RSA key, libtrust's key id. */
export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** PEM of the public key. */
  readonly publicKey: string;
  /** Signs any claims, for tests of what must be refused. */
  signToken(claims: object, header?: object): string;
  /** Claims that are good for some access. */
  claims(access: readonly object[], changes?: object): object;
}

/** Starts a token server on loopback. */
export function startTokenServer(users: Readonly<Record<string, TokenUser>>): TokenServer {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const service = "registry.test";
  const issuer = "tokens.test";
  const claims = (access: readonly object[], changes: object = {}): object => {
    const now = Math.floor(Date.now() / 1000);
    return { iss: issuer, aud: service, sub: "alice", iat: now, nbf: now - 1, exp: now + 300, jti: crypto.randomUUID(), access, ...changes };
  };
  const signToken = (payload: object, header: object = {}): string => signJws({ typ: "JWT", alg: "RS256", kid: libtrustKeyId(publicKey), ...header }, payload, privateKey);
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    development: false,
    async fetch(request) {
      const parameters = request.method === "POST" ? new URLSearchParams(await request.text()) : new URL(request.url).searchParams;
      const basic = Buffer.from((request.headers.get("authorization") ?? "").replace(/^Basic /i, ""), "base64").toString();
      const name = parameters.get("username") ?? basic.split(":")[0] ?? "";
      const password = parameters.get("password") ?? basic.slice(name.length + 1);
      const user = users[name];
      if (user === undefined || user.password !== password) return Response.json({ details: "wrong" }, { status: 401 });
      const scopes = parameters.getAll("scope").flatMap((scope) => scope.split(" ")).filter((scope) => scope !== "");
      const access = scopes.map((scope) => {
        const [type = "", repository = "", actions = ""] = scope.split(":");
        const allowed = user.access[repository] ?? user.access["*"] ?? [];
        return { type, name: repository, actions: actions.split(",").filter((action) => allowed.includes(action)) };
      });
      const token = signToken(claims(access, { sub: name }));
      return Response.json({ token, access_token: token, expires_in: 300 });
    },
  });
  return {
    realm: `http://127.0.0.1:${server.port}/token`,
    service,
    issuer,
    publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
    signToken,
    claims,
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
}

function signJws(header: object, payload: object, key: KeyObject): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${sign("sha256", Buffer.from(input), key).toString("base64url")}`;
}
