import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { digestOf, TYPES } from "../support/http.ts";
import { blobPath, type DiskImage, DiskStore, layerPath, parseOutput, revisionPath, tagPath } from "./disk-store.ts";

const BUILD_CACHE_LAYER = TYPES.dockerLayer;

/** A store with one of everything that the two collectors may see differently, and much that they see alike. */
function furnish(store: DiskStore): Record<"tagged" | "untagged" | "moved" | "amd64" | "arm64" | "nested" | "signature" | "orphanSignature" | "shared", DiskImage> & { readonly orphan: string; readonly cacheLayer: string } {
  const tagged = store.image("team/app", "tagged", { tag: "v1" });
  const untagged = store.image("team/app", "untagged");
  const moved = store.image("team/app", "moved", { tag: "latest" });
  store.tag("team/app", "latest", tagged.digest);
  const [amd64, arm64] = [store.image("multi", "amd64"), store.image("multi", "arm64")];
  store.index("multi", [amd64.descriptor, arm64.descriptor], "all");
  const nested = store.image("nested", "nested");
  const inner = store.index("nested", [nested.descriptor]);
  store.index("nested", [inner], "outer");
  const cacheLayer = store.blob("cache", "cache layer");
  store.index("cache", [{ mediaType: BUILD_CACHE_LAYER, digest: cacheLayer, size: 11 }], "buildcache");
  const signature = store.image("team/app", "signature", { extra: { subject: tagged.descriptor } });
  const orphanSignature = store.image("team/app", "orphan signature", { extra: { subject: untagged.descriptor } });
  const shared = store.image("other", "shared", { tag: "v1", layer: tagged.layer });
  store.write(layerPath("other", tagged.layer), tagged.layer);
  return { tagged, untagged, moved, amd64, arm64, nested, signature, orphanSignature, shared, orphan: store.blob("team/app", "orphan"), cacheLayer };
}

function minus(set: ReadonlySet<string>, other: ReadonlySet<string>): string[] {
  return [...set].filter((item) => !other.has(item)).sort();
}

function sorted(...digests: readonly string[]): string[] {
  return [...digests].sort();
}

describe("beside Debian's docker-registry", () => {
  test("without --delete-untagged both mark the same and find the same eligible", async () => {
    await using store = await DiskStore.make();
    furnish(store);
    const [ours, theirs] = await Promise.all([store.run(["garbage-collect", "--dry-run"]), store.run(["garbage-collect", "--dry-run"], { implementation: "distribution" })]);
    expect(ours.exitCode).toBe(0);
    const [mine, other] = [parseOutput(ours.stdout), parseOutput(theirs.stdout)];
    expect(sorted(...mine.marked)).toEqual(sorted(...other.marked));
    expect(sorted(...mine.eligibleBlobs)).toEqual(sorted(...other.eligibleBlobs));
    expect(mine.counts).toEqual(other.counts);
    expect(mine.eligibleManifests.size).toBe(0);
  });

  test("with --delete-untagged children of indexes and signatures of kept images stay, and nothing else differs", async () => {
    await using store = await DiskStore.make();
    const has = furnish(store);
    const flags = ["garbage-collect", "--dry-run", "--delete-untagged"];
    const [ours, theirs] = await Promise.all([store.run(flags), store.run(flags, { implementation: "distribution" })]);
    const [mine, other] = [parseOutput(ours.stdout), parseOutput(theirs.stdout)];
    const children = [has.amd64, has.arm64, has.nested];
    // Distribution follows one level of an index and marks the children as blobs: what they need goes.
    expect(minus(other.eligibleBlobs, mine.eligibleBlobs)).toEqual(sorted(...children.flatMap((image) => [image.config, image.layer]), has.nested.digest, ...has.signature.all));
    expect(minus(mine.eligibleBlobs, other.eligibleBlobs)).toEqual([]);
    const innerIndex = digestOf(JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociIndex, manifests: [has.nested.descriptor] }));
    expect(minus(other.eligibleManifests, mine.eligibleManifests)).toEqual(sorted(...children.map((image) => image.digest), innerIndex, has.signature.digest));
    expect(sorted(...mine.eligibleManifests)).toEqual(sorted(has.untagged.digest, has.moved.digest, has.orphanSignature.digest));
    expect(minus(mine.marked, other.marked)).toEqual(minus(other.eligibleBlobs, mine.eligibleBlobs));
    expect(minus(other.marked, mine.marked)).toEqual([]);
  });

  test("real runs of both leave the same blobs", async () => {
    await using mine = await DiskStore.make();
    await using other = await DiskStore.make();
    for (const store of [mine, other]) furnish(store);
    expect((await mine.run(["garbage-collect"])).exitCode).toBe(0);
    expect((await other.run(["garbage-collect"], { implementation: "distribution" })).exitCode).toBe(0);
    const blobs = (store: DiskStore): string[] => store.entries().filter((path) => path.endsWith("/data")).map((path) => path.slice(store.folder.length));
    expect(blobs(mine)).toEqual(blobs(other));
  });
});

