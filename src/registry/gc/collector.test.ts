import { describe, expect, test } from "bun:test";
import { type Clock, SYSTEM_CLOCK } from "../../lib/clock.ts";
import { type Digest, digestOf } from "../../oci/digest.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import { parseName, parseTag, type RepositoryName } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { openInMemoryDriver } from "../../storage/inmemory/driver.ts";
import { parentPath } from "../../storage/paths.ts";
import { SILENT_LOGGER } from "../../telemetry/log.ts";
import { PathNotFoundError } from "../../storage/errors.ts";
import { blobData, blobFolder, layerLink, REPOSITORIES, revisionLink, tagCurrentLink, tagIndexLink } from "../layout.ts";
import { overridden } from "../testing/overridden.ts";
import { collectGarbage, CollectorBusyError, type CollectOptions } from "./collector.ts";
import { CollectionDoubtError } from "./doubt.ts";
import { CollectorGate } from "./gate.ts";
import { tagsOf } from "./inventory.ts";
import { type CollectorState, GC_FOLDER, readState, writePresence, writeState } from "./state.ts";

const NAME = parseName("a/b");
const DEFAULTS: CollectOptions = { dryRun: false, untaggedAgeMs: () => undefined, keepGoing: false, graceMs: 0, pollMs: 0, clock: SYSTEM_CLOCK, log: SILENT_LOGGER };

/** A store filled the way a registry fills it. */
class Store {
  readonly driver: StorageDriver = openInMemoryDriver();

  async blob(text: string, name: RepositoryName = NAME): Promise<Digest> {
    const digest = digestOf(text);
    await this.driver.putContent(blobData(digest), text);
    await this.driver.putContent(layerLink(name, digest), digest);
    return digest;
  }

  async manifest(value: object, options: { readonly name?: RepositoryName; readonly tag?: string } = {}): Promise<Digest> {
    const name = options.name ?? NAME;
    const text = JSON.stringify({ schemaVersion: 2, ...value });
    const digest = digestOf(text);
    await this.driver.putContent(blobData(digest), text);
    await this.driver.putContent(revisionLink(name, digest), digest);
    if (options.tag !== undefined) await this.tag(options.tag, digest, name);
    return digest;
  }

  async tag(text: string, digest: Digest, name: RepositoryName = NAME): Promise<void> {
    await this.driver.putContent(tagIndexLink(name, parseTag(text), digest), digest);
    await this.driver.putContent(tagCurrentLink(name, parseTag(text)), digest);
  }

  async image(seed: string, options: { readonly name?: RepositoryName; readonly tag?: string; readonly subject?: Digest } = {}): Promise<{ readonly digest: Digest; readonly blobs: readonly Digest[] }> {
    const blobs = [await this.blob(`config ${seed}`, options.name), await this.blob(`layer ${seed}`, options.name)];
    const [config, layer] = blobs.map((digest) => ({ mediaType: MEDIA_TYPES.octetStream, digest, size: 1 }));
    const subject = options.subject === undefined ? {} : { subject: { mediaType: MEDIA_TYPES.ociManifest, digest: options.subject, size: 1 } };
    return { digest: await this.manifest({ mediaType: MEDIA_TYPES.ociManifest, config, layers: [layer], ...subject }, options), blobs };
  }

  async index(children: readonly Digest[], tag?: string): Promise<Digest> {
    const manifests = children.map((digest) => ({ mediaType: MEDIA_TYPES.ociManifest, digest, size: 1 }));
    return await this.manifest({ mediaType: MEDIA_TYPES.ociIndex, manifests }, tag === undefined ? {} : { tag });
  }

  async has(digest: Digest): Promise<boolean> {
    return await this.driver.stat(blobData(digest)).then(() => true, () => false);
  }

  async holds(digest: Digest, name: RepositoryName = NAME): Promise<boolean> {
    return await this.driver.stat(revisionLink(name, digest)).then(() => true, () => false);
  }

  async collect(options: Partial<CollectOptions> & { readonly deleteUntagged?: boolean } = {}): ReturnType<typeof collectGarbage> {
    return await collectGarbage(this.driver, { ...DEFAULTS, ...options, untaggedAgeMs: () => (options.deleteUntagged === true ? (options.graceMs ?? 0) : undefined) });
  }

