import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type ContainersTools, containersTools } from "../clients/containers-tools.ts";
import { runCommand } from "../support/command.ts";
import { type Dockerd, startDockerd } from "../support/dockerd.ts";
import { ACCEPT_ALL, digestOf, expectStatus, pushBlob, pushImage, type Repository, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { writeOciLayout } from "../support/images.ts";
import { type ConfigSection, type RegistryProcess, registryCommand, startRegistry } from "../support/registry-process.ts";
import { isSkipped } from "../support/services.ts";

/** A store that a suite has opened. */
export interface StoreUnderTest extends AsyncDisposable {
  /** The section of the driver in `storage`, like `{ s3: { … } }`, for an empty bucket that all its registries share. */
  readonly storage: ConfigSection;
  /** Names of the objects in the bucket that contain a text. */
  objects(part: string): Promise<readonly string[]>;
}

const MIB = 1024 * 1024;
const NO_DIGEST = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/**
 * What a registry has to do on an object store, as tests: two servers on one bucket, the first of which sends clients to the store's
 * URLs, while the second streams.
 */
export function registryOnStore(title: string, open: () => Promise<StoreUnderTest>): void {
  describe(title, () => {
    let store: StoreUnderTest;
    let redirecting: RegistryProcess;
    let streaming: RegistryProcess;

    const start = (storage: ConfigSection = {}): Promise<RegistryProcess> =>
      startRegistry({ config: { storage: { filesystem: undefined, ...store.storage, maintenance: { garbagecollect: { grace: "0s" } }, ...storage } } });

    beforeAll(async () => {
      store = await open();
      redirecting = await start();
      streaming = await start({ redirect: { disable: true } });
    });

    afterAll(async () => {
      await redirecting[Symbol.asyncDispose]();
      await streaming[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    });

    const at = (registry: RegistryProcess, name: string): Repository => ({ url: registry.url, name });
    const blobUrl = ({ url, name }: Repository, digest: string): string => `${url}/v2/${name}/blobs/${digest}`;

    /** The same upload, asked of another server. */
    const elsewhere = (location: string, registry: RegistryProcess): string => {
      const { pathname, search } = new URL(location);
      return `${registry.url}${pathname}${search}`;
    };

    async function pulled(repository: Repository, digest: string): Promise<string> {
      const response = await fetch(blobUrl(repository, digest));
      expect(response.status).toBe(200);
      const hash = new Bun.CryptoHasher("sha256");
      for await (const chunk of response.body ?? []) hash.update(chunk);
      return `sha256:${hash.digest("hex")}`;
    }

    describe.skipIf(isSkipped("docker"))("docker", () => {
      let dockerd: Dockerd;
      beforeAll(async () => {
        dockerd = await startDockerd();
      });
      afterAll(async () => await dockerd[Symbol.asyncDispose]());

      test("pushes an image to one server and pulls it from both", async () => {
        const image = (registry: RegistryProcess): string => `${registry.host}/cloud/docker:1`;
        // A layer of more than one part, one of less, and one of next to nothing.
        await dockerd.build(image(redirecting), { large: seededBytes(23_000_000, 1), middle: seededBytes(3_000_000, 2), little: "a little" });
        const id = await dockerd.docker("image", "inspect", "--format", "{{.Id}}", image(redirecting));
        await dockerd.docker("push", image(redirecting));
        await dockerd.docker("image", "rm", image(redirecting));
        for (const registry of [streaming, redirecting]) {
          await dockerd.docker("pull", image(registry));
          expect(await dockerd.docker("image", "inspect", "--format", "{{.Id}}", image(registry))).toBe(id);
          await dockerd.docker("image", "rm", image(registry));
        }
      });
    });

    describe.skipIf(isSkipped("skopeo"))("skopeo", () => {
      let tools: ContainersTools;
      beforeAll(async () => {
        tools = await containersTools();
      });
      afterAll(async () => await tools[Symbol.asyncDispose]());

      test("copies an index with its images in, across and out, byte for byte", async () => {
        const layout = await writeOciLayout(join(tools.folder, "in"), { architectures: ["amd64", "arm64"], layerBytes: 200_000, seed: 3 });
        const copy = (from: string, to: string): Promise<string> => tools.skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", from, to);
        const remote = (registry: RegistryProcess, name: string): string => `docker://${registry.host}/cloud/${name}:1`;
        await copy(`oci:${layout.folder}:${layout.tag}`, remote(streaming, "skopeo"));
        await copy(remote(redirecting, "skopeo"), remote(streaming, "skopeo-copy"));
        await copy(remote(redirecting, "skopeo-copy"), `oci:${join(tools.folder, "out")}:latest`);
        const index = (await Bun.file(join(tools.folder, "out/index.json")).json()) as { readonly manifests: readonly { readonly digest: string }[] };
        expect(index.manifests[0]?.digest).toBe(layout.digest);
      });
    });

    test("an upload in chunks of 1 MiB goes on with every request at the other server", async () => {
      const content = seededBytes(12 * MIB + 345_678, 4);
      const digest = digestOf(content);
      const servers = [redirecting, streaming];
      let location = await startUpload(at(redirecting, "cloud/chunks"));
      for (let offset = 0, turn = 1; offset < content.length; offset += MIB, turn++) {
        const registry = servers[turn % 2] ?? redirecting;
        const chunk = content.subarray(offset, offset + MIB);
        const range = `${offset}-${offset + chunk.length - 1}`;
        const response = await expectStatus(202, elsewhere(location, registry), { method: "PATCH", body: new Blob([chunk]), headers: { "content-range": range, "content-type": "application/octet-stream" } });
        expect(response.headers.get("range")).toBe(`0-${offset + chunk.length - 1}`);
        location = uploadLocation(at(registry, ""), response);
      }
      await expectStatus(201, withQuery(elsewhere(location, redirecting), { digest }), { method: "PUT" });
      expect(await pulled(at(streaming, "cloud/chunks"), digest)).toBe(digest);
      expect(await store.objects("_uploads/")).toEqual([]);
    });

    test("a server that is killed while it receives loses no more than what is on its way", async () => {
      const content = seededBytes(30 * MIB, 5);
      const digest = digestOf(content);
      const doomed = await start();
      const repository = at(doomed, "cloud/killed");
      const location = await startUpload(repository);
      const half = content.subarray(0, 15 * MIB + 1);
      const next = uploadLocation(repository, await expectStatus(202, location, { method: "PATCH", body: new Blob([half]) }));
      // Without an end: the client is still sending when the server dies.
      const body = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(content.subarray(half.length, 29 * MIB)) });
      const sending = fetch(next, { method: "PATCH", body, duplex: "half" } as RequestInit).catch(() => undefined);
      await Bun.sleep(300);
      await doomed.child.stop("SIGKILL");
      await doomed[Symbol.asyncDispose]();
      await sending;

      const status = await expectStatus(204, elsewhere(next, streaming));
      const sizeBytes = Number(/^0-(\d+)$/.exec(status.headers.get("range") ?? "")?.[1]) + 1;
      expect(sizeBytes).toBeGreaterThanOrEqual(half.length);
      const rest = await expectStatus(202, elsewhere(uploadLocation(repository, status), streaming), { method: "PATCH", body: new Blob([content.subarray(sizeBytes)]) });
      await expectStatus(201, withQuery(elsewhere(uploadLocation(repository, rest), redirecting), { digest }), { method: "PUT" });
      expect(await pulled(at(streaming, "cloud/killed"), digest)).toBe(digest);
    });

    test("a blob of 64 MiB comes and goes whole", async () => {
      const content = seededBytes(64 * MIB, 6);
      const digest = digestOf(content);
      const repository = at(redirecting, "cloud/large");
      const patched = await expectStatus(202, await startUpload(repository), { method: "PATCH", body: new Blob([content]) });
      await expectStatus(201, withQuery(uploadLocation(repository, patched), { digest }), { method: "PUT" });
      expect(await pulled(repository, digest)).toBe(digest);
      expect(await pulled(at(streaming, "cloud/large"), digest)).toBe(digest);
    });

    test("a blob in a single request appears only when it is whole and right", async () => {
      const repository = at(streaming, "cloud/single");
      const content = seededBytes(11 * MIB, 7);
      const url = (digest: string): string => `${repository.url}/v2/${repository.name}/blobs/uploads/?digest=${digest}`;
      const init = { method: "POST", body: new Blob([content]), headers: { "content-type": "application/octet-stream" } };
      await expectStatus(400, url(NO_DIGEST), init);
      await expectStatus(404, blobUrl(repository, NO_DIGEST), { method: "HEAD" });
      await expectStatus(201, url(digestOf(content)), init);
      expect(await pulled(repository, digestOf(content))).toBe(digestOf(content));
    });

    test("blobs are fetched from the store, by GET and by HEAD", async () => {
      const content = seededBytes(100_000, 8);
      const repository = at(redirecting, "cloud/redirect");
      const digest = await pushBlob(repository, content);
      for (const method of ["GET", "HEAD"]) {
        const response = await expectStatus(307, blobUrl(repository, digest), { method });
        const url = response.headers.get("location") ?? "";
        expect(new URL(url).host).not.toBe(redirecting.host);
        const direct = await expectStatus(200, url, { method });
        expect(direct.headers.get("content-length")).toBe(String(content.length));
        expect(digestOf(await direct.bytes())).toBe(method === "GET" ? digest : digestOf(""));
      }
      const part = await fetch(blobUrl(repository, digest), { headers: { range: "bytes=10-19" } });
      expect([part.status, await part.bytes()]).toEqual([206, content.subarray(10, 20)]);
    });

    test("blobs are streamed, whole and in ranges, where redirects are off", async () => {
      const content = seededBytes(3_000_000, 9);
      const repository = at(streaming, "cloud/ranges");
      const digest = await pushBlob(repository, content);
      const head = await expectStatus(200, blobUrl(repository, digest), { method: "HEAD" });
      expect([head.headers.get("content-length"), head.headers.get("docker-content-digest")]).toEqual([String(content.length), digest]);
      for (const [range, from, to] of [["bytes=0-0", 0, 1], ["bytes=1000000-1999999", 1_000_000, 2_000_000], ["bytes=2999990-", 2_999_990, 3_000_000], ["bytes=-5", 2_999_995, 3_000_000]] as const) {
        const response = await expectStatus(206, blobUrl(repository, digest), { headers: { range } });
        expect(response.headers.get("content-range")).toBe(`bytes ${from}-${to - 1}/${content.length}`);
        expect(Buffer.compare(await response.bytes(), content.subarray(from, to))).toBe(0);
      }
      await expectStatus(416, blobUrl(repository, digest), { headers: { range: "bytes=3000000-" } });
    });

    test("tags and repositories are listed in order and in pages", async () => {
      for (const name of ["cloud/list", "cloud/list-a", "cloud/list/below"]) await pushImage(at(redirecting, name), "only", { seed: 10 });
      const tags = ["1", "1.0", "a", "latest", "z"];
      for (const tag of tags) await pushImage(at(redirecting, "cloud/list"), tag, { seed: 10 });
      const list = async (path: string): Promise<Record<string, unknown>> => (await (await expectStatus(200, `${streaming.url}/v2/${path}`)).json()) as Record<string, unknown>;
      expect((await list("cloud/list/tags/list"))["tags"]).toEqual([...tags, "only"].sort());
      expect((await list("cloud/list/tags/list?n=2&last=1.0"))["tags"]).toEqual(["a", "latest"]);
      const names = ((await list("_catalog"))["repositories"] as string[]).filter((name) => name.startsWith("cloud/list"));
      expect(names).toEqual(["cloud/list", "cloud/list/below", "cloud/list-a"]);
      expect((await list("_catalog?n=1&last=cloud/list"))["repositories"]).toEqual(names.slice(1, 2));
    });

    test("what is deleted and collected is gone, at every server, and can be pushed again", async () => {
      const repository = at(redirecting, "cloud/collected");
      const kept = await pushImage(repository, "kept", { seed: 11 });
      const doomed = await pushImage(repository, "doomed", { seed: 12 });
      const layer = doomed.layers[0]?.digest ?? "";
      await pulled(at(streaming, "cloud/collected"), layer);
      await expectStatus(202, `${redirecting.url}/v2/${repository.name}/manifests/${doomed.digest}`, { method: "DELETE" });
      await runCommand([...registryCommand(), "garbage-collect", redirecting.configFile]);
      for (const registry of [redirecting, streaming]) {
        await expectStatus(404, `${registry.url}/v2/${repository.name}/manifests/${doomed.digest}`, { headers: { accept: ACCEPT_ALL } });
        await expectStatus(404, blobUrl(at(registry, repository.name), layer));
        for (const { digest } of [...kept.layers, kept.config]) expect(await pulled(at(registry, repository.name), digest)).toBe(digest);
      }
      expect(await store.objects(layer.slice("sha256:".length))).toEqual([]);
      expect((await pushImage(repository, "doomed", { seed: 12 })).digest).toBe(doomed.digest);
      expect(await pulled(at(streaming, repository.name), layer)).toBe(layer);
    });
  });
}