describe("what is written", () => {
  test("the lines that tools look for, in distribution's order, and nothing else on stdout", async () => {
    await using store = await DiskStore.make();
    const image = store.image("m/a", "1", { tag: "t" });
    const gone = store.image("m/a", "2", { tag: "former" });
    store.tag("m/a", "former", image.digest);
    const { stdout, exitCode } = await store.run(["garbage-collect", "-d", "-m"]);
    expect(exitCode).toBe(0);
    const lines = stdout.split("\n");
    expect(lines.slice(0, 6)).toEqual([
      "m/a",
      `m/a: marking manifest ${image.digest} `,
      ...[image.layer, image.config].map((digest) => `m/a: marking blob ${digest}`),
      `manifest eligible for deletion: {m/a ${gone.digest} [former t]}`,
      "",
    ]);
    expect(lines[6]).toBe("3 blobs marked, 3 blobs and 1 manifests eligible for deletion");
    expect(sorted(...lines.slice(7, 10))).toEqual(sorted(...gone.all.map((digest) => `blob eligible for deletion: ${digest}`)));
    expect(sorted(...lines.slice(10, 12))).toEqual(sorted(...[gone.config, gone.layer].map((digest) => `m/a: layer link eligible for deletion: ${digest}`)));
    expect(lines.slice(12)).toEqual([""]);
  });

  test("--quiet silences stdout, not the log of what is deleted", async () => {
    await using store = await DiskStore.make();
    store.image("a", "1", { tag: "t" });
    const orphan = store.blob("a", "orphan");
    const { stdout, stderr, exitCode } = await store.run(["garbage-collect", "--quiet"]);
    expect({ stdout, exitCode }).toEqual({ stdout: "", exitCode: 0 });
    expect(stderr).toContain(`Deleting blob: /docker/registry/v2/${blobPath(orphan).slice(0, -"/data".length)}`);
    expect(stderr).toContain(`Deleting layer link path: /docker/registry/v2/${layerPath("a", orphan)}`);
    expect(store.hasBytes(orphan)).toBe(false);
  });

  test("--json gives one document", async () => {
    await using store = await DiskStore.make();
    store.image("a", "1", { tag: "t" });
    const untagged = store.image("a", "22");
    const { stdout } = await store.run(["garbage-collect", "--json", "--delete-untagged"]);
    const bytes = "config 22".length + "layer 22".length + untagged.descriptor.size;
    expect(JSON.parse(stdout)).toMatchObject({
      markedBlobs: 3,
      eligibleBlobs: 3,
      eligibleBytes: bytes,
      eligibleManifests: 1,
      deletedBlobs: 3,
      deletedManifests: 1,
      deletedLinks: 3,
      freedBytes: bytes,
      rescued: 0,
      doubts: [],
      purgedUploads: 0,
    });
  });

  test("nothing changes on disk in a dry run", async () => {
    await using store = await DiskStore.make();
    furnish(store);
    store.write("repositories/multi/_uploads/0d1e2f3a-0000-4000-8000-000000000001/startedat", "2015-01-01T00:00:00Z");
    store.makeFolder("repositories/empty/_layers/sha256");
    const before = store.entries();
    const { stdout } = await store.run(["garbage-collect", "--dry-run", "--delete-untagged", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ deletedBlobs: 0, purgedUploads: 1 });
    expect(store.entries()).toEqual(before);
  });

  test("a second run finds nothing more", async () => {
    await using store = await DiskStore.make();
    furnish(store);
    await store.run(["garbage-collect", "--delete-untagged"]);
    const left = store.entries();
    expect(JSON.parse((await store.run(["garbage-collect", "--delete-untagged", "--json"])).stdout)).toMatchObject({ eligibleBlobs: 0, eligibleManifests: 0, deletedLinks: 0 });
    expect(store.entries()).toEqual(left);
  });
});

