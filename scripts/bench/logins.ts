import { join } from "node:path";
import { startTokenServer } from "../../test/support/token-server.ts";

/** How clients prove who they are. */
export type Login = "password" | "token";

/** What a server is configured with for a login, and what its clients send. */
export interface LoginSetup {
  /** `auth` in the configuration. */
  readonly auth: { readonly [kind: string]: { readonly [key: string]: string } };
  readonly authorization: string;
}

/** As the tools that make password files do it, and most users leave it. */
const BCRYPT_COST = 10;
const DAY_SECONDS = 86_400;

/** Makes a password file, or the certificate of a token server. @param folder Where the files go */
export async function setUpLogin(login: Login, folder: string): Promise<LoginSetup> {
  return login === "password" ? await setUpPassword(folder) : await setUpToken(folder);
}

async function setUpPassword(folder: string): Promise<LoginSetup> {
  const path = join(folder, "htpasswd");
  // Of the three spellings of one algorithm, the one that every registry takes.
  const hash = (await Bun.password.hash("secret", { algorithm: "bcrypt", cost: BCRYPT_COST })).replace(/^\$2b\$/, "$2y$");
  await Bun.write(path, `bench:${hash}\n`);
  return { auth: { htpasswd: { realm: "bench", path } }, authorization: `Basic ${btoa("bench:secret")}` };
}

async function setUpToken(folder: string): Promise<LoginSetup> {
  await using server = await startTokenServer({});
  const { realm, service, issuer } = server;
  const rootcertbundle = join(folder, "bundle.pem");
  await Bun.write(rootcertbundle, server.certificate);
  const access = [{ type: "repository", name: "bench/small", actions: ["pull"] }];
  const token = server.signToken(server.claims(access, { exp: Math.floor(Date.now() / 1000) + DAY_SECONDS }));
  return { auth: { token: { realm, service, issuer, rootcertbundle } }, authorization: `Bearer ${token}` };
}
