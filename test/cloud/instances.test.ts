import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { type ContainersTools, containersTools } from "../clients/containers-tools.ts";
import { type Balancer, startBalancer } from "../support/balancer.ts";
import { startCeph } from "../support/ceph.ts";
import { runCommand } from "../support/command.ts";
import { type Dockerd, startDockerd } from "../support/dockerd.ts";
import { ACCEPT_ALL, digestOf, expectStatus, type PushedImage, pushBlob, pushImage, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { writeOciLayout } from "../support/images.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { type RegistryProcess, registryCommand, startRegistry } from "../support/registry-process.ts";
import { s3Client, s3Section, type S3Server } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";

const MIB = 1024 * 1024;
/** What is older when the collector starts, and needed by nobody, is garbage. */
const GRACE_MS = 2000;

describeWith(["ceph", "redis", "nginx", "docker", "skopeo", "podman"], "three servers on one bucket and one Redis, each request to the next of them", () => {
  let ceph: S3Server;
  let redis: TestRedis;
  let balancer: Balancer;
  let dockerd: Dockerd;
  let tools: ContainersTools;
  const registries: RegistryProcess[] = [];

  beforeAll(async () => {
    ceph = await startCeph();
    await ceph.createBucket("shared");
    redis = await startRedis();
    const config = {
      storage: { filesystem: undefined, s3: s3Section(ceph, "shared", { chunksize: 5 * MIB }), cache: { blobdescriptor: "redis" } },
      redis: { addrs: [redis.address], readtimeout: "500ms", writetimeout: "500ms" },
    };
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
    await redis[Symbol.asyncDispose]();
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

  /** Whatever Redis says, no server takes a collected image's layer for one that it has; and the image can be pushed again. */
  async function isGone({ layers: [layer], bytes, mediaType, digest }: PushedImage, servers: readonly RegistryProcess[]): Promise<void> {
    if (layer === undefined) throw new Error("the image has no layer");
    await redis.cli("hset", `blobs::${layer.digest}`, "digest", layer.digest, "size", String(layer.size), "mediatype", "application/octet-stream");
    for (const { url } of servers) {
      await expectStatus(404, `${url}/v2/condemned/blobs/${layer.digest}`, { method: "HEAD" });
      await expectStatus(404, `${url}/v2/condemned/blobs/${layer.digest}`);
      // No mount: the bytes have to come.
      await expectStatus(202, `${url}/v2/elsewhere/blobs/uploads/?mount=${layer.digest}&from=condemned`, { method: "POST" });
      await expectStatus(400, `${url}/v2/condemned/manifests/1`, { method: "PUT", body: new Blob([bytes]), headers: { "content-type": mediaType } });
    }
    expect((await pushImage({ url: balancer.url, name: "condemned" }, "1", { seed: 6 })).digest).toBe(digest);
    for (const { url } of servers) expect(digestOf(await (await fetch(`${url}/v2/condemned/blobs/${layer.digest}`)).bytes())).toBe(layer.digest);
  }

  const blobUrl = (name: string, digest: string): string => `${balancer.url}/v2/${name}/blobs/${digest}`;
  const rememberedSize = (digest: string): Promise<string> => redis.cli("hget", `blobs::${digest}`, "size");

  /** Pushes a blob, and finds it at every server. @returns Its digest. */
  async function pushAndPull(name: string, content: Uint8Array): Promise<string> {
    const digest = await pushBlob({ url: balancer.url, name }, content);
    for (let turn = 0; turn < 3; turn++) {
      const head = await fetch(blobUrl(name, digest), { method: "HEAD" });
      expect([head.status, head.headers.get("content-length")]).toEqual([200, String(content.length)]);
      expect(digestOf(await (await fetch(blobUrl(name, digest))).bytes())).toBe(digest);
    }
    return digest;
  }

  /** Pushes blobs until Redis is told of one: servers look for it in the background. */
  async function untilRemembered(name: string): Promise<void> {
    const deadline = Date.now() + 30_000;
    for (let seed = 100; (await rememberedSize(await pushAndPull(name, seededBytes(1000, seed)))) !== "1000"; seed++) {
      if (Date.now() > deadline) throw new Error("Redis is told of no blob");
    }
  }

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
    await untilRemembered("deleted");
    for (let turn = 0; turn < 3; turn++) expect((await fetch(blobUrl("deleted", layer), { method: "HEAD" })).status).toBe(200);
    expect(await rememberedSize(layer)).toBe(String(image.layers[0]?.size));
    await expectStatus(202, `${balancer.url}/v2/deleted/manifests/${image.digest}`, { method: "DELETE" });
    await expectStatus(202, blobUrl("deleted", layer), { method: "DELETE" });
    for (let turn = 0; turn < 3; turn++) {
      await expectStatus(404, `${balancer.url}/v2/deleted/manifests/latest`, { headers: { accept: ACCEPT_ALL } });
      await expectStatus(404, blobUrl("deleted", layer), { method: "HEAD" });
    }
  });

  test("requests go on while Redis hangs, is gone and is back, also those of an upload that is under way", async () => {
    const repository = { url: balancer.url, name: "without-redis" };
    const content = seededBytes(9 * MIB, 10);
    await untilRemembered(repository.name);
    const goOn = async (location: string, from: number, to: number): Promise<string> =>
      uploadLocation(repository, await expectStatus(202, location, { method: "PATCH", body: new Blob([content.subarray(from, to)]) }));

    let location = await goOn(await startUpload(repository), 0, 3 * MIB);
    redis.signal("SIGSTOP");
    location = await goOn(location, 3 * MIB, 4 * MIB);
    await pushAndPull(repository.name, seededBytes(100_000, 11));
    redis.signal("SIGCONT");
    await redis.kill();
    location = await goOn(location, 4 * MIB, content.length);
    await pushAndPull(repository.name, seededBytes(100_000, 12));
    await redis.restart();
    await expectStatus(201, withQuery(location, { digest: digestOf(content) }), { method: "PUT" });
    expect(digestOf(await (await fetch(blobUrl(repository.name, digestOf(content)))).bytes())).toBe(digestOf(content));
    await untilRemembered(repository.name);
  });

  test("docker, skopeo and podman push while garbage is collected and a server is killed, and lose nothing", async () => {
    const garbage = await pushBlob({ url: balancer.url, name: "garbage" }, "nobody needs this");
    await expectStatus(202, blobUrl("garbage", garbage), { method: "DELETE" });
    const condemned = await pushImage({ url: balancer.url, name: "condemned" }, "1", { seed: 6 });
    const layer = condemned.layers[0]?.digest ?? "";
    for (const { url } of registries) expect((await fetch(`${url}/v2/condemned/blobs/${layer}`, { method: "HEAD" })).status).toBe(200);
    // Its layer stays linked in the repository, until it is collected.
    await expectStatus(202, `${balancer.url}/v2/condemned/manifests/${condemned.digest}`, { method: "DELETE" });
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
    expect([await isStored(garbage), await isStored(layer)]).toEqual([false, false]);
    await isGone(condemned, registries.filter((registry) => registry !== doomed));

    await dockerd.docker("image", "rm", docker);
    await dockerd.docker("pull", docker);
    expect(await dockerd.docker("image", "inspect", "--format", "{{.Id}}", docker)).toBe(id);
    await tools.forget();
    expect((await tools.podman("pull", "--quiet", "--tls-verify=false", `${balancer.host}/clients/podman:1`)).trim()).toBe(podmanId);
    for (const name of ["skopeo", "podman"]) await tools.skopeo("copy", "--src-tls-verify=false", `docker://${balancer.host}/clients/${name}:1`, `oci:${join(tools.folder, `${name}-out`)}:1`);
    const { layers } = (await (await expectStatus(200, `${balancer.url}/v2/clients/skopeo/manifests/1`, { headers: { accept: ACCEPT_ALL } })).json()) as { readonly layers: readonly { readonly digest: string }[] };
    expect(layers.map(({ digest }) => digest)).toEqual([...layout.layers]);
  }, 200_000);
});
