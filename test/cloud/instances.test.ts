import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { type ContainersTools, containersTools } from "../clients/containers-tools.ts";
import { type Balancer, startBalancer } from "../support/balancer.ts";
import { startCeph } from "../support/ceph.ts";
import { runCommand } from "../support/command.ts";
import { type Dockerd, startDockerd } from "../support/dockerd.ts";
import { ACCEPT_ALL, digestOf, expectStatus, pushBlob, pushImage, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { writeOciLayout } from "../support/images.ts";
import { type RegistryProcess, registryCommand, startRegistry } from "../support/registry-process.ts";
import { s3Client, s3Section, type S3Server } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";

const MIB = 1024 * 1024;
/** What is older when the collector starts, and needed by nobody, is garbage. */
const GRACE_MS = 2000;

describeWith(["ceph", "nginx", "docker", "skopeo", "podman"], "three servers on one bucket, each request to the next of them", () => {
  let ceph: S3Server;
  let balancer: Balancer;
  let dockerd: Dockerd;
  let tools: ContainersTools;
  const registries: RegistryProcess[] = [];

  beforeAll(async () => {
    ceph = await startCeph();
    await ceph.createBucket("shared");
    const config = { storage: { filesystem: undefined, s3: s3Section(ceph, "shared", { chunksize: 5 * MIB }) } };
    for (let index = 0; index < 3; index++) registries.push(await startRegistry({ config }));
    balancer = await startBalancer(registries.map(({ host }) => host));
    dockerd = await startDockerd();
    tools = await containersTools();
  });
  afterAll(async () => {
    await tools[Symbol.asyncDispose]();
    await dockerd[Symbol.asyncDispose]();
    await balancer[Symbol.asyncDispose]();
    for (const registry of registries) await registry[Symbol.asyncDispose]();
    await ceph[Symbol.asyncDispose]();
  });

  async function isStored(digest: string): Promise<boolean> {
    const client = s3Client(ceph);
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: "shared", Prefix: `docker/registry/v2/blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}` }));
    client.destroy();
    return Contents.length > 0;
  }

  /** What was under way at the killed server fails, and not every client tries that again by itself. */
  async function onceMore<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch {
      return await work();
    }
  }

  const blobUrl = (name: string, digest: string): string => `${balancer.url}/v2/${name}/blobs/${digest}`;

  test("an upload in many pieces of every size comes together", async () => {
    const repository = { url: balancer.url, name: "pieces" };
    const content = seededBytes(21 * MIB + 4321, 1);
    const cuts = [0, 1, 1000, 3 * MIB, 8 * MIB, 8 * MIB + 5, 19 * MIB, content.length];
    let location = await startUpload(repository);
    for (const [index, end] of cuts.slice(1).entries()) {
      const response = await expectStatus(202, location, { method: "PATCH", body: new Blob([content.subarray(cuts[index], end)]) });
      expect(response.headers.get("range")).toBe(`0-${end - 1}`);
      location = uploadLocation(repository, response);
      expect((await expectStatus(204, location)).headers.get("range")).toBe(`0-${end - 1}`);
    }
    await expectStatus(201, withQuery(location, { digest: digestOf(content) }), { method: "PUT" });
    expect(digestOf(await (await fetch(blobUrl("pieces", digestOf(content)))).bytes())).toBe(digestOf(content));
  });

  test("what one deletes the others do not serve", async () => {
    const repository = { url: balancer.url, name: "deleted" };
    const image = await pushImage(repository, "latest", { seed: 2 });
    const layer = image.layers[0]?.digest ?? "";
    for (let turn = 0; turn < 3; turn++) expect((await fetch(blobUrl("deleted", layer), { method: "HEAD" })).status).toBe(200);
    await expectStatus(202, `${balancer.url}/v2/deleted/manifests/${image.digest}`, { method: "DELETE" });
    await expectStatus(202, blobUrl("deleted", layer), { method: "DELETE" });
    for (let turn = 0; turn < 3; turn++) {
      await expectStatus(404, `${balancer.url}/v2/deleted/manifests/latest`, { headers: { accept: ACCEPT_ALL } });
      await expectStatus(404, blobUrl("deleted", layer), { method: "HEAD" });
    }
  });

  test("docker, skopeo and podman push while garbage is collected and a server is killed, and lose nothing", async () => {
    const garbage = await pushBlob({ url: balancer.url, name: "garbage" }, "nobody needs this");
    await expectStatus(202, blobUrl("garbage", garbage), { method: "DELETE" });
    await Bun.sleep(GRACE_MS);
    const layout = await writeOciLayout(join(tools.folder, "layout"), { layers: 6, layerBytes: 3_000_000, compression: "none", seed: 3 });
    const docker = `${balancer.host}/clients/docker:1`;
    await dockerd.build(docker, { large: seededBytes(40_000_000, 4), middle: seededBytes(6_000_000, 5), little: "little" });
    const id = await dockerd.docker("image", "inspect", "--format", "{{.Id}}", docker);
    const podmanId = (await tools.podman("pull", "--quiet", `oci:${layout.folder}:${layout.tag}`)).trim();

    const [first, doomed] = registries;
    const pushes = Promise.all([
      onceMore(() => dockerd.docker("push", docker)),
      onceMore(() => tools.skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", `oci:${layout.folder}:${layout.tag}`, `docker://${balancer.host}/clients/skopeo:1`)),
      onceMore(() => tools.podman("push", "--tls-verify=false", podmanId, `${balancer.host}/clients/podman:1`)),
      runCommand([...registryCommand(), "garbage-collect", "--grace", `${GRACE_MS}ms`, first?.configFile ?? ""]),
    ]);
    await Bun.sleep(700);
    await doomed?.child.stop("SIGKILL");
    await pushes;
    expect(await isStored(garbage)).toBe(false);

    await dockerd.docker("image", "rm", docker);
    await dockerd.docker("pull", docker);
    expect(await dockerd.docker("image", "inspect", "--format", "{{.Id}}", docker)).toBe(id);
    await tools.forget();
    for (const name of ["skopeo", "podman"]) await tools.skopeo("copy", "--src-tls-verify=false", `docker://${balancer.host}/clients/${name}:1`, `oci:${join(tools.folder, `${name}-out`)}:1`);
    const { layers } = (await (await expectStatus(200, `${balancer.url}/v2/clients/skopeo/manifests/1`, { headers: { accept: ACCEPT_ALL } })).json()) as { readonly layers: readonly { readonly digest: string }[] };
    expect(layers.map(({ digest }) => digest)).toEqual([...layout.layers]);
  });
});
