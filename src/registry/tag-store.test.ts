import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { parseName, parseTag } from "../oci/name.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { SILENT_LOGGER } from "../telemetry/log.ts";
import { tagCurrentLink, tagFolder, tagIndexLink } from "./layout.ts";
import { LinkFiles } from "./link-files.ts";
import { TagStore } from "./tag-store.ts";
import { codeOf, failureOf, NAME } from "./testing/test-registry.ts";

const [A, B] = [digestOf("a"), digestOf("b")];

function open(options: { readonly deleteEnabled?: boolean } = {}): { readonly tags: TagStore; readonly driver: ReturnType<typeof openInMemoryDriver> } {
  const driver = openInMemoryDriver();
  return { driver, tags: new TagStore(driver, new LinkFiles(driver, SILENT_LOGGER), { deleteEnabled: true, concurrency: 3, ...options }) };
}

async function set(tags: TagStore, tag: string, digest: typeof A): Promise<void> {
  await tags.announce(NAME, [parseTag(tag)], digest);
  await tags.point(NAME, [parseTag(tag)], digest);
}

describe("TagStore", () => {
  test("lists tags in byte order, by pages", async () => {
    const { tags, driver } = open();
    for (const tag of ["b", "a", "B", "_x", "1.0", "1-0", "1_0", "latest"]) await set(tags, tag, A);
    await driver.putContent(`${tagFolder(NAME, parseTag("half"))}/index/sha256/${A.slice(7)}/link`, A);
    await driver.putContent(`${tagFolder(NAME, parseTag("a"))}.tmp`, "left behind");
    const all = ["1-0", "1.0", "1_0", "B", "_x", "a", "b", "half", "latest"];
    expect(await tags.list(NAME, {})).toEqual({ items: all, more: false });
    expect(await tags.list(NAME, { limit: 3 })).toEqual({ items: all.slice(0, 3), more: true });
    expect(await tags.list(NAME, { limit: 3, last: "_x" })).toEqual({ items: all.slice(5, 8), more: true });
    expect(await tags.list(NAME, { limit: 4, last: "_x" })).toEqual({ items: all.slice(5), more: false });
    expect(await tags.list(NAME, { last: "a0 is no tag" })).toEqual({ items: all.slice(6), more: false });
    expect(await tags.list(NAME, { limit: 9 })).toEqual({ items: all, more: false });
    expect(await tags.list(NAME, { limit: 5, last: "latest" })).toEqual({ items: [], more: false });
  });

  test("of a repository without tags does not know the name, unless nothing is wanted", async () => {
    const { tags } = open();
    const error = await failureOf(tags.list(NAME, {}));
    expect([error.code, error.status, error.entries[0]?.detail]).toEqual(["NAME_UNKNOWN", 404, { name: NAME }]);
    expect(await tags.list(parseName("other"), { limit: 0 })).toEqual({ items: [], more: false });
  });

  test("resolves and moves tags, and remembers where they were", async () => {
    const { tags, driver } = open();
    const tag = parseTag("latest");
    await set(tags, "latest", A);
    await set(tags, "latest", B);
    expect(await tags.resolve(NAME, tag)).toBe(B);
    for (const digest of [A, B]) expect(Buffer.from(await driver.getContent(tagIndexLink(NAME, tag, digest))).toString()).toBe(digest);
    expect(await codeOf(tags.resolve(NAME, parseTag("other")))).toBe("MANIFEST_UNKNOWN");
  });

  test("deletes a tag alone", async () => {
    const { tags, driver } = open();
    await set(tags, "a", A);
    await set(tags, "ab", A);
    await tags.delete(NAME, parseTag("a"));
    expect((await tags.list(NAME, {})).items).toEqual(["ab"]);
    const error = await failureOf(tags.delete(NAME, parseTag("a")));
    expect([error.code, error.entries[0]?.detail]).toEqual(["MANIFEST_UNKNOWN", "unknown tag=a"]);
    expect((await driver.stat(tagCurrentLink(NAME, parseTag("ab")))).isDirectory).toBe(false);
  });

  test("does not delete where deletion is off", async () => {
    const { tags } = open({ deleteEnabled: false });
    await set(tags, "a", A);
    expect(await codeOf(tags.delete(NAME, parseTag("a")))).toBe("UNSUPPORTED");
    expect(await tags.resolve(NAME, parseTag("a"))).toBe(A);
  });

  test("finds and removes all tags of a manifest", async () => {
    const { tags } = open();
    for (const tag of ["z", "y", "x"]) await set(tags, tag, A);
    for (const tag of ["b", "x"]) await set(tags, tag, B);
    expect(await tags.tagsOf(NAME, A)).toEqual([parseTag("y"), parseTag("z")]);
    expect(await tags.tagsOf(NAME, digestOf("c"))).toEqual([]);
    expect(await tags.tagsOf(parseName("other"), A)).toEqual([]);
    expect(await tags.removeAll(NAME, A)).toEqual([parseTag("y"), parseTag("z")]);
    expect((await tags.list(NAME, {})).items).toEqual(["b", "x"]);
  });
});
