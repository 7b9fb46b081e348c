import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ACCEPT_ALL, pushImage, type PushedImage } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

describe("access rules before a mirror", () => {
  const cleanup = new AsyncDisposableStack();
  let mirror: RegistryProcess;
  let image: PushedImage;
  beforeAll(async () => {
    const folder = cleanup.use(await tempFolder());
    const upstream = cleanup.use(await startRegistry());
    image = await pushImage({ url: upstream.url, name: "team/app" }, "v1", {});
    const passwords = join(folder.path, "htpasswd");
    await Bun.write(passwords, `alice:${await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 })}`);
    const rules = [
      { anonymous: true, actions: ["pull"] },
      { repositories: ["closed.example/**"], users: ["alice"], actions: ["pull"] },
    ];
    const remotes = ["closed.example", "open.example"].map((prefix) => ({ prefix, remoteurl: upstream.url, namespaces: [`${prefix}:5000`] }));
    mirror = cleanup.use(await startRegistry({ config: { auth: { htpasswd: { realm: "r", path: passwords, rules } }, proxy: { remotes } } }));
  });
  afterAll(async () => await cleanup.disposeAsync());

  const alice = `Basic ${Buffer.from("alice:secret").toString("base64")}`;
  const get = async (path: string, authorization?: string): Promise<Response> =>
    await fetch(`${mirror.url}/v2/${path}`, { headers: { accept: ACCEPT_ALL, ...(authorization === undefined ? {} : { authorization }) } });
  /** A token for what a challenge asks for, or for another scope. */
  const tokenFor = async (scope: string, authorization?: string): Promise<string> => {
    const answer = await fetch(`${mirror.url}/v2/token?service=r&scope=${encodeURIComponent(scope)}`, authorization === undefined ? {} : { headers: { authorization } });
    return `Bearer ${String(((await answer.json()) as { token: string }).token)}`;
  };

  test("are asked about the repository that a name space leads to, and not about the name in the path", async () => {
    const anonymous = await tokenFor("repository:team/app:pull repository:open.example/team/app:pull repository:closed.example/team/app:pull");
    for (const namespace of ["closed.example", "closed.example:5000"]) {
      for (const reference of ["manifests/v1", `manifests/${image.digest}`, `blobs/${image.config.digest}`, "tags/list"]) {
        const refused = await get(`team/app/${reference}?ns=${namespace}`, anonymous);
        expect([reference, refused.status]).toEqual([reference, 401]);
        expect(refused.headers.get("www-authenticate")).toContain('scope="repository:closed.example/team/app:pull"');
        expect((await get(`team/app/${reference}?ns=${namespace}`, alice)).status).toBe(200);
      }
    }
    expect((await get("team/app/manifests/v1?ns=open.example", anonymous)).status).toBe(200);
  });

  test("take a token for that repository, as containerd fetches it", async () => {
    const scope = "repository:closed.example/team/app:pull repository:team/app:pull";
    expect((await get("team/app/manifests/v1?ns=closed.example", await tokenFor(scope, alice))).status).toBe(200);
  });
});
