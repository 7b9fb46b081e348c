import { describe, expect, test } from "bun:test";
import { truncateSync } from "node:fs";
import { startChild } from "../support/child.ts";
import { digestOf, expectStatus, pushBlob, seededBytes, TYPES } from "../support/http.ts";
import { registryCommand, startRegistry } from "../support/registry-process.ts";
import { blobPath, DiskStore, hexPath, layerPath, revisionPath, tagPath } from "./disk-store.ts";

const ROOT = "/docker/registry/v2";

/** Runs `registry verify`. @returns Status and lines. */
async function verify(store: DiskStore, ...flags: readonly string[]): Promise<{ readonly exitCode: number; readonly lines: readonly string[]; readonly total: string; readonly stderr: string }> {
  const { exitCode, stdout, stderr } = await store.run(["verify", ...flags]);
  const lines = stdout.trimEnd().split("\n");
  return { exitCode, lines: lines.slice(0, -1), total: lines.at(-1) ?? "", stderr };
}

describe("registry verify", () => {
  test("of a store without fault says so, status 0", async () => {
    await using store = await DiskStore.make();
    const child = store.image("a", "child");
    store.index("a", [child.descriptor], "all");
    store.index("a", [{ mediaType: TYPES.dockerLayer, digest: store.blob("a", "cached"), size: 6 }], "buildcache");
    const result = await verify(store);
    expect(result).toMatchObject({ exitCode: 0, lines: [] });
    expect(result.total).toMatch(/^6 blobs with \d+ bytes in 1 repositories: 0 findings, 0 repaired$/);
  });

  test("names what is corrupt, missing, dangling, broken, of a wrong size or unreadable; changes nothing; status 1", async () => {
    await using store = await DiskStore.make();
    const corrupt = store.image("corrupt", "corrupt", { tag: "t" });
    store.write(blobPath(corrupt.layer), "layer CORRUPT");
    const hole = store.image("hole", "hole", { tag: "t" });
    store.remove(blobPath(hole.layer));
    store.write(layerPath("dangling", digestOf("nothing")), digestOf("nothing"));
    store.tag("dangling", "t", digestOf("no manifest"));
    const broken = store.image("broken", "broken", { tag: "t" });
    store.write(layerPath("broken", broken.config), "");
    const descriptor = { mediaType: TYPES.ociConfig, digest: store.blob("size", "twelve bytes"), size: 11 };
    store.manifest("size", { mediaType: TYPES.ociManifest, config: descriptor, layers: [] }, "t");
    const future = store.manifest("future", { mediaType: "application/vnd.future+json" }, "t");
    const before = store.entries();
    const { exitCode, lines, total } = await verify(store);
    expect(exitCode).toBe(1);
    expect(lines.map((line) => line.split(": ").slice(0, 2).join(": ")).sort()).toEqual(
      [
        `corrupt: ${ROOT}/${blobPath(corrupt.layer)}`,
        `dangling: ${ROOT}/${layerPath("hole", hole.layer)}`,
        `missing: ${ROOT}/${blobPath(hole.layer)}`,
        `dangling: ${ROOT}/${layerPath("dangling", digestOf("nothing"))}`,
        `dangling: ${ROOT}/${tagPath("dangling", "t")}`,
        `broken-link: ${ROOT}/${layerPath("broken", broken.config)}`,
        `wrong-size: ${ROOT}/${blobPath(descriptor.digest)}`,
        `unreadable: ${ROOT}/${blobPath(future.digest)}`,
      ].sort(),
    );
    expect(total).toContain("8 findings, 0 repaired");
    expect(store.entries()).toEqual(before);
  });

  test("--repair moves corrupt blobs aside, and a push heals them, beside a server", async () => {
    await using store = await DiskStore.make();
    const content = seededBytes(1000);
    const layer = digestOf(content);
    store.write(blobPath(layer), content);
    store.write(layerPath("a", layer), layer);
    const image = store.image("a", "1", { tag: "t", layer });
    await using registry = await startRegistry({ storageFolder: store.folder });
    const url = `${registry.url}/v2/a/blobs/${layer}`;
    expect(digestOf(await (await expectStatus(200, url)).bytes())).toBe(layer);
    store.write(blobPath(layer), seededBytes(1000, 2));
    const { exitCode, lines } = await verify(store, "--repair");
    // The blob is out of the way, but the image lacks it: that is left.
    expect(exitCode).toBe(1);
    expect(lines[0]).toContain(`corrupt: ${ROOT}/${blobPath(layer)}: the bytes hash to ${digestOf(seededBytes(1000, 2))} (moved to ${ROOT}/_corrupt; a new push of the blob heals it)`);
    expect(store.has(`_corrupt/${hexPath(layer)}/data`)).toBe(true);
    await expectStatus(404, url, { method: "HEAD" });
    await pushBlob({ url: registry.url, name: "a" }, content);
    expect(digestOf(await (await expectStatus(200, url)).bytes())).toBe(layer);
    expect(await verify(store)).toMatchObject({ exitCode: 0, lines: [] });
    expect(store.hasBytes(image.digest)).toBe(true);
  });

  test("--repair writes links that can be derived: then nothing is left, and everything is served", async () => {
    await using store = await DiskStore.make();
    const layers = store.image("layers", "layers", { tag: "t" });
    store.write(layerPath("layers", layers.layer), "");
    store.remove(layerPath("layers", layers.config));
    const child = store.image("child", "child");
    store.index("child", [child.descriptor], "all");
    // As distribution 2.8 leaves them: the child's link is gone, and so are those of what it needs.
    for (const path of [revisionPath("child", child.digest), layerPath("child", child.layer)]) store.remove(path);
    const tagged = store.image("tagged", "tagged", { tag: "t" });
    store.remove(revisionPath("tagged", tagged.digest));
    const empty = store.image("empty", "empty", { tag: "t" });
    store.write(revisionPath("empty", empty.digest), "");
    store.image("history", "history", { tag: "t" });
    store.remove("repositories/history/_manifests/tags/t/index");
    store.image("current", "current", { tag: "t" });
    store.write(tagPath("current", "t"), "");
    const subject = store.image("referrer", "subject", { tag: "t" });
    store.image("referrer", "signature", { extra: { subject: subject.descriptor } });
    const first = await verify(store, "--repair");
    expect(first.exitCode).toBe(0);
    expect(first.lines.filter((line) => !line.endsWith("(the link was written anew)"))).toEqual([]);
    expect(await verify(store)).toMatchObject({ exitCode: 0, lines: [] });
    await using registry = await startRegistry({ storageFolder: store.folder });
    const accept = { headers: { accept: Object.values(TYPES).join(", ") } };
    for (const name of ["layers", "tagged", "empty", "history", "current"]) await expectStatus(200, `${registry.url}/v2/${name}/manifests/t`, accept);
    for (const path of [`child/manifests/${child.digest}`, `child/blobs/${child.layer}`, `layers/blobs/${layers.layer}`, `layers/blobs/${layers.config}`]) await expectStatus(200, `${registry.url}/v2/${path}`, accept);
    const { manifests } = (await (await expectStatus(200, `${registry.url}/v2/referrer/referrers/${subject.digest}`)).json()) as { manifests: unknown[] };
    expect(manifests.length).toBe(1);
  });

  test("--repair does not invent: what cannot be derived stays, status 1", async () => {
    await using store = await DiskStore.make();
    store.image("a", "1", { tag: "t" });
    store.image("a", "2", { tag: "t" });
    store.write(tagPath("a", "t"), "");
    expect((await verify(store, "--repair")).exitCode).toBe(1);
    expect(await Bun.file(store.path(tagPath("a", "t"))).text()).toBe("");
  });

  test("--resume goes on where an interrupted run stopped, and does not forget what that one found", async () => {
    await using store = await DiskStore.make();
    const digests = Array.from({ length: 40 }, (_, index) => store.blob("a", `blob ${index}`)).sort();
    const first = digests[0] ?? "";
    store.write(blobPath(first), "CORRUPT");
    // So large (and without a block on disk) that the signal comes while it is hashed.
    const slow = digests[20] ?? "";
    truncateSync(store.path(blobPath(slow)), 16 * 1024 ** 3);
    await using child = startChild([...registryCommand(), "verify", store.config()]);
    await child.waitForOutput(/corrupt: .*\n/);
    const status = await child.stop("SIGINT");
    expect(child.output()).toContain("interrupted; '--resume' goes on from here");
    expect(status).toBe(130);
    expect(child.output()).toContain(`corrupt: ${ROOT}/${blobPath(first)}`);
    expect(store.has("_verify/progress")).toBe(true);
    store.bytes(`blob ${Array.from({ length: 40 }, (_, index) => index).find((index) => digestOf(`blob ${index}`) === slow) ?? ""}`);
    const { exitCode, lines, total } = await verify(store, "--resume");
    expect([exitCode, lines]).toEqual([1, []]);
    expect(total).toMatch(/^40 blobs .* 1 findings, 0 repaired$/);
    expect(store.has("_verify/progress")).toBe(false);
  });
});
