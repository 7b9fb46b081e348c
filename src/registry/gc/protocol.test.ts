import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SYSTEM_CLOCK } from "../../lib/clock.ts";
import { type Digest, digestOf } from "../../oci/digest.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import { parseName, parseTag } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { openFilesystemDriver } from "../../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../../storage/inmemory/driver.ts";
import { SILENT_LOGGER } from "../../telemetry/log.ts";
import { blobData, layerLink, referrerLink, revisionLink, tagCurrentLink } from "../layout.ts";
import { type LocalRegistry, openLocalRegistry } from "../local-registry.ts";
import type { ManifestValidation } from "../manifest-rules.ts";
import { overridden } from "../testing/overridden.ts";
import { imageManifest, NAME, pushBlob, pushImage, pushManifest, STRICT } from "../testing/test-registry.ts";
import { collectGarbage, type CollectOptions } from "./collector.ts";
import { deleteTagIf } from "./delete-tag.ts";
import { CollectorGate } from "./gate.ts";
import { clearDeadRuns, type CollectorState, GC_FOLDER, writeCondemned, writeState } from "./state.ts";

/*
 * Whole registries and collectors on one store, each held up at the worst moment.
 */

const OPTIONS: CollectOptions = { dryRun: false, untaggedAgeMs: () => undefined, keepGoing: false, graceMs: 0, pollMs: 0, clock: SYSTEM_CLOCK, log: SILENT_LOGGER };
const UNTAGGED_TOO: CollectOptions = { ...OPTIONS, untaggedAgeMs: () => 0 };

type Moment = "announced" | "condemned" | "toBeClaimed" | "claimed" | "swept";

/** A store whose collector does something else at some moments, each once. */
function heldUp(driver: StorageDriver, steps: Partial<Record<Moment, () => Promise<void>>>): StorageDriver {
  const left = new Map(Object.entries(steps) as [Moment, () => Promise<void>][]);
  const at = async (moment: Moment): Promise<void> => {
    const step = left.get(moment);
    left.delete(moment);
    await step?.();
  };
  return overridden(driver, {
    putContent: async (path, content, options) => {
      const state = path === `${GC_FOLDER}/state` ? (JSON.parse(String(content)) as CollectorState) : undefined;
      if (state !== undefined && state.claimed > 0 && state.swept === 0) await at("toBeClaimed");
      await driver.putContent(path, content, options);
      if (state === undefined) return;
      if (state.swept > 0) await at("swept");
      else if (state.claimed > 0) await at("claimed");
      else if (state.condemned > 0) await at("condemned");
      else await at("announced");
    },
  });
}

/** A store that stops once it is asked to write or to delete some files, before or after it does so, until it is told to go on. */
function stopping(driver: StorageDriver, { method, isAt, when = "before" }: { readonly method: "putContent" | "delete"; readonly isAt: (path: string) => boolean; readonly when?: "before" | "after" }): { readonly store: StorageDriver; readonly reached: Promise<void>; readonly goOn: () => void } {
  const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const stop = async (path: string, call: () => Promise<void>): Promise<void> => {
    if (when === "after") await call();
    if (isAt(path)) {
      reached.resolve();
      await go.promise;
    }
    if (when === "before") await call();
  };
  const methods: Partial<StorageDriver> =
    method === "delete"
      ? { delete: (path, options) => stop(path, () => driver.delete(path, options)) }
      : { putContent: (path, content, options) => stop(path, () => driver.putContent(path, content, options)) };
  return { store: overridden(driver, methods), reached: reached.promise, goOn: go.resolve };
}

function registryOn(driver: StorageDriver, validation: ManifestValidation = STRICT): LocalRegistry {
  const gate = new CollectorGate(driver, { clock: SYSTEM_CLOCK, pollMs: 0 });
  return openLocalRegistry({ driver, log: SILENT_LOGGER, clock: SYSTEM_CLOCK, deleteEnabled: true, redirectEnabled: false, validation, tagConcurrency: 4, hashThreads: 1, gate });
}

async function isThere(driver: StorageDriver, path: string): Promise<boolean> {
  return await driver.stat(path).then(() => true, () => false);
}

function indexOf(child: Digest): object {
  return { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [{ mediaType: MEDIA_TYPES.ociManifest, digest: child, size: 2 }] };
}

async function textOf(driver: StorageDriver, digest: Digest): Promise<string> {
  return Buffer.from(await driver.getContent(blobData(digest))).toString();
}

