import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { startChild } from "../support/child.ts";
import { freePort } from "../support/free-port.ts";
import { ACCEPT_ALL, digestOf, expectStatus, type PushedImage, pushBlob, pushImage, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { type AliyunHosts, startAliyunHosts } from "../support/oss/aliyun-hosts.ts";
import { HTTP_SECRET, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

/*
 * Packages of distribution lack its driver for OSS. Who has built a 2.8 with it (`go build -tags include_oss ./cmd/registry`) names it in
 * REGISTRY_TEST_DISTRIBUTION_OSS; only then the tests run that need it.
 */
const DISTRIBUTION = process.env["REGISTRY_TEST_DISTRIBUTION_OSS"];
const MIB = 1024 * 1024;
const BUCKET = "shared-bucket";
const PUBLIC_HOST = `${BUCKET}.oss-cn-hangzhou.aliyuncs.com`;
const INTERNAL_HOST = `${BUCKET}.oss-cn-hangzhou-internal.aliyuncs.com`;

describe("a registry on oss-cn-hangzhou.aliyuncs.com", () => {
  let aliyun: AliyunHosts;
  let ours: RegistryProcess;

  function storage(parameters: object = {}): { readonly oss: object } {
    const { accessKeyId, accessKeySecret, region } = aliyun.server;
    return { oss: { accesskeyid: accessKeyId, accesskeysecret: accessKeySecret, region, bucket: BUCKET, rootdirectory: "/root", ...parameters } };
  }

  beforeAll(async () => {
    aliyun = await startAliyunHosts(BUCKET);
    ours = await startRegistry({ config: { storage: { filesystem: undefined, ...storage(), redirect: { disable: true } } }, env: aliyun.env });
  });
  afterAll(async () => {
    await ours[Symbol.asyncDispose]();
    await aliyun[Symbol.asyncDispose]();
  });

  async function expectImage(registry: { readonly url: string }, name: string, image: PushedImage): Promise<void> {
    const manifest = await expectStatus(200, `${registry.url}/v2/${name}/manifests/1`, { headers: { accept: ACCEPT_ALL } });
    expect(digestOf(await manifest.bytes())).toBe(image.digest);
    for (const { digest } of [image.config, ...image.layers]) expect(digestOf(await (await expectStatus(200, `${registry.url}/v2/${name}/blobs/${digest}`)).bytes())).toBe(digest);
    expect(await (await expectStatus(200, `${registry.url}/v2/${name}/tags/list`)).json()).toEqual({ name, tags: ["1"] });
  }

  test("reaches it through the proxy of its environment, with TLS", async () => {
    const image = await pushImage({ url: ours.url, name: "proxied" }, "1", { seed: 1, layers: [seededBytes(12_000_000, 1)] });
    await expectImage(ours, "proxied", image);
    expect(aliyun.asked).toEqual(new Set([PUBLIC_HOST]));
  });

  test.each([
    ["internal", { internal: true }, INTERNAL_HOST, INTERNAL_HOST],
    ["the bucket's internal host as endpoint", { endpoint: INTERNAL_HOST }, INTERNAL_HOST, PUBLIC_HOST],
    ["the region's internal host as endpoint, and internal", { endpoint: "oss-cn-hangzhou-internal.aliyuncs.com", internal: true }, INTERNAL_HOST, INTERNAL_HOST],
  ])("takes the internal network with %s", async (_, parameters, reached, redirectedTo) => {
    aliyun.asked.clear();
    await using registry = await startRegistry({ config: { storage: { filesystem: undefined, ...storage(parameters) } }, env: aliyun.env });
    const digest = await pushBlob({ url: registry.url, name: "internal" }, seededBytes(1000, 2));
    const redirect = await expectStatus(307, `${registry.url}/v2/internal/blobs/${digest}`);
    expect(new URL(redirect.headers.get("location") ?? "").host).toBe(redirectedTo);
    expect(aliyun.asked).toContain(reached);
  });

  describe.skipIf(DISTRIBUTION === undefined)("that is shared with distribution", () => {
    let theirs: { readonly url: string };
    const started = new AsyncDisposableStack();

    beforeAll(async () => {
      const folder = started.use(await tempFolder());
      const port = freePort();
      const configFile = join(folder.path, "config.yml");
      await Bun.write(configFile, JSON.stringify({ version: 0.1, storage: { ...storage(), redirect: { disable: true } }, http: { addr: `127.0.0.1:${port}`, secret: HTTP_SECRET } }));
      const child = started.use(startChild([DISTRIBUTION ?? "", "serve", configFile], aliyun.env));
      await child.waitForOutput(/listening on /);
      theirs = { url: `http://127.0.0.1:${port}` };
    });
    afterAll(async () => await started.disposeAsync());

    const urlOf = (who: "ours" | "distribution"): { readonly url: string } => (who === "ours" ? ours : theirs);

    test.each([
      ["ours", "distribution"],
      ["distribution", "ours"],
    ] as const)("serves what %s wrote through %s", async (first, second) => {
      const name = `shared/${first}`;
      const image = await pushImage({ url: urlOf(first).url, name }, "1", { seed: 2, layers: [seededBytes(23_000_000, 2), seededBytes(1000, 3)] });
      await expectImage(urlOf(second), name, image);
    });

    // Distribution goes on with less than 5 MiB only when there is nothing before it: it misnames the bucket when it copies the rest.
    const sizes = [
      ...[1000, 3 * MIB, 6 * MIB, 10 * MIB, 16 * MIB, 27 * MIB].map((sizeBytes) => ["ours", "distribution", sizeBytes] as const),
      ...[1000, 3 * MIB, 6 * MIB, 10 * MIB, 20 * MIB, 23 * MIB, 27 * MIB].map((sizeBytes) => ["distribution", "ours", sizeBytes] as const),
    ];
    test.each(sizes)("lets %s begin an upload that %s ends, after %d bytes", async (first, second, sizeBytes) => {
      const name = "shared/uploads";
      const content = seededBytes(sizeBytes + 7 * MIB + 11, sizeBytes + first.length);
      const digest = digestOf(content);
      const [from, to] = [urlOf(first), urlOf(second)];
      const begun = uploadLocation({ ...from, name }, await expectStatus(202, await startUpload({ ...from, name }), { method: "PATCH", body: new Blob([content.subarray(0, sizeBytes)]) }));
      const { pathname, search } = new URL(begun);
      const next = await expectStatus(202, `${to.url}${pathname}${search}`, { method: "PATCH", body: new Blob([content.subarray(sizeBytes)]) });
      await expectStatus(201, withQuery(uploadLocation({ ...to, name }, next), { digest }), { method: "PUT" });
      for (const { url } of [ours, theirs]) expect(digestOf(await (await expectStatus(200, `${url}/v2/${name}/blobs/${digest}`)).bytes())).toBe(digest);
      expect(aliyun.server.bucket.uploads).toEqual([]);
    });
  });
});