  gate(): CollectorGate {
    return new CollectorGate(this.driver, { clock: SYSTEM_CLOCK, pollMs: 0 });
  }
}

describe("collectGarbage", () => {
  test("leaves a store without garbage as it is", async () => {
    const store = new Store();
    const image = await store.image("1", { tag: "t" });
    expect(await store.collect({ deleteUntagged: true })).toMatchObject({ markedBlobs: 3, eligibleBlobs: 0, eligibleManifests: 0, deletedBlobs: 0 });
    for (const digest of [image.digest, ...image.blobs]) expect(await store.has(digest)).toBe(true);
  });

  test("deletes what no manifest needs, and its links; a dry run does not", async () => {
    const store = new Store();
    await store.image("1");
    const orphan = await store.blob("orphan");
    expect(await store.collect({ dryRun: true })).toMatchObject({ eligibleBlobs: 1, deletedBlobs: 0 });
    expect(await store.has(orphan)).toBe(true);
    expect(await store.collect()).toMatchObject({ eligibleBlobs: 1, deletedBlobs: 1, deletedLinks: 1, freedBytes: 6 });
    expect(await store.has(orphan)).toBe(false);
    expect(await store.driver.stat(layerLink(NAME, orphan)).then(() => true, () => false)).toBe(false);
  });

  test("keeps untagged manifests unless asked, and then deletes them with what only they need", async () => {
    const store = new Store();
    const kept = await store.image("kept", { tag: "t" });
    const untagged = await store.image("untagged");
    await store.collect();
    expect(await store.holds(untagged.digest)).toBe(true);
    expect(await store.collect({ deleteUntagged: true })).toMatchObject({ deletedManifests: 1, deletedBlobs: 3 });
    expect(await store.holds(untagged.digest)).toBe(false);
    for (const digest of [kept.digest, ...kept.blobs]) expect(await store.has(digest)).toBe(true);
  });

  test("never takes the children of a tagged index, at any depth", async () => {
    const store = new Store();
    const [one, two] = [await store.image("1"), await store.image("2")];
    const inner = await store.index([one.digest, two.digest]);
    await store.index([inner], "multi");
    expect(await store.collect({ deleteUntagged: true })).toMatchObject({ deletedManifests: 0, deletedBlobs: 0 });
  });

  test("takes an untagged index with its children, but not a tagged child", async () => {
    const store = new Store();
    const [one, two] = [await store.image("1", { tag: "t" }), await store.image("2")];
    await store.index([one.digest, two.digest]);
    expect(await store.collect({ deleteUntagged: true })).toMatchObject({ deletedManifests: 2 });
    expect(await store.holds(one.digest)).toBe(true);
    expect(await store.holds(two.digest)).toBe(false);
  });

  test("keeps children of an index that are plain blobs, as BuildKit's old caches are, and children without a link of their own", async () => {
    const store = new Store();
    const layer = await store.blob("cache layer");
    const child = await store.image("child");
    await store.driver.delete(revisionLink(NAME, child.digest));
    const manifests = [
      { mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", digest: layer, size: 1 },
      { mediaType: MEDIA_TYPES.ociManifest, digest: child.digest, size: 1 },
    ];
    await store.manifest({ mediaType: MEDIA_TYPES.ociIndex, manifests }, { tag: "cache" });
    expect(await store.collect({ deleteUntagged: true })).toMatchObject({ eligibleBlobs: 0, deletedBlobs: 0 });
    for (const digest of [layer, child.digest, ...child.blobs]) expect(await store.has(digest)).toBe(true);
  });

  test("keeps what a manifest needs that is a layer of one image and a child of an index, whichever is looked at first", async () => {
    for (const tags of [["a", "b"], ["b", "a"]] as const) {
      const store = new Store();
      const child = await store.image("child");
      const image = await store.manifest({ mediaType: MEDIA_TYPES.ociManifest, config: { mediaType: "x/y", digest: await store.blob("config"), size: 1 }, layers: [{ mediaType: "x/y", digest: child.digest, size: 1 }] }, { tag: tags[0] });
      const index = await store.index([child.digest], tags[1]);
      await store.driver.delete(parentPath(revisionLink(NAME, child.digest)));
      expect(await store.collect({ deleteUntagged: true })).toMatchObject({ eligibleBlobs: 0 });
      for (const digest of [image, index, child.digest, ...child.blobs]) expect(await store.has(digest)).toBe(true);
    }
  });

  test("keeps what a manifest needs that a tagged image knows as a layer under another algorithm", async () => {
    const store = new Store();
    const inner = await store.image("inner");
    const alias = digestOf(Buffer.from(await store.driver.getContent(blobData(inner.digest))), "sha512");
    await store.driver.putContent(layerLink(NAME, alias), inner.digest);
    await store.manifest({ mediaType: MEDIA_TYPES.ociManifest, config: { mediaType: "x/y", digest: await store.blob("config"), size: 1 }, layers: [{ mediaType: "x/y", digest: alias, size: 1 }] }, { tag: "t" });
    expect(await store.collect({ deleteUntagged: true })).toMatchObject({ eligibleBlobs: 0, eligibleManifests: 0 });
    for (const digest of [inner.digest, ...inner.blobs]) expect(await store.has(digest)).toBe(true);
  });

  test("keeps what a tag points to although the link of the manifest is gone", async () => {
    const store = new Store();
    const image = await store.image("1", { tag: "t" });
    await store.driver.delete(revisionLink(NAME, image.digest));
    await store.collect({ deleteUntagged: true });
    for (const digest of [image.digest, ...image.blobs]) expect(await store.has(digest)).toBe(true);
  });

  test("deletes links to blobs and manifests that are not stored, and tags that point to nothing", async () => {
    const store = new Store();
    const kept = await store.image("kept", { tag: "kept" });
    const lost = await store.image("lost", { tag: "lost" });
    for (const digest of [lost.digest, ...lost.blobs]) await store.driver.delete(blobFolder(digest));
    expect(await store.collect()).toMatchObject({ deletedLinks: 3, deletedManifests: 0, debris: { tags: 1 } });
    expect(await store.holds(lost.digest)).toBe(false);
    expect(await tagsOf(store.driver, NAME)).toEqual([parseTag("kept")]);
    expect(await store.holds(kept.digest)).toBe(true);
  });

  test("tolerates an index whose child was deleted", async () => {
    const store = new Store();
    const one = await store.image("1");
    await store.index([one.digest, digestOf("deleted")], "t");
    expect(await store.collect({ deleteUntagged: true })).toMatchObject({ deletedManifests: 0 });
  });

  test("keeps the referrers of kept subjects, and theirs, and lets those of deleted ones go", async () => {
    const store = new Store();
    const image = await store.image("1", { tag: "t" });
    const sbom = await store.image("sbom", { subject: image.digest });
    const signature = await store.image("signature", { subject: sbom.digest });
    const gone = await store.image("gone");
    const orphan = await store.image("orphan", { subject: gone.digest });
    await store.collect({ deleteUntagged: true });
    for (const kept of [image, sbom, signature]) for (const digest of [kept.digest, ...kept.blobs]) expect(await store.has(digest)).toBe(true);
    for (const dead of [gone, orphan]) expect(await store.holds(dead.digest)).toBe(false);
  });

  test("keeps what schema 1 manifests of old stores need", async () => {
    const store = new Store();
    const layer = await store.blob("old layer");
    await store.manifest({ schemaVersion: 1, name: "a/b", fsLayers: [{ blobSum: layer }], signatures: [] }, { tag: "old" });
    await store.collect({ deleteUntagged: true });
    expect(await store.has(layer)).toBe(true);
  });

  test("does not touch what is younger than the grace", async () => {
    const store = new Store();
    const young = await store.blob("young");
    const untagged = await store.image("young untagged");
    await store.collect({ deleteUntagged: true, graceMs: 60_000 });
    expect(await store.has(young)).toBe(true);
    expect(await store.holds(untagged.digest)).toBe(true);
  });
});

describe("a doubt stops deletion", () => {
  const doubts: [string, (store: Store) => Promise<void>][] = [
    ["an empty revision link", async (store) => await store.driver.putContent(revisionLink(NAME, digestOf("x")), "")],
    ["a tag link that holds no digest", async (store) => await store.driver.putContent(tagCurrentLink(NAME, parseTag("broken")), "garbage\n")],
    ["a manifest that does not hash", async (store) => {
      const image = await store.image("changed", { tag: "changed" });
      await store.driver.putContent(blobData(image.digest), "{}");
    }],
    ["a link that holds another digest than its path says", async (store) => await store.driver.putContent(revisionLink(NAME, digestOf("x")), digestOf("y"))],
    ["a link that cannot be read", async (store) => await store.driver.putContent(`${revisionLink(NAME, digestOf("x"))}`, "x".repeat(2000))],
    ["a manifest of an unknown type", async (store) => void (await store.manifest({ mediaType: "application/vnd.future+json" }, { tag: "future" }))],
  ];
  for (const [what, make] of doubts) {
    test(what, async () => {
      const store = new Store();
      const linked = await store.blob("linked in the repository in doubt");
      const elsewhere = await store.blob("orphan elsewhere", parseName("other"));
      await make(store);
      expect(await errorOf(store.collect())).toBeInstanceOf(CollectionDoubtError);
      expect(await store.has(elsewhere)).toBe(true);
      const result = await store.collect({ keepGoing: true });
      expect(result.doubts.length).toBe(1);
      expect(await store.has(linked)).toBe(true);
      expect(await store.has(elsewhere)).toBe(false);
    });
  }

  test("a manifest in doubt leaves every repository whole that holds it", async () => {
    const store = new Store();
    const other = parseName("other");
    const digest = await store.manifest({ mediaType: "application/vnd.future+json" });
    await store.driver.putContent(revisionLink(other, digest), digest);
    const blobs = [await store.blob("here"), await store.blob("there", other)];
    expect((await store.collect({ keepGoing: true })).doubts.length).toBe(2);
    for (const blob of blobs) expect(await store.has(blob)).toBe(true);
  });

  test("manifests in a folder that is no repository's", async () => {
    const store = new Store();
    const linked = await store.blob("linked", "Backup" as RepositoryName);
    await store.image("image", { name: "Backup" as RepositoryName });
    expect(await errorOf(store.collect())).toBeInstanceOf(CollectionDoubtError);
    expect((await store.collect({ keepGoing: true })).doubts.map((doubt) => doubt.path)).toEqual([`${REPOSITORIES}/Backup`]);
    expect(await store.has(linked)).toBe(true);
  });

  test("blobs without any repository", async () => {
    const store = new Store();
    const image = await store.image("image", { tag: "t" });
    await store.driver.delete(REPOSITORIES);
    for (const keepGoing of [false, true]) expect(await errorOf(store.collect({ keepGoing }))).toBeInstanceOf(CollectionDoubtError);
    expect(await store.has(image.digest)).toBe(true);
  });

  test("a listing that ends early", async () => {
    const store = new Store();
    const image = await store.image("image", { tag: "t" });
    await store.image("other", { tag: "u" });
    const broken = overridden(store.driver, {
      list: async (path, options) => {
        if (!path.endsWith("/revisions/sha256")) return await store.driver.list(path, options);
        if (options?.startAfter !== undefined) throw new PathNotFoundError("inmemory", path);
        return await store.driver.list(path, { limit: 1 });
      },
    });
    const error = await errorOf(collectGarbage(broken, { ...DEFAULTS, keepGoing: true }));
    expect(String(error)).toContain("_manifests/revisions/sha256: the listing ended early");
    expect(await store.has(image.digest)).toBe(true);
  });

  test("a listing that fails ends the run", async () => {
    const store = new Store();
    const orphan = await store.blob("orphan");
    const broken = overridden(store.driver, { list: async () => Promise.reject(new Error("the bucket is on fire")) });
    expect(String(await errorOf(collectGarbage(broken, { ...DEFAULTS, keepGoing: true })))).toContain("on fire");
    expect(await store.has(orphan)).toBe(true);
  });
});

/** What a promise is rejected with. */
async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(() => undefined, (error: unknown) => error);
}