/** A store with a tagged image, and a registry on it. */
async function furnished(validation?: ManifestValidation): Promise<{ readonly driver: StorageDriver; readonly registry: LocalRegistry }> {
  const driver = openInMemoryDriver();
  const registry = registryOn(driver, validation);
  await pushImage(registry, "keep", { tags: ["keep"] });
  return { driver, registry };
}

/** Outcome of a push: the digest, or undefined where it was refused. */
async function outcomeOf(push: Promise<Digest> | undefined): Promise<Digest | undefined> {
  return await push?.catch(() => undefined);
}

test("a push that was held up until its manifest's old bytes are claimed is refused, or they stay", async () => {
  const { driver, registry } = await furnished();
  const digest = await pushImage(registry, "x");
  const text = await textOf(driver, digest);
  await registry.manifests.delete(NAME, digest);
  // Another manifest needs the same blobs.
  await pushManifest(registry, { ...(JSON.parse(text) as object), annotations: { other: "1" } }, { tags: ["other"] });
  const slow = stopping(driver, { method: "putContent", isAt: (path) => path === revisionLink(NAME, digest) });
  let push: Promise<Digest> | undefined;
  const store = heldUp(driver, {
    announced: async () => {
      push = pushManifest(registryOn(slow.store), text, { tags: ["again"] });
      await slow.reached;
    },
    toBeClaimed: async () => {
      slow.goOn();
      await outcomeOf(push);
    },
  });
  await collectGarbage(store, OPTIONS);
  expect((await outcomeOf(push)) === undefined || (await isThere(driver, blobData(digest)))).toBe(true);
});

test("a push whose link is swept between its two looks is refused, or the link stays", async () => {
  const { driver, registry } = await furnished();
  const digest = await pushImage(registry, "x");
  const text = await textOf(driver, digest);
  const slow = stopping(driver, { method: "putContent", isAt: (path) => path === revisionLink(NAME, digest), when: "after" });
  let push: Promise<Digest> | undefined;
  const store = heldUp(driver, {
    announced: async () => {
      push = pushManifest(registryOn(slow.store), text, { tags: ["again"] });
      await slow.reached;
    },
    swept: async () => {
      slow.goOn();
      await outcomeOf(push);
    },
  });
  await collectGarbage(store, UNTAGGED_TOO);
  const isAcknowledged = (await outcomeOf(push)) !== undefined;
  for (const path of [revisionLink(NAME, digest), blobData(digest)]) expect(!isAcknowledged || (await isThere(driver, path))).toBe(true);
});

test("a pushed manifest also keeps what it need not have", async () => {
  const { driver, registry } = await furnished({ ...STRICT, indexes: { platforms: "none", platformList: [] }, sparseImages: true });
  const child = await pushImage(registry, "child");
  const [config, layer] = [await pushBlob(registry, "{}"), await pushBlob(registry, "lonely layer")];
  const store = heldUp(driver, {
    toBeClaimed: async () => {
      await pushManifest(registry, indexOf(child), { tags: ["multi"] });
      await pushManifest(registry, imageManifest({ config, layers: [layer] }), { tags: ["sparse"] });
    },
  });
  await collectGarbage(store, UNTAGGED_TOO);
  for (const digest of [child, digestOf("layer of child"), layer]) expect(await isThere(driver, blobData(digest))).toBe(true);
  expect(await isThere(driver, revisionLink(NAME, child))).toBe(true);
});

test("a pushed manifest keeps the link by which it knows a blob under another algorithm", async () => {
  const { driver, registry } = await furnished();
  const [layer, config] = [await pushBlob(registry, "aliased"), await pushBlob(registry, "{}")];
  const alias = digestOf("aliased", "sha512");
  await driver.putContent(layerLink(NAME, alias), layer);
  const store = heldUp(driver, { toBeClaimed: async () => void (await pushManifest(registry, imageManifest({ config, layers: [alias] }), { tags: ["t"] })) });
  await collectGarbage(store, OPTIONS);
  await collectGarbage(driver, OPTIONS);
  expect(await isThere(driver, layerLink(NAME, alias))).toBe(true);
  expect(await isThere(driver, blobData(layer))).toBe(true);
});

