import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { resourceOf } from "../support/gcs/objects.ts";
import { type GcsServer, startGcsServer } from "../support/gcs-server.ts";
import { digestOf, expectStatus, pushBlob, type Repository, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { type StartOptions, startRegistry } from "../support/registry-process.ts";
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

  describe("streams blobs where there is no key to sign URLs with", () => {
    async function expectStreamed(options: StartOptions): Promise<void> {
      await using registry = await startRegistry(options);
      const content = seededBytes(300_000, 3);
      const digest = await pushBlob({ url: registry.url, name: "cloud/keyless" }, content);
      expect(digestOf(await (await expectStatus(200, `${registry.url}/v2/cloud/keyless/blobs/${digest}`)).bytes())).toBe(digest);
    }

    test("as the machine's own service account", async () => {
      await using metadata = serve((request, path) => {
        if (request.headers.get("metadata-flavor") !== "Google") return new Response("Missing required header", { status: 403 });
        const isToken = path === "/computeMetadata/v1/instance/service-accounts/default/token";
        return Response.json(isToken ? server.account.giveToken() : {}, { headers: { "metadata-flavor": "Google" } });
      });
      await expectStreamed({ config: { storage: section({}) }, env: { GCE_METADATA_HOST: metadata.host } });
    });

    test("as an account of somebody else's, by workload identity federation", async () => {
      await using folder = await tempFolder();
      const file = join(folder.path, "subject");
      await Bun.write(file, "a token of ours");
      await using exchange = serve(async (request) => {
        const form = new URLSearchParams(await request.text());
        const isGood = form.get("grant_type") === "urn:ietf:params:oauth:grant-type:token-exchange" && form.get("subject_token") === "a token of ours";
        return isGood ? Response.json({ ...server.account.giveToken(), issued_token_type: "urn:ietf:params:oauth:token-type:access_token" }) : Response.json({ error: "invalid_grant" }, { status: 400 });
      });
      const credentials = {
        type: "external_account",
        audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider",
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
        token_url: `http://${exchange.host}/v1/token`,
        credential_source: { file },
      };
      await expectStreamed({ config: { storage: section({ credentials }) } });
    });

    test("as nobody, on an emulator", async () => {
      // To this one every request is as good as one with a token.
      const { access_token: token } = server.account.giveToken();
      await using emulator = serve(async (request, path) => {
        const headers = new Headers(request.headers);
        if (headers.has("authorization")) return new Response("who asks?", { status: 500 });
        headers.set("authorization", `Bearer ${token}`);
        return await fetch(`${server.url}${path}${new URL(request.url).search}`, { method: request.method, headers, body: await request.bytes(), redirect: "manual" });
      });
      await expectStreamed({ config: { storage: { filesystem: undefined, gcs: { bucket: server.bucket } } }, env: { STORAGE_EMULATOR_HOST: emulator.host } });
    });
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

/** Something that answers on loopback. */
function serve(answer: (request: Request, path: string) => Response | Promise<Response>): { readonly host: string } & AsyncDisposable {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => answer(request, new URL(request.url).pathname) });
  return { host: `127.0.0.1:${server.port}`, [Symbol.asyncDispose]: () => server.stop(true) };
}
