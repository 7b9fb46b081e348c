import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Child, startChild } from "../support/child.ts";
import { freePort } from "../support/free-port.ts";
import { type GoogleHosts, startGoogleHosts } from "../support/gcs/google-hosts.ts";
import { ACCEPT_ALL, digestOf, expectStatus, pushImage, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { HTTP_SECRET, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

/*
 * Packages of distribution lack its driver for Cloud Storage. Who has built one with it (`go build -tags include_gcs ./cmd/registry`)
 * names it in REGISTRY_TEST_DISTRIBUTION_GCS; only then the tests run that need it. It knows no other address than Google's, which a
 * proxy leads to our server.
 */
const DISTRIBUTION = process.env["REGISTRY_TEST_DISTRIBUTION_GCS"];
const KIB = 1024;
const MIB = 1024 * KIB;
const CHUNK = 2 * MIB;

describe("a registry on storage.googleapis.com", () => {
  let google: GoogleHosts;
  let ours: RegistryProcess;
  const storage = (): object => ({ gcs: { bucket: google.server.bucket, keyfile: google.keyFile, rootdirectory: "/root", chunksize: CHUNK }, redirect: { disable: true } });

  beforeAll(async () => {
    google = await startGoogleHosts({ maxPage: 50 });
    ours = await startRegistry({ config: { storage: { filesystem: undefined, ...storage() } }, env: google.env });
  });
  afterAll(async () => {
    await ours[Symbol.asyncDispose]();
    await google[Symbol.asyncDispose]();
  });

  async function expectImage(registry: { readonly url: string }, name: string, image: Awaited<ReturnType<typeof pushImage>>): Promise<void> {
    const manifest = await expectStatus(200, `${registry.url}/v2/${name}/manifests/1`, { headers: { accept: ACCEPT_ALL } });
    expect(digestOf(await manifest.bytes())).toBe(image.digest);
    for (const { digest } of [image.config, ...image.layers]) expect(digestOf(await (await expectStatus(200, `${registry.url}/v2/${name}/blobs/${digest}`)).bytes())).toBe(digest);
    expect(await (await expectStatus(200, `${registry.url}/v2/${name}/tags/list`)).json()).toEqual({ name, tags: ["1"] });
  }

  test("reaches it through the proxy of its environment, with TLS", async () => {
    const image = await pushImage({ url: ours.url, name: "proxied" }, "1", { seed: 1, layers: [seededBytes(5_000_000, 1)] });
    await expectImage(ours, "proxied", image);
    expect(google.asked).toEqual(new Set(["oauth2.googleapis.com", "storage.googleapis.com"]));
    expect(google.server.counts.get("upload.put")).toBe(3);
  });

  describe.skipIf(DISTRIBUTION === undefined)("that is shared with distribution", () => {
    let theirs: { readonly url: string };
    const started = new AsyncDisposableStack();

    beforeAll(async () => {
      const folder = started.use(await tempFolder());
      const port = freePort();
      const configFile = join(folder.path, "config.yml");
      await Bun.write(configFile, JSON.stringify({ version: 0.1, storage: storage(), http: { addr: `127.0.0.1:${port}`, secret: HTTP_SECRET } }));
      const child: Child = started.use(startChild([DISTRIBUTION ?? "", "serve", configFile], google.env));
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

    // No session, no rest, full chunks before or not.
    const sizes = [1000, 256 * KIB, 300_000, MIB, CHUNK, CHUNK + 5, 3 * CHUNK + 12_345].flatMap((sizeBytes) => directions.map((direction) => [...direction, sizeBytes] as const));
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
      expect(google.server.objects.names.filter((each) => each.includes("/_uploads/"))).toEqual([]);
    });
  });
});
