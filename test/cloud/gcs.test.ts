import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { resourceOf } from "../support/gcs/objects.ts";
import { type GcsServer, startGcsServer } from "../support/gcs-server.ts";
import { digestOf, expectStatus, pushBlob, type Repository, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { registryOnStore } from "./registry-on-store.ts";

const MIB = 1024 * 1024;
const SESSION_TYPE = "application/x-docker-upload-session";

registryOnStore("a registry on Cloud Storage", async () => {
  // Small pages and few bytes a rewrite: what the real store does only with much data is to happen here, too.
  const server = await startGcsServer({ maxPage: 50, rewriteBytes: 16 * MIB });
  return {
    storage: { gcs: { bucket: server.bucket, credentials: server.keyFile, endpoint: server.url, rootdirectory: "/some/where", chunksize: 5 * MIB } },
    objects: async (part) => server.objects.names.filter((name) => name.includes(part)),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
});

describe("a registry on Cloud Storage", () => {
  let server: GcsServer;
  beforeAll(async () => {
    server = await startGcsServer();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const section = (parameters: object): { readonly filesystem: undefined; readonly gcs: object } => ({ filesystem: undefined, gcs: { bucket: server.bucket, endpoint: server.url, ...parameters } });

  test("takes its credentials from a key file, or from the application's default", async () => {
    await using folder = await tempFolder();
    const keyfile = join(folder.path, "key.json");
    await Bun.write(keyfile, JSON.stringify(server.keyFile));
    for (const [seed, options] of [
      [1, { config: { storage: section({ keyfile }) } }],
      [2, { config: { storage: section({}) }, env: { GOOGLE_APPLICATION_CREDENTIALS: keyfile } }],
    ] as const) {
      await using registry = await startRegistry(options);
      const content = seededBytes(1000, seed);
      const digest = await pushBlob({ url: registry.url, name: "cloud/keys" }, content);
      // A key in hand signs the URL that clients are sent to.
      const redirect = await expectStatus(307, `${registry.url}/v2/cloud/keys/blobs/${digest}`);
      expect(digestOf(await (await expectStatus(200, redirect.headers.get("location") ?? "")).bytes())).toBe(digest);
    }
  });

  test("streams blobs where there is no key to sign URLs with", async () => {
    // An emulator is asked without credentials; to this one every request is as good as one with a token.
    const open = await startGcsServer();
    const { access_token: token } = (await (await open.account.token(tokenRequest(open))).json()) as { readonly access_token: string };
    const proxy = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        const { pathname, search } = new URL(request.url);
        const headers = new Headers(request.headers);
        headers.set("authorization", `Bearer ${token}`);
        return await fetch(`${open.url}${pathname}${search}`, { method: request.method, headers, body: await request.bytes(), redirect: "manual" });
      },
    });
    try {
      await using registry = await startRegistry({ config: { storage: { filesystem: undefined, gcs: { bucket: open.bucket } } }, env: { STORAGE_EMULATOR_HOST: `127.0.0.1:${proxy.port}` } });
      const content = seededBytes(300_000, 3);
      const digest = await pushBlob({ url: registry.url, name: "cloud/emulator" }, content);
      expect(digestOf(await (await expectStatus(200, `${registry.url}/v2/cloud/emulator/blobs/${digest}`)).bytes())).toBe(digest);
    } finally {
      await proxy.stop(true);
      await open[Symbol.asyncDispose]();
    }
  });

  test("goes on with an upload as distribution leaves it, and leaves its own so", async () => {
    await using registry = await startRegistry({ config: { storage: section({ credentials: server.keyFile, chunksize: MIB }) } });
    const repository: Repository = { url: registry.url, name: "cloud/shared" };
    const content = seededBytes(3 * MIB + 12_345, 4);
    const location = await startUpload(repository);
    const begun = uploadLocation(repository, await expectStatus(202, location, { method: "PATCH", body: new Blob([content.subarray(0, MIB + 700)]) }));
    const name = server.objects.names.find((each) => each.includes("cloud/shared/_uploads/") && each.endsWith("/data")) ?? "";
    const object = server.objects.get(name, undefined);
    expect([object.contentType, object.metadata?.["Offset"], object.content.length]).toEqual([SESSION_TYPE, String(MIB), 700]);
    // What its own `Close` writes has these two, and not our checksum.
    const { "Session-URI": uri = "", Offset: offset = "" } = object.metadata ?? {};
    server.objects.put({ name, content: object.content, contentType: SESSION_TYPE, metadata: { "Session-URI": uri, Offset: offset } });
    const next = await expectStatus(202, begun, { method: "PATCH", body: new Blob([content.subarray(MIB + 700)]) });
    const digest = digestOf(content);
    await expectStatus(201, withQuery(uploadLocation(repository, next), { digest }), { method: "PUT" });
    const stored = server.objects.names.find((each) => each.includes(digest.slice("sha256:".length))) ?? "";
    expect(resourceOf(server.objects.get(stored, undefined), server.bucket)).toMatchObject({ contentType: "application/octet-stream", size: String(content.length) });
    expect(server.sessions.openCount).toBe(0);
  });

  test("does not start with credentials that are none", async () => {
    const failure = await startRegistry({ config: { storage: section({ credentials: { type: "service_account", client_email: "x@y", private_key: "none" } }) } }).then(
      () => undefined,
      (error: unknown) => String(error),
    );
    expect(failure).toContain("storage.gcs: the private_key of x@y is no key in PEM");
  });
});

function tokenRequest(server: GcsServer): Request {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: server.keyFile.client_email, aud: server.keyFile.token_uri, iat: now, exp: now + 3600, scope: "https://www.googleapis.com/auth/devstorage.full_control" };
  return new Request(server.keyFile.token_uri, { method: "POST", body: new URLSearchParams({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion: server.account.sign(claims) }) });
}
