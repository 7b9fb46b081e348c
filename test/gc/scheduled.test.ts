import { describe, expect, test } from "bun:test";
import { expectStatus, pushBlob, type PushedImage, pushImage, TYPES } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { blobPath } from "./disk-store.ts";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** A registry that collects its garbage by itself. */
async function startCollecting(garbagecollect: ConfigSection, more: ConfigSection = {}): Promise<RegistryProcess> {
  return await startRegistry({ config: { storage: { maintenance: { garbagecollect: { enabled: true, interval: "1s", grace: "0s", ...garbagecollect }, ...more } } } });
}

/** Waits for a collection that began after now. @returns Its line in the log. */
async function nextCollection(registry: RegistryProcess): Promise<string> {
  const lines = (): string[] => registry.child.output().split("\n").filter((line) => line.includes("garbage collection finished"));
  // The one under way may have begun before.
  const wanted = lines().length + 2;
  for (const deadline = Date.now() + 30_000; lines().length < wanted; await Bun.sleep(50)) {
    if (Date.now() > deadline) throw new Error(`no collection:\n${registry.child.output()}`);
  }
  return lines().at(-1) ?? "";
}

async function waitUntil(isSo: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 30_000; !isSo(); await Bun.sleep(50)) if (Date.now() > deadline) throw new Error("it did not become so");
}

function isStored(registry: RegistryProcess, digest: string): boolean {
  return existsSync(join(registry.storageFolder, "docker/registry/v2", blobPath(digest)));
}

function localTime(offsetMinutes: number): string {
  const time = new Date(Date.now() + offsetMinutes * 60_000);
  return `${String(time.getHours()).padStart(2, "0")}:${String(time.getMinutes()).padStart(2, "0")}`;
}

describe("the scheduled collector", () => {
  test("deletes what nothing needs and keeps the rest, untagged manifests too", async () => {
    await using registry = await startCollecting({});
    const repository = { url: registry.url, name: "a" };
    const tagged = await pushImage(repository, "t");
    const untagged = await pushImage(repository, undefined, { seed: 2 });
    await nextCollection(registry);
    const orphan = await pushBlob(repository, "orphan");
    await nextCollection(registry);
    expect(isStored(registry, orphan)).toBe(false);
    await expectStatus(404, `${registry.url}/v2/a/blobs/${orphan}`);
    for (const image of [tagged, untagged]) {
      await expectStatus(200, `${registry.url}/v2/a/manifests/${image.digest}`, { headers: { accept: TYPES.ociManifest } });
      for (const { digest } of [image.config, ...image.layers]) await expectStatus(200, `${registry.url}/v2/a/blobs/${digest}`);
    }
    expect(await pushBlob(repository, "orphan")).toBe(orphan);
  }, 60_000);

  test("deleteuntagged: takes manifests without a tag, not those of a tagged index", async () => {
    await using registry = await startCollecting({ deleteuntagged: true });
    const repository = { url: registry.url, name: "a" };
    await pushImage(repository, "t");
    const untagged = await pushImage(repository, "former", { seed: 2 });
    await expectStatus(202, `${registry.url}/v2/a/manifests/former`, { method: "DELETE" });
    await waitUntil(() => [untagged.digest, untagged.config.digest].every((digest) => !isStored(registry, digest)));
    await expectStatus(404, `${registry.url}/v2/a/manifests/${untagged.digest}`);
    await expectStatus(200, `${registry.url}/v2/a/manifests/t`, { headers: { accept: TYPES.ociManifest } });
  }, 60_000);

  test("dryrun: deletes nothing, and says what it would", async () => {
    await using registry = await startCollecting({ dryrun: true });
    const orphan = await pushBlob({ url: registry.url, name: "a" }, "orphan");
    const line = await nextCollection(registry);
    expect(line).toContain("eligibleBlobs=1 ");
    expect(isStored(registry, orphan)).toBe(true);
  }, 60_000);

  test("grace: keeps what is younger", async () => {
    await using registry = await startCollecting({ grace: "1h" });
    const orphan = await pushBlob({ url: registry.url, name: "a" }, "orphan");
    await nextCollection(registry);
    expect(isStored(registry, orphan)).toBe(true);
  }, 60_000);

  test("window: begins nothing outside of it", async () => {
    await using registry = await startCollecting({ window: `${localTime(120)}-${localTime(180)}` });
    const orphan = await pushBlob({ url: registry.url, name: "a" }, "orphan");
    await Bun.sleep(4000);
    expect(isStored(registry, orphan)).toBe(true);
    expect(registry.child.output()).not.toContain("garbage collection finished");
  }, 60_000);

  test("window and cron: begins within and by it", async () => {
    await using registry = await startCollecting({ interval: "24h", cron: "* * * * * *", window: `${localTime(-60)}-${localTime(60)}` });
    const orphan = await pushBlob({ url: registry.url, name: "a" }, "orphan");
    await nextCollection(registry);
    expect(isStored(registry, orphan)).toBe(false);
  }, 60_000);

  test("a doubt is logged with its path and stops it, and not the registry", async () => {
    await using registry = await startCollecting({});
    const image = await pushImage({ url: registry.url, name: "a" }, "t");
    const orphan = await pushBlob({ url: registry.url, name: "a" }, "orphan to be");
    const link = join(registry.storageFolder, "docker/registry/v2/repositories/a/_manifests/tags/broken/current/link");
    await Bun.write(link, "");
    const again = await pushBlob({ url: registry.url, name: "a" }, "another orphan");
    await registry.child.waitForOutput(/nothing was deleted: \/docker\/registry\/v2\/repositories\/a\/_manifests\/tags\/broken\/current\/link: the link is empty/);
    expect(isStored(registry, again)).toBe(true);
    await expectStatus(200, `${registry.url}/v2/a/manifests/${image.digest}`, { headers: { accept: TYPES.ociManifest } });
    expect(orphan).not.toBe(again);
  }, 60_000);

  test("retention: deletes tags by the rules, and what they leave behind", async () => {
    await using registry = await startCollecting({}, { retention: { enabled: true, rules: [{ repositories: ["ci/**"], keep: { last: 1, always: ["keep*"] }, untaggedafter: "0s" }] } });
    const repository = { url: registry.url, name: "ci/app" };
    const images: PushedImage[] = [];
    for (const [index, tag] of ["v1", "keep-me", "v2"].entries()) images.push(await pushImage(repository, tag, { seed: index + 1 }));
    await nextCollection(registry);
    const { tags } = (await (await expectStatus(200, `${registry.url}/v2/ci/app/tags/list`)).json()) as { tags: string[] };
    expect(tags).toEqual(["keep-me", "v2"]);
    await waitUntil(() => !isStored(registry, images[0]?.config.digest ?? ""));
    await expectStatus(404, `${registry.url}/v2/ci/app/manifests/${images[0]?.digest ?? ""}`);
    for (const image of images.slice(1)) expect(isStored(registry, image.config.digest)).toBe(true);
  }, 60_000);
});