describe("when it fails", () => {
  const cases: [string, (store: DiskStore) => string][] = [
    ["an empty revision link", (store) => written(store, revisionPath("doubt", digestOf("x")), "")],
    ["a revision link with a newline", (store) => written(store, revisionPath("doubt", digestOf("x")), `${digestOf("x")}\n`)],
    ["a revision link that is a folder", (store) => folder(store, revisionPath("doubt", digestOf("x")))],
    ["an empty tag link", (store) => written(store, tagPath("doubt", "t"), "")],
    ["a tag link with other text", (store) => written(store, tagPath("doubt", "t"), "latest")],
    ["a manifest that does not hash", (store) => written(store, blobPath(store.image("doubt", "1", { tag: "t" }).digest), "{}")],
    ["a manifest that is no JSON", (store) => linked(store, "no JSON")],
    ["a manifest of an unknown type", (store) => linked(store, JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.future+json", config: {} }))],
    ["a manifest of an unknown schema", (store) => linked(store, JSON.stringify({ schemaVersion: 3, mediaType: TYPES.ociManifest }))],
    ["an index child without a digest", (store) => linked(store, JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociIndex, manifests: [{ digest: "latest" }] }))],
    ["a repository under a name that none can have", (store) => {
      store.image("Doubt", "1", { tag: "t" });
      return "repositories/Doubt";
    }],
  ];
  for (const [what, make] of cases) {
    test(`${what}: names the path, deletes nothing, status 1; --keep-going collects around it`, async () => {
      await using store = await DiskStore.make();
      store.image("fine", "fine", { tag: "t" });
      const orphan = store.blob("fine", "orphan");
      const path = make(store);
      const before = store.entries();
      for (const flags of [[], ["--dry-run"], ["--json"]]) {
        const result = await store.run(["garbage-collect", "--delete-untagged", ...flags]);
        expect(result.exitCode).toBe(1);
        expect(result.stderr).toContain(`/docker/registry/v2/${path}: `);
        expect(store.entries()).toEqual(before);
      }
      const around = await store.run(["garbage-collect", "--delete-untagged", "--keep-going"]);
      expect(around.exitCode).toBe(1);
      expect(around.stderr).toContain(`/docker/registry/v2/${path}: `);
      expect(store.hasBytes(orphan)).toBe(false);
      const left = new Set(store.entries());
      expect(before.filter((entry) => !left.has(entry) && entry.toLowerCase().includes("/doubt/"))).toEqual([]);
    });
  }

  test("a store without repositories is named, as distribution does", async () => {
    await using store = await DiskStore.make();
    for (const implementation of [undefined, "distribution"] as const) {
      const result = await store.run(["garbage-collect"], implementation === undefined ? {} : { implementation });
      expect(result.exitCode).toBe(1);
      expect(result.stderr).toContain("failed to garbage collect: failed to mark: filesystem: Path not found: /docker/registry/v2/repositories");
    }
  });

  test("blobs without repositories stay", async () => {
    await using store = await DiskStore.make();
    const bytes = store.bytes("precious");
    const result = await store.run(["garbage-collect", "--keep-going"]);
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain("/docker/registry/v2/repositories: the folder is missing");
    expect(store.hasBytes(bytes)).toBe(true);
  });

  test("another collection under way is not disturbed", async () => {
    await using store = await DiskStore.make();
    store.image("a", "1", { tag: "t" });
    const orphan = store.blob("a", "orphan");
    store.write("_gc/state", JSON.stringify({ run: "other", heartbeatAt: Date.now(), condemned: 0, claimed: 0, swept: 0 }));
    const result = await store.run(["garbage-collect"]);
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain("another collection is under way: run other");
    expect(store.hasBytes(orphan)).toBe(true);
    expect(store.has("_gc/state")).toBe(true);
  });

  test("a bad --grace, a bad configuration", async () => {
    await using store = await DiskStore.make();
    const grace = await store.run(["garbage-collect", "--grace", "soon"]);
    expect([grace.exitCode, grace.stderr.includes('--grace: found "soon"')]).toEqual([1, true]);
    const config = await store.run(["garbage-collect"], { config: "/nonexistent/config.yml" });
    expect([config.exitCode, config.stderr.includes("/nonexistent/config.yml")]).toEqual([1, true]);
    expect(existsSync(store.path("_gc"))).toBe(false);
  });
});

function written(store: DiskStore, path: string, content: string): string {
  store.write(path, content);
  return path;
}

function folder(store: DiskStore, path: string): string {
  store.makeFolder(path);
  return path;
}

/** Stores text as a tagged manifest. @returns The path of its bytes. */
function linked(store: DiskStore, text: string): string {
  const digest = store.bytes(text);
  store.write(revisionPath("doubt", digest), digest);
  store.tag("doubt", "t", digest);
  return blobPath(digest);
}
