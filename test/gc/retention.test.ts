import { describe, expect, test } from "bun:test";
import type { ConfigSection } from "../support/registry-process.ts";
import { blobPath, DiskStore, revisionPath, tagPath } from "./disk-store.ts";

const HOURS = 3_600_000;

function withRules(store: DiskStore, rules: readonly ConfigSection[], enabled = false): string {
  return store.config({}, { maintenance: { retention: { enabled, rules } } });
}

/** A tag that was pushed so many days ago. */
function push(store: DiskStore, name: string, tag: string, daysAgo: number): string {
  const image = store.image(name, `${name} ${tag}`, { tag });
  store.age(tagPath(name, tag), daysAgo);
  return image.digest;
}

function tagsLeft(store: DiskStore, name: string, tags: readonly string[]): string[] {
  return tags.filter((tag) => store.has(tagPath(name, tag)));
}

describe("registry retention", () => {
  test("--dry-run prints every decision with its reason and deletes nothing; without it the tags go, and their bytes with the next collection", async () => {
    await using store = await DiskStore.make();
    const digests = ["v1", "v2", "v3", "latest"].map((tag, index) => push(store, "team/app", tag, 40 - index));
    push(store, "other", "v1", 400);
    const config = withRules(store, [{ repositories: ["team/**"], tags: ["v*"], keep: { last: 2 } }]);
    const before = store.entries();
    const dry = await store.run(["retention", "--dry-run"], { config });
    expect(dry.exitCode).toBe(0);
    expect(dry.stdout.split("\n")).toEqual([
      `keep team/app:v3 ${digests[2]} (among the last 2)`,
      `keep team/app:v2 ${digests[1]} (among the last 2)`,
      `delete team/app:v1 ${digests[0]} (no reason to keep it)`,
      `keep team/app:latest ${digests[3]} (no rule matches)`,
      "3 tags kept, 1 to be deleted in 1 repositories",
      "",
    ]);
    expect(store.entries()).toEqual(before);
    expect((await store.run(["retention"], { config })).stdout).toContain("3 tags kept, 1 deleted in 1 repositories");
    expect(tagsLeft(store, "team/app", ["v1", "v2", "v3", "latest"])).toEqual(["v2", "v3", "latest"]);
    expect(tagsLeft(store, "other", ["v1"])).toEqual(["v1"]);
    expect(store.has(revisionPath("team/app", digests[0] ?? ""))).toBe(true);
    expect((await store.run(["garbage-collect", "--delete-untagged"], { config })).exitCode).toBe(0);
    expect(store.has(blobPath(digests[0] ?? ""))).toBe(false);
    for (const digest of digests.slice(1)) expect(store.has(blobPath(digest))).toBe(true);
  });

  test("keeps the young, those pulled lately, and those that always stay", async () => {
    await using store = await DiskStore.make();
    for (const [tag, daysAgo] of [["young", 1], ["pulled", 50], ["pulled-by-digest", 50], ["release-1", 50], ["old", 50]] as const) push(store, "a", tag, daysAgo);
    const byDigest = store.image("a", "a pulled-by-digest").digest;
    const hour = Math.floor(Date.now() / HOURS) - 5;
    store.write("repositories/a/_pulls/one", JSON.stringify({ pulled: hour }));
    store.write("repositories/a/_pulls/two", JSON.stringify({ [byDigest]: hour, old: hour - 1000 }));
    store.write("repositories/a/_pulls/two.0d1e2f3a-0000-4000-8000-00000000000a.tmp", "{");
    const config = withRules(store, [{ keep: { youngerthan: "72h", pulledwithin: "24h", always: ["release-*"] } }]);
    expect((await store.run(["retention"], { config })).exitCode).toBe(0);
    expect(tagsLeft(store, "a", ["young", "pulled", "pulled-by-digest", "release-1", "old"])).toEqual(["young", "pulled", "pulled-by-digest", "release-1"]);
  });

  test("signatures under tags stay as long as what they sign", async () => {
    await using store = await DiskStore.make();
    const [signed, gone] = [push(store, "a", "v2", 10), push(store, "a", "v1", 20)];
    const signatureOf = (digest: string): string => `${digest.replace(":", "-")}.sig`;
    for (const digest of [signed, gone]) push(store, "a", signatureOf(digest), 30);
    const config = withRules(store, [{ keep: { last: 1 }, untaggedafter: "0s" }], true);
    for (let run = 0; run < 2; run++) {
      expect((await store.run(["retention"], { config })).exitCode).toBe(0);
      expect((await store.run(["garbage-collect"], { config })).exitCode).toBe(0);
    }
    expect(tagsLeft(store, "a", ["v1", "v2", signatureOf(signed), signatureOf(gone)])).toEqual(["v2", signatureOf(signed)]);
  });

  test("untaggedafter: untagged manifests go with a collection when they are older, in its repositories alone", async () => {
    await using store = await DiskStore.make();
    const [old, young, elsewhere] = [store.image("ci/app", "old"), store.image("ci/app", "young"), store.image("prod", "elsewhere")];
    for (const [name, { digest }] of [["ci/app", old], ["prod", elsewhere]] as const) store.age(revisionPath(name, digest), 10);
    const config = withRules(store, [{ repositories: ["ci/**"], untaggedafter: "72h" }], true);
    expect((await store.run(["garbage-collect"], { config })).exitCode).toBe(0);
    expect([old, young, elsewhere].map(({ digest }) => store.hasBytes(digest))).toEqual([false, true, true]);
  });

  test("without rules there is nothing to apply; a tag that cannot be understood stops it", async () => {
    await using store = await DiskStore.make();
    push(store, "a", "t", 10);
    const none = await store.run(["retention"]);
    expect([none.exitCode, none.stderr.includes("storage.maintenance.retention.rules is empty")]).toEqual([1, true]);
    store.write(tagPath("a", "broken"), "");
    const broken = await store.run(["retention"], { config: withRules(store, [{ keep: { last: 0 } }]) });
    expect([broken.exitCode, broken.stderr.includes("/docker/registry/v2/repositories/a/_manifests/tags/broken/current/link")]).toEqual([1, true]);
    expect(tagsLeft(store, "a", ["t"])).toEqual(["t"]);
  });
});
