import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type AzureHosts, startAzureHosts } from "../support/azure-hosts.ts";
import { startChild } from "../support/child.ts";
import { freePort } from "../support/free-port.ts";
import { ACCEPT_ALL, digestOf, expectStatus, pushImage, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { type ConfigSection, HTTP_SECRET, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

/*
 * Debian's package of distribution lacks its driver for Azure. Who has another 2.8 (`go build ./cmd/registry`, or the one of the image
 * registry:2) names it in REGISTRY_TEST_DISTRIBUTION_AZURE; only then the tests run that need it. It knows no other address than
 * Microsoft's, which a proxy leads to Azurite.
 */
const DISTRIBUTION = process.env["REGISTRY_TEST_DISTRIBUTION_AZURE"];
const MIB = 1024 * 1024;
const CONTAINER = "registry";

describe("a registry on blob.core.windows.net", () => {
  let azure: AzureHosts;
  let ours: RegistryProcess;
  // As distribution 2.8 knows it, and no more.
  const storage = (): ConfigSection => ({ azure: { accountname: azure.account, accountkey: azure.accountKey, container: CONTAINER }, redirect: { disable: true } });

  beforeAll(async () => {
    azure = await startAzureHosts();
    await azure.azurite.createContainer(CONTAINER);
    ours = await startRegistry({ config: { storage: { filesystem: undefined, ...storage() } }, env: azure.env });
  });
  afterAll(async () => {
    await ours[Symbol.asyncDispose]();
    await azure[Symbol.asyncDispose]();
  });

  async function blobNames(): Promise<string[]> {
    return (await Array.fromAsync(azure.azurite.container(CONTAINER).listBlobsFlat())).map(({ name }) => name);
  }

  async function expectImage(registry: { readonly url: string }, name: string, image: Awaited<ReturnType<typeof pushImage>>): Promise<void> {
    const manifest = await expectStatus(200, `${registry.url}/v2/${name}/manifests/1`, { headers: { accept: ACCEPT_ALL } });
    expect(digestOf(await manifest.bytes())).toBe(image.digest);
    for (const { digest } of [image.config, ...image.layers]) expect(digestOf(await (await expectStatus(200, `${registry.url}/v2/${name}/blobs/${digest}`)).bytes())).toBe(digest);
    expect(await (await expectStatus(200, `${registry.url}/v2/${name}/tags/list`)).json()).toEqual({ name, tags: ["1"] });
  }

  test("reaches it through the proxy of its environment, with TLS, and names blobs as distribution 2.x does", async () => {
    const image = await pushImage({ url: ours.url, name: "proxied" }, "1", { seed: 1, layers: [seededBytes(5_000_000, 1)] });
    await expectImage(ours, "proxied", image);
    expect([...azure.asked]).toEqual([`${azure.account}.blob.core.windows.net`]);
    for (const name of await blobNames()) expect(name).toStartWith("/docker/registry/v2/");
  });

  test("tells of blobs of the other kind when it misses something", async () => {
    const config = { storage: { filesystem: undefined, ...storage(), azure: { ...(storage()["azure"] as ConfigSection), credentials: { type: "shared_key" } } } };
    await using other = await startRegistry({ config, env: azure.env });
    await expectStatus(404, `${other.url}/v2/proxied/manifests/1`);
    await other.child.waitForOutput(/storage\.azure\.legacyrootprefix: true/);
    await using told = await startRegistry({ config: { storage: { ...config.storage, azure: { ...config.storage.azure, legacyrootprefix: true } } }, env: azure.env });
    await expectStatus(200, `${told.url}/v2/proxied/manifests/1`, { headers: { accept: ACCEPT_ALL } });
  });

  describe.skipIf(DISTRIBUTION === undefined)("that is shared with distribution", () => {
    let theirs: { readonly url: string };
    const started = new AsyncDisposableStack();

    beforeAll(async () => {
      const folder = started.use(await tempFolder());
      const port = freePort();
      const configFile = join(folder.path, "config.yml");
      await Bun.write(configFile, JSON.stringify({ version: 0.1, storage: storage(), http: { addr: `127.0.0.1:${port}`, secret: HTTP_SECRET } }));
      const child = started.use(startChild([DISTRIBUTION ?? "", "serve", configFile], azure.env));
      await child.waitForOutput(/listening on /);
      theirs = { url: `http://127.0.0.1:${port}` };
    });
    afterAll(async () => await started.disposeAsync());

    const directions = [
      ["ours", "distribution"],
      ["distribution", "ours"],
    ] as const;
    const urlOf = (who: "ours" | "distribution"): { readonly url: string } => (who === "ours" ? ours : theirs);

    test.each(directions)("serves what %s wrote through %s", async (first, second) => {
      const name = `shared/${first}`;
      const image = await pushImage({ url: urlOf(first).url, name }, "1", { seed: 2, layers: [seededBytes(9_000_000, 2), seededBytes(1000, 3)] });
      await expectImage(urlOf(second), name, image);
    });

    // Less than a block, just one, and more.
    const sizes = [1, 1000, 4 * MIB, 4 * MIB + 1, 9 * MIB + 12_345].flatMap((sizeBytes) => directions.map((direction) => [...direction, sizeBytes] as const));
    test.each(sizes)("lets %s and %s take turns at an upload, after %d bytes", async (first, second, sizeBytes) => {
      const name = "shared/uploads";
      const content = seededBytes(sizeBytes + 5 * MIB + 11, sizeBytes + first.length);
      const digest = digestOf(content);
      const pieces = [content.subarray(0, sizeBytes), content.subarray(sizeBytes, sizeBytes + 700_000), content.subarray(sizeBytes + 700_000)];
      let location = await startUpload({ url: urlOf(first).url, name });
      for (const [index, piece] of pieces.entries()) {
        const { url } = urlOf(index % 2 === 0 ? first : second);
        const { pathname, search } = new URL(location);
        location = uploadLocation({ url, name }, await expectStatus(202, `${url}${pathname}${search}`, { method: "PATCH", body: new Blob([piece]) }));
      }
      const { pathname, search } = new URL(location);
      await expectStatus(201, withQuery(`${urlOf(second).url}${pathname}${search}`, { digest }), { method: "PUT" });
      for (const who of [first, second]) expect(digestOf(await (await expectStatus(200, `${urlOf(who).url}/v2/${name}/blobs/${digest}`)).bytes())).toBe(digest);
      expect((await blobNames()).filter((each) => each.includes("/_uploads/"))).toEqual([]);
    });
  });
});