test("a push that has read a link before that is swept is refused, or the link stays, although the bytes are stored anew elsewhere", async () => {
  const { driver, registry } = await furnished();
  const [layer, config] = [await pushBlob(registry, "wanted"), await pushBlob(registry, "{}")];
  await pushManifest(registry, imageManifest({ config, layers: [] }), { tags: ["config"] });
  const text = JSON.stringify(imageManifest({ config, layers: [layer] }));
  // Neither the bytes nor the link are there before the collector has marked twice.
  const saving = stopping(driver, { method: "putContent", isAt: (path) => path === revisionLink(NAME, digestOf(text)) || path === blobData(digestOf(text)) });
  const [atRead, goRead] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isSecondLook = false;
  const slow = overridden(saving.store, {
    getContent: async (path, maxBytes) => {
      const bytes = await driver.getContent(path, maxBytes);
      if (isSecondLook && path === layerLink(NAME, layer)) {
        atRead.resolve();
        await goRead.promise;
      }
      return bytes;
    },
  });
  let push: Promise<Digest> | undefined;
  const store = heldUp(driver, {
    announced: async () => {
      push = pushManifest(registryOn(slow), text, { tags: ["t"] });
      await saving.reached;
    },
    toBeClaimed: async () => {
      isSecondLook = true;
      saving.goOn();
      await atRead.promise;
    },
    swept: async () => {
      await pushBlob(registry, "wanted", parseName("other"));
      goRead.resolve();
      await outcomeOf(push);
    },
  });
  await collectGarbage(store, OPTIONS);
  expect((await outcomeOf(push)) === undefined || (await isThere(driver, layerLink(NAME, layer)))).toBe(true);
});

test("a push that takes its link back gives it back when somebody else pushed the same meanwhile", async () => {
  const { driver, registry } = await furnished();
  const [layer, config] = [await pushBlob(registry, "wanted"), await pushBlob(registry, "{}")];
  await pushManifest(registry, imageManifest({ config, layers: [] }), { tags: ["config"] });
  const text = JSON.stringify(imageManifest({ config, layers: [layer] }));
  const link = revisionLink(NAME, digestOf(text));
  const linking = stopping(driver, { method: "putContent", isAt: (path) => path === link });
  const unlinking = stopping(linking.store, { method: "delete", isAt: (path) => path === link });
  let push: Promise<Digest> | undefined;
  const store = heldUp(driver, {
    announced: async () => {
      push = pushManifest(registryOn(unlinking.store), text, { tags: ["t"] });
      await linking.reached;
    },
    claimed: async () => {
      linking.goOn();
      await unlinking.reached;
    },
  });
  await collectGarbage(store, OPTIONS);
  await pushBlob(registry, "wanted");
  expect(await pushManifest(registry, text, { tags: ["t"] })).toBe(digestOf(text));
  unlinking.goOn();
  await outcomeOf(push);
  expect(await isThere(driver, link)).toBe(true);
});

test("what an index needs that came after the first walk stays, whoever needs the index later", async () => {
  const { driver, registry } = await furnished();
  const grandchild = await pushImage(registry, "grandchild");
  let inner: Digest | undefined;
  const store = heldUp(driver, {
    // Before the list is published nothing is rescued.
    toBeClaimed: async () => void (inner !== undefined && (await pushManifest(registry, indexOf(inner), { tags: ["t"] }))),
  });
  const before = overridden(store, {
    putContent: async (path, content, options) => {
      if (path.startsWith(`${GC_FOLDER}/condemned/`)) inner ??= await pushManifest(registry, indexOf(grandchild));
      await store.putContent(path, content, options);
    },
  });
  await collectGarbage(before, UNTAGGED_TOO);
  for (const path of [revisionLink(NAME, grandchild), blobData(grandchild), blobData(digestOf("layer of grandchild"))]) expect(await isThere(driver, path)).toBe(true);
});

test("what cannot be read when a rescued manifest is followed ends the run", async () => {
  const { driver, registry } = await furnished();
  const outer = await pushManifest(registry, indexOf(await pushImage(registry, "child")));
  const signature = await pushImage(registry, "signature", { subject: outer });
  let isFlaky = false;
  const store = heldUp(driver, {
    toBeClaimed: async () => {
      await pushManifest(registry, await textOf(driver, outer), { tags: ["t"] });
      isFlaky = true;
    },
  });
  const flaky = overridden(store, {
    getContent: async (path, maxBytes) => {
      if (isFlaky && path === revisionLink(NAME, signature)) throw new Error("503");
      return await driver.getContent(path, maxBytes);
    },
  });
  const error = await collectGarbage(flaky, UNTAGGED_TOO).then(() => undefined, (failure: unknown) => failure);
  expect(String(error)).toContain("cannot be read: 503");
  for (const path of [revisionLink(NAME, signature), blobData(signature)]) expect(await isThere(driver, path)).toBe(true);
});

