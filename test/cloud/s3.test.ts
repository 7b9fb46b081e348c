import { afterAll, beforeAll, expect, test } from "bun:test";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { type CephServer, startCeph } from "../support/ceph.ts";
import { ACCEPT_ALL, digestOf, expectStatus, pushBlob, pushImage, type Repository, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { type Implementation, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { s3Client, s3Section } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";
import { registryOnStore } from "./registry-on-store.ts";

const MIB = 1024 * 1024;

describeWith(["ceph"], "on Ceph", () => {
  let ceph: CephServer;
  beforeAll(async () => {
    ceph = await startCeph();
  });
  afterAll(async () => await ceph[Symbol.asyncDispose]());

  registryOnStore("a registry on S3", async () => {
    await ceph.createBucket("registry");
    const client = s3Client(ceph);
    return {
      storage: { s3: s3Section(ceph, "registry", { rootdirectory: "/some/where" }) },
      objects: async (part) => {
        const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: "registry" }));
        return Contents.flatMap(({ Key = "" }) => (Key.includes(part) ? [Key] : []));
      },
      [Symbol.asyncDispose]: async () => client.destroy(),
    };
  });

  test("clients are sent to the host and for the time that the configuration says", async () => {
    await ceph.createBucket("redirected");
    const outside = ceph.endpoint.replace("127.0.0.1", "localhost");
    const storage = { filesystem: undefined, s3: s3Section(ceph, "redirected", { redirectendpoint: outside }), redirect: { expiry: "90s" } };
    await using registry = await startRegistry({ config: { storage } });
    const digest = await pushBlob({ url: registry.url, name: "redirected" }, "hello");
    for (const method of ["GET", "HEAD"]) {
      const { headers } = await expectStatus(307, `${registry.url}/v2/redirected/blobs/${digest}`, { method });
      const url = new URL(headers.get("location") ?? "");
      expect([url.origin, url.searchParams.get("X-Amz-Expires")]).toEqual([outside, "90"]);
      expect(await (await expectStatus(200, url.href, { method })).text()).toBe(method === "GET" ? "hello" : "");
    }
  });

  test("a store with a certificate of a private authority is trusted when SSL_CERT_FILE names that", async () => {
    await ceph.createBucket("secure");
    const storage = { filesystem: undefined, s3: s3Section({ ...ceph, endpoint: ceph.secureEndpoint }, "secure"), redirect: { disable: true } };
    await using registry = await startRegistry({ config: { storage }, env: { SSL_CERT_FILE: ceph.authorityFile } });
    const repository: Repository = { url: registry.url, name: "secure" };
    const content = seededBytes(23 * MIB, 1);
    const patched = await expectStatus(202, await startUpload(repository), { method: "PATCH", body: new Blob([content]) });
    await expectStatus(201, withQuery(uploadLocation(repository, patched), { digest: digestOf(content) }), { method: "PUT" });
    expect(digestOf(await (await expectStatus(200, `${registry.url}/v2/secure/blobs/${digestOf(content)}`)).bytes())).toBe(digestOf(content));
  });

  describeWith(["reference"], "a bucket that is shared with distribution", () => {
    const OURS = undefined;
    const servers: { implementation: Implementation | undefined; registry: RegistryProcess }[] = [];

    beforeAll(async () => {
      await ceph.createBucket("shared");
      const storage = { filesystem: undefined, s3: s3Section(ceph, "shared"), redirect: { disable: true } };
      for (const implementation of [OURS, "distribution"] as const) {
        servers.push({ implementation, registry: await startRegistry({ config: { storage }, ...(implementation === undefined ? {} : { implementation }) }) });
      }
    });
    afterAll(async () => {
      for (const { registry } of servers) await registry[Symbol.asyncDispose]();
    });

    /** Who begins, and who goes on. */
    function pair(first: Implementation | undefined): { readonly from: RegistryProcess; readonly to: RegistryProcess } {
      const [from, to] = servers.toSorted((a) => (a.implementation === first ? -1 : 1)).map(({ registry }) => registry);
      if (from === undefined || to === undefined) throw new Error("the servers were not started");
      return { from, to };
    }

    const directions = [
      ["ours", "distribution", OURS],
      ["distribution", "ours", "distribution"],
    ] as const;

    test.each(directions)("serves what %s wrote through %s", async (_first, _second, implementation) => {
      const { from, to } = pair(implementation);
      const name = `shared/${implementation ?? "ours"}`;
      const image = await pushImage({ url: from.url, name }, "1", { seed: 1, layers: [seededBytes(23_000_000, 1), seededBytes(1000, 2)] });
      const manifest = await expectStatus(200, `${to.url}/v2/${name}/manifests/1`, { headers: { accept: ACCEPT_ALL } });
      expect(digestOf(await manifest.bytes())).toBe(image.digest);
      for (const { digest } of [image.config, ...image.layers]) expect(digestOf(await (await expectStatus(200, `${to.url}/v2/${name}/blobs/${digest}`)).bytes())).toBe(digest);
      expect(await (await expectStatus(200, `${to.url}/v2/${name}/tags/list`)).json()).toEqual({ name, tags: ["1"] });
    });

    // A last part of less than 5 MiB, one of more, none, and full ones before or not.
    const sizes = [1000, 6 * MIB, 10 * MIB, 20 * MIB, 23 * MIB, 27 * MIB].flatMap((sizeBytes) => directions.map(([first, second, implementation]) => [first, second, sizeBytes, implementation] as const));
    test.each(sizes)("lets %s begin an upload that %s ends, after %d bytes", async (_first, _second, sizeBytes, implementation) => {
      const { from, to } = pair(implementation);
      const repository: Repository = { url: from.url, name: "shared/uploads" };
      const content = seededBytes(sizeBytes + 7 * MIB + 11, sizeBytes + (implementation === undefined ? 0 : 1));
      const digest = digestOf(content);
      const begun = uploadLocation(repository, await expectStatus(202, await startUpload(repository), { method: "PATCH", body: new Blob([content.subarray(0, sizeBytes)]) }));
      const { pathname, search } = new URL(begun);
      const next = await expectStatus(202, `${to.url}${pathname}${search}`, { method: "PATCH", body: new Blob([content.subarray(sizeBytes)]) });
      await expectStatus(201, withQuery(uploadLocation({ url: to.url, name: repository.name }, next), { digest }), { method: "PUT" });
      expect(digestOf(await (await expectStatus(200, `${from.url}/v2/${repository.name}/blobs/${digest}`)).bytes())).toBe(digest);
    });
  });
});
