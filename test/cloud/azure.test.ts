import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startAzureDirectory, storageToken, TENANT } from "../support/azure-directory.ts";
import { type Azurite, startAzurite } from "../support/azurite.ts";
import { makeCertificate, type TestCertificate, writeCertificate } from "../support/certificates.ts";
import { digestOf, pushBlob, seededBytes } from "../support/http.ts";
import { type ConfigSection, startRegistry } from "../support/registry-process.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";
import { registryOnStore } from "./registry-on-store.ts";

registryOnStore("a registry on Azure Blob Storage", async () => {
  const azurite = await startAzurite();
  await azurite.createContainer("registry");
  return {
    storage: { azure: azurite.section("registry", { rootdirectory: "/some/where" }) },
    objects: async (part) => {
      const names: string[] = [];
      for await (const { name } of azurite.container("registry").listBlobsFlat()) if (name.includes(part)) names.push(name);
      return names;
    },
    [Symbol.asyncDispose]: () => azurite[Symbol.asyncDispose](),
  };
});

describe("a registry on Azure Blob Storage by TLS", () => {
  let folder: TempFolder;
  let authorityFile = "";
  let certificate: TestCertificate;
  let azurite: Azurite;

  beforeAll(async () => {
    folder = await tempFolder();
    const authority = await makeCertificate("authority", { isAuthority: true });
    certificate = await makeCertificate("store", { issuer: authority });
    authorityFile = (await writeCertificate(folder.path, "authority", authority)).certificateFile;
    azurite = await startAzurite({ tls: { ...(await writeCertificate(folder.path, "store", certificate)), authorityFile } });
    await azurite.createContainer("registry");
  });
  afterAll(async () => {
    await azurite[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  /** Pushes a blob, and fetches it from where the registry sends clients, or from the registry. */
  async function expectWorking({ storage, env }: { readonly storage: ConfigSection; readonly env: Readonly<Record<string, string>> }, seed: number): Promise<{ readonly isRedirected: boolean; readonly output: string }> {
    await using registry = await startRegistry({ config: { storage: { filesystem: undefined, azure: storage } }, env });
    const digest = await pushBlob({ url: registry.url, name: "cloud/tls" }, seededBytes(300_000, seed)).catch((error: unknown) => {
      throw new Error(registry.child.output(), { cause: error });
    });
    const answer = await fetch(`${registry.url}/v2/cloud/tls/blobs/${digest}`, { redirect: "manual" });
    const blob = answer.status === 307 ? await fetch(answer.headers.get("location") ?? "", { tls: { rejectUnauthorized: false } }) : answer;
    expect([blob.status, digestOf(await blob.bytes())]).toEqual([200, digest]);
    return { isRedirected: answer.status === 307, output: registry.child.output() };
  }

  const withToken = (credentials: ConfigSection, more: ConfigSection = {}): ConfigSection => ({ ...azurite.section("registry", more), accountkey: undefined, credentials });

  test("does not trust a certificate of an unknown authority, unless it is told not to look", async () => {
    const refused = await failureOf(expectWorking({ storage: azurite.section("registry"), env: {} }, 1));
    expect(refused).toContain("self signed certificate in certificate chain");
    await expectWorking({ storage: azurite.section("registry", { skipverify: true }), env: {} }, 1);
    await expectWorking({ storage: azurite.section("registry"), env: { NODE_EXTRA_CA_CERTS: authorityFile } }, 1);
  });

  test("takes tokens of a directory for a secret, and signs URLs with a key that the store gives for them", async () => {
    await using directory = startAzureDirectory(certificate);
    const env = { NODE_EXTRA_CA_CERTS: authorityFile, AZURE_AUTHORITY_HOST: directory.url };
    const credentials = { type: "client_secret", tenantid: TENANT, clientid: directory.clientId, secret: directory.clientSecret };
    const { isRedirected } = await expectWorking({ storage: withToken(credentials), env }, 2);
    expect({ isRedirected, given: directory.given }).toEqual({ isRedirected: true, given: 1 });
    expect(await failureOf(expectWorking({ storage: withToken({ ...credentials, secret: "another" }), env }, 2))).toContain("Invalid client secret provided");
  });

  test("takes the credentials of its environment", async () => {
    await using directory = startAzureDirectory(certificate);
    const env = { NODE_EXTRA_CA_CERTS: authorityFile, AZURE_AUTHORITY_HOST: directory.url, AZURE_TENANT_ID: TENANT, AZURE_CLIENT_ID: directory.clientId, AZURE_CLIENT_SECRET: directory.clientSecret };
    expect((await expectWorking({ storage: withToken({ type: "default_credentials" }), env }, 3)).isRedirected).toBe(true);
  });

  test("takes the credentials of the machine that it runs on", async () => {
    await using service = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => {
        if (request.headers.get("x-identity-header") !== "a secret of the machine") return new Response("who asks?", { status: 401 });
        return Response.json({ access_token: storageToken(), expires_on: String(Math.floor(Date.now() / 1000) + 3600), resource: "https://storage.azure.com", token_type: "Bearer" });
      },
    });
    const env = { NODE_EXTRA_CA_CERTS: authorityFile, IDENTITY_ENDPOINT: `http://127.0.0.1:${service.port}/msi/token`, IDENTITY_HEADER: "a secret of the machine" };
    expect((await expectWorking({ storage: withToken({ type: "default_credentials" }), env }, 4)).isRedirected).toBe(true);
  });
});

async function failureOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "it did not fail",
    (error: unknown) => String(error),
  );
}