test("of two collectors the one that was slow to begin leaves, and takes nothing of the other's away", async () => {
  const { driver, registry } = await furnished();
  const orphan = await pushBlob(registry, "orphan");
  await writeCondemned(driver, "dead", [{ kind: "blob", digest: orphan }]);
  const slow = stopping(driver, { method: "delete", isAt: (path) => path === `${GC_FOLDER}/condemned/dead` });
  const late = collectGarbage(slow.store, OPTIONS).then(() => undefined, (error: unknown) => error);
  await slow.reached;
  let kept: boolean | undefined;
  const store = heldUp(driver, {
    condemned: async () => {
      kept = await new CollectorGate(driver, { clock: SYSTEM_CLOCK, pollMs: 0 }).keep("blob", orphan);
      slow.goOn();
      expect(String(await late)).toContain("another collection is under way");
    },
  });
  expect(await collectGarbage(store, OPTIONS)).toMatchObject({ deletedBlobs: 0, rescued: 1 });
  expect(kept).toBe(true);
  expect(await isThere(driver, blobData(orphan))).toBe(true);
});

test("a tag that retention has set aside is not taken away by a collector that begins", async () => {
  const root = mkdtempSync(join(tmpdir(), "protocol-"));
  try {
    const driver = openFilesystemDriver({ rootdirectory: root });
    const registry = registryOn(driver);
    const [old, tag] = [await pushImage(registry, "old", { tags: ["t"] }), parseTag("t")];
    let moves = 0;
    const between = overridden(driver, {
      move: async (from, to) => {
        if (++moves === 1) await pushImage(registry, "new", { tags: ["t"] });
        await driver.move(from, to);
        if (moves === 1) await clearDeadRuns(driver, async () => undefined);
      },
    });
    expect(await deleteTagIf(between, { name: NAME, tag, isDoomed: ({ target }) => target === old })).toBe(false);
    expect(await isThere(driver, tagCurrentLink(NAME, tag))).toBe(true);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("deleting a manifest does not take a tag that another process moves away from it at the same moment", async () => {
  const root = mkdtempSync(join(tmpdir(), "protocol-"));
  try {
    const driver = openFilesystemDriver({ rootdirectory: root });
    const registry = registryOn(driver);
    const old = await pushImage(registry, "old", { tags: ["t", "u"] });
    let moves = 0;
    const between = overridden(driver, {
      move: async (from, to) => {
        if (from === tagCurrentLink(NAME, parseTag("t")) && ++moves === 1) await pushImage(registry, "new", { tags: ["t"] });
        await driver.move(from, to);
      },
    });
    expect(await registryOn(between).manifests.delete(NAME, old)).toEqual([parseTag("u")]);
    expect(moves).toBe(1);
    expect(await isThere(driver, tagCurrentLink(NAME, parseTag("t")))).toBe(true);
    expect((await registry.tags.list(NAME, {})).items).toEqual(["t"]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("an entry of a list of referrers stays whose manifest is pushed while it is tidied away", async () => {
  const { driver, registry } = await furnished();
  const subject = await pushImage(registry, "subject", { tags: ["s"] });
  const signature = await pushImage(registry, "signature", { subject });
  const text = await textOf(driver, signature);
  await pushManifest(registry, { ...(JSON.parse(text) as object), subject: undefined }, { tags: ["alive"] });
  await driver.delete(revisionLink(NAME, signature));
  let looks = 0;
  const between = overridden(driver, {
    stat: async (path) => {
      const info = await driver.stat(path).catch((error: unknown) => error as Error);
      if (path === revisionLink(NAME, signature) && info instanceof Error && ++looks === 1) await pushManifest(registry, text);
      if (info instanceof Error) throw info;
      return info;
    },
  });
  await collectGarbage(between, OPTIONS);
  expect(looks).toBeGreaterThan(0);
  expect(await isThere(driver, referrerLink(NAME, subject, signature))).toBe(true);
});

test("a gate whose clock was set back asks the store", async () => {
  const driver = openInMemoryDriver();
  const digest = digestOf("x");
  let now = Date.now();
  const gate = new CollectorGate(driver, { clock: { now: () => now, sleep: async () => undefined }, pollMs: 1000 });
  expect(await gate.keep("blob", digest)).toBe(true);
  expect(gate.isIdle).toBe(true);
  now -= 3_600_000;
  await writeCondemned(driver, "run", [{ kind: "blob", digest }]);
  await writeState(driver, { run: "run", heartbeatAt: now, condemned: 1, claimed: 1, swept: 0 });
  expect(gate.isIdle).toBe(false);
  expect(await gate.keep("blob", digest)).toBe(false);
});