/** A store whose collector is held up between its phases: when the list was published, and right before the first claim. */
function betweenPhases(driver: StorageDriver, phases: { readonly condemned: () => Promise<void>; readonly toBeClaimed: () => Promise<void> }): StorageDriver {
  const waiting = new Set(["condemned", "claimed"]);
  return overridden(driver, {
    putContent: async (path, content, options) => {
      const state = path === `${GC_FOLDER}/state` ? (JSON.parse(String(content)) as CollectorState) : undefined;
      if (state !== undefined && state.claimed > 0 && waiting.delete("claimed")) await phases.toBeClaimed();
      await driver.putContent(path, content, options);
      if (state !== undefined && state.condemned > 0 && waiting.delete("condemned")) await phases.condemned();
    },
  });
}

/** A clock on which something happens when the run waits. */
function clockThat(onSleep: (ms: number) => Promise<void>): Clock {
  return { now: () => Date.now(), sleep: async (ms) => await onSleep(ms) };
}

describe("interleavings", () => {
  test("a manifest pushed in the grace keeps its blobs: the second walk finds it", async () => {
    const store = new Store();
    await writePresence(store.driver, "server");
    const orphan = await store.blob("config late");
    let pushed = false;
    const clock = clockThat(async (ms) => {
      if (ms < 4 || pushed) return;
      pushed = true;
      await store.manifest({ mediaType: MEDIA_TYPES.ociManifest, config: { mediaType: "x/y", digest: orphan, size: 1 }, layers: [] }, { tag: "late" });
    });
    await Bun.sleep(20);
    expect(await store.collect({ clock, graceMs: 10 })).toMatchObject({ eligibleBlobs: 0, deletedBlobs: 0 });
    expect(pushed).toBe(true);
    expect(await store.has(orphan)).toBe(true);
  });

  test("a HEAD between condemnation and claim rescues", async () => {
    const store = new Store();
    await writePresence(store.driver, "server");
    const orphan = await store.blob("wanted");
    const gate = store.gate();
    await Bun.sleep(20);
    let answer: boolean | undefined;
    const clock = clockThat(async (ms) => {
      if (ms >= 4) answer = await gate.keep("blob", orphan);
    });
    expect(await store.collect({ clock, graceMs: 10 })).toMatchObject({ deletedBlobs: 0, rescued: 1 });
    expect(answer).toBe(true);
    expect(await store.has(orphan)).toBe(true);
  });

  test("a HEAD after the claim is told that it is not there, and an upload waits for the end", async () => {
    const store = new Store();
    const orphan = await store.blob("going");
    const gate = store.gate();
    let told: boolean | undefined;
    let waited: Promise<void> | undefined;
    let waiting = true;
    const deleting = overridden(store.driver, {
      delete: async (path) => {
        if (path.includes("/blobs/")) {
          told = await gate.keep("blob", orphan);
          waited = gate.keepOrWait(orphan).then(() => void (waiting = false));
          await Bun.sleep(120);
          expect(waiting).toBe(true);
        }
        await store.driver.delete(path);
      },
    });
    await collectGarbage(deleting, DEFAULTS);
    await waited;
    expect(told).toBe(false);
    expect(await store.has(orphan)).toBe(false);
  });

  test("a manifest rescued before its claim spares everything that it needs", async () => {
    const store = new Store();
    await writePresence(store.driver, "server");
    const untagged = await store.image("rescued");
    const gate = store.gate();
    await Bun.sleep(20);
    const clock = clockThat(async (ms) => {
      if (ms >= 4) await gate.keep("revision", untagged.digest);
    });
    expect(await store.collect({ clock, graceMs: 10, deleteUntagged: true })).toMatchObject({ deletedBlobs: 0, deletedManifests: 0 });
    expect(await store.holds(untagged.digest)).toBe(true);
    for (const digest of [untagged.digest, ...untagged.blobs]) expect(await store.has(digest)).toBe(true);
  });

  test("a manifest rescued before its claim spares the children of its children and its signatures, wherever they stand in the list", async () => {
    const store = new Store();
    await writePresence(store.driver, "server");
    const [one, two] = [await store.image("1"), await store.image("2")];
    const inner = await store.index([one.digest, two.digest]);
    const outer = await store.index([inner]);
    const signature = await store.image("signature", { subject: outer });
    const gate = store.gate();
    await Bun.sleep(20);
    const clock = clockThat(async (ms) => {
      if (ms >= 4) await gate.keep("revision", outer);
    });
    expect(await store.collect({ clock, graceMs: 10, deleteUntagged: true })).toMatchObject({ deletedManifests: 0, deletedBlobs: 0, rescued: 1 });
    for (const digest of [outer, inner, one.digest, two.digest, signature.digest]) expect(await store.holds(digest)).toBe(true);
    for (const digest of [...one.blobs, ...signature.blobs]) expect(await store.has(digest)).toBe(true);
  });

  // Deleting leaves a folder behind on a file system, and not in an object store; a tag that points to nothing makes the second walk a complete one.
  for (const [leaves, isWhole] of [["the folder", true], ["the folder", false], ["nothing", true], ["nothing", false]] as const) {
    test(`a manifest deleted in the grace and pushed again before its claim spares the children of its children (deleting leaves ${leaves}, ${isWhole ? "all else is there" : "a tag points to nothing"})`, async () => {
      const store = new Store();
      const image = await store.image("image");
      const inner = await store.index([image.digest]);
      const outer = await store.index([inner]);
      if (!isWhole) await store.driver.putContent(tagCurrentLink(NAME, parseTag("broken")), digestOf("nothing"));
      const link = revisionLink(NAME, outer);
      const gate = store.gate();
      const between = betweenPhases(store.driver, {
        condemned: async () => await store.driver.delete(leaves === "nothing" ? parentPath(link) : link),
        toBeClaimed: async () => {
          for (const digest of [outer, inner]) expect(await gate.keep("blob", digest)).toBe(true);
          expect(await gate.keep("revision", outer)).toBe(true);
          expect(await store.index([inner], "again")).toBe(outer);
        },
      });
      await collectGarbage(between, { ...DEFAULTS, untaggedAgeMs: () => 0 });
      for (const digest of [outer, inner, image.digest]) expect(await store.holds(digest)).toBe(true);
      for (const digest of [outer, inner, image.digest, ...image.blobs]) expect(await store.has(digest)).toBe(true);
    });
  }

  test("a manifest that comes before the claim of the signature that waited for it spares that, and what refers to that", async () => {
    const store = new Store();
    const other = parseName("other");
    const config = digestOf("config late");
    const text = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config: { mediaType: MEDIA_TYPES.octetStream, digest: config, size: 1 }, layers: [] });
    const signature = await store.image("signature", { subject: digestOf(text) });
    const second = await store.image("signature of the signature", { subject: signature.digest });
    const unwanted = await store.image("unwanted", { subject: digestOf("never comes") });
    // The same manifest goes from another repository, in which it has no tag.
    expect(await store.manifest(JSON.parse(text) as object, { name: other })).toBe(digestOf(text));
    const gate = store.gate();
    const between = betweenPhases(store.driver, {
      condemned: async () => undefined,
      toBeClaimed: async () => {
        expect(await gate.keep("blob", digestOf(text))).toBe(true);
        expect(await gate.keep("revision", digestOf(text))).toBe(true);
        await store.blob("config late");
        await store.manifest(JSON.parse(text) as object, { tag: "late" });
      },
    });
    await collectGarbage(between, { ...DEFAULTS, untaggedAgeMs: () => 0 });
    for (const { digest, blobs } of [signature, second]) {
      expect(await store.holds(digest)).toBe(true);
      for (const needed of [digest, ...blobs]) expect(await store.has(needed)).toBe(true);
    }
    expect(await store.has(config)).toBe(true);
    expect(await store.holds(unwanted.digest)).toBe(false);
  });

  test("a blob pushed again in the grace is spared: its link is young", async () => {
    const store = new Store();
    await writePresence(store.driver, "server");
    const orphan = await store.blob("again");
    await Bun.sleep(20);
    const clock = clockThat(async (ms) => {
      if (ms >= 4) await store.blob("again");
    });
    expect(await store.collect({ clock, graceMs: 10 })).toMatchObject({ deletedBlobs: 0 });
    expect(await store.has(orphan)).toBe(true);
  });

  test("an upload that waits for a deletion finds neither bytes nor links, and its own stay", async () => {
    const store = new Store();
    const orphan = await store.blob("going");
    const gate = store.gate();
    let pushed: Promise<void> | undefined;
    const deleting = overridden(store.driver, {
      delete: async (path) => {
        pushed ??= path === layerLink(NAME, orphan) ? gate.keepOrWait(orphan).then(async () => void (await store.blob("going"))) : undefined;
        await store.driver.delete(path);
      },
    });
    await collectGarbage(deleting, DEFAULTS);
    await pushed;
    expect(await store.has(orphan)).toBe(true);
    expect(await store.driver.stat(layerLink(NAME, orphan)).then(() => true, () => false)).toBe(true);
  });

  test("a collector whose signs of life do not arrive deletes nothing more", async () => {
    const store = new Store();
    const orphans = [await store.blob("1"), await store.blob("2")];
    let now = Date.now();
    let isCut = false;
    const cut = overridden(store.driver, {
      putContent: async (path, content) => {
        if (isCut && path.endsWith("/_gc/state")) throw new Error("the network is gone");
        await store.driver.putContent(path, content);
      },
      // The claim was published; then time passes, and no renewal gets through.
      list: async (path, options) => {
        if (path.includes("/_gc/rescued/")) {
          isCut = true;
          now += 31_000;
        }
        return await store.driver.list(path, options);
      },
    });
    const error = await errorOf(collectGarbage(cut, { ...DEFAULTS, clock: { now: () => now, sleep: async () => undefined } }));
    expect(String(error)).toContain("not heard of for too long");
    for (const orphan of orphans) expect(await store.has(orphan)).toBe(true);
  });

  test("a collector that slept through its time does not take the place of the one that came after it", async () => {
    const store = new Store();
    await store.blob("orphan");
    const other = { run: "other", condemned: 0, claimed: 0, swept: 0, heartbeatAt: 0 };
    let now = Date.now();
    const sleepy = overridden(store.driver, {
      putContent: async (path, content) => {
        await store.driver.putContent(path, content);
        if (!path.includes("/condemned/")) return;
        now += 61_000;
        await writeState(store.driver, { ...other, heartbeatAt: now });
      },
    });
    expect(String(await errorOf(collectGarbage(sleepy, { ...DEFAULTS, clock: { now: () => now, sleep: async () => undefined } })))).toContain("not heard of for too long");
    expect((await readState(store.driver, now))?.run).toBe("other");
  });

  test("a gate that reads the list when the run is just over lets pass", async () => {
    const store = new Store();
    const digest = await store.blob("x");
    await writeState(store.driver, { run: "over", heartbeatAt: Date.now(), condemned: 1, claimed: 0, swept: 0 });
    const ending = overridden(store.driver, {
      getContent: async (path, maxBytes) => {
        if (path.includes("/condemned/")) await store.driver.delete(`${GC_FOLDER}/state`);
        return await store.driver.getContent(path, maxBytes);
      },
    });
    expect(await new CollectorGate(ending, { clock: SYSTEM_CLOCK, pollMs: 0 }).keep("blob", digest)).toBe(true);
  });

  test("a second collector leaves, and one that died is not heeded", async () => {
    const store = new Store();
    const orphan = await store.blob("orphan");
    const state = { run: "other", condemned: 0, claimed: 0, swept: 0 };
    await writeState(store.driver, { ...state, heartbeatAt: Date.now() });
    expect(await errorOf(store.collect())).toBeInstanceOf(CollectorBusyError);
    await writeState(store.driver, { ...state, heartbeatAt: Date.now() - 61_000 });
    expect(await store.collect()).toMatchObject({ deletedBlobs: 1 });
    expect(await store.has(orphan)).toBe(false);
  });

  test("a gate that nobody needs costs no look at the store", async () => {
    const store = new Store();
    const gate = new CollectorGate(store.driver, { clock: SYSTEM_CLOCK, pollMs: 1000 });
    expect(await gate.keep("blob", digestOf("x"))).toBe(true);
    expect(gate.isIdle).toBe(true);
  });
});
