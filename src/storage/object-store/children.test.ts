import { describe, expect, test } from "bun:test";
import { listChildren, type KeyPage, type KeyPageRequest } from "./children.ts";

/** A listing with `/` as delimiter over some keys, as stores give it, in pages that are short. */
function storeOf(keys: readonly string[], pageSize = 1000): { readonly list: (request: KeyPageRequest) => Promise<KeyPage>; readonly requests: KeyPageRequest[] } {
  const requests: KeyPageRequest[] = [];
  const list = async (request: KeyPageRequest): Promise<KeyPage> => {
    requests.push(request);
    const { prefix, limit } = request;
    const after = request.next ?? request.startAfter ?? "";
    const names = [...new Set(keys.filter((key) => key.startsWith(prefix)).map((key) => prefix + (/^[^/]*\/?/.exec(key.slice(prefix.length))?.[0] ?? "")))].sort().filter((name) => name > after);
    const page = names.slice(0, Math.min(limit, pageSize));
    return { keys: page.filter((name) => !name.endsWith("/")), directories: page.filter((name) => name.endsWith("/")), next: page.length < names.length ? page.at(-1) : undefined };
  };
  return { list, requests };
}

const KEYS = ["r/a-b/x", "r/a.b", "r/a/x", "r/a/y", "r/a0", "r/b", "r/b~tail", "r/c/", "s/x"];
const NAMES = ["a", "a-b", "a.b", "a0", "b", "c"];

describe("listChildren", () => {
  test.each([1, 2, 3, 1000])("gives children once, in the order of names, from pages of %d", async (pageSize) => {
    const page = await listChildren(storeOf(KEYS, pageSize).list, "r/");
    expect(page?.entries.map(({ name }) => name)).toEqual(NAMES);
    expect(page?.entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name)).toEqual(["a", "a-b", "c"]);
    expect(page?.next).toBeUndefined();
  });

  test.each([1, 2, 5])("goes on where a page of %d ended", async (limit) => {
    const { list } = storeOf(KEYS);
    const found: string[] = [];
    for (let startAfter: string | undefined; ; ) {
      const page = await listChildren(list, "r/", { limit, ...(startAfter === undefined ? {} : { startAfter }) });
      found.push(...(page?.entries ?? []).map(({ name }) => name));
      startAfter = page?.next;
      if (startAfter === undefined) break;
    }
    expect(found).toEqual(NAMES);
  });

  test("asks once for what fills a page of the store", async () => {
    const keys = Array.from({ length: 3000 }, (_, index) => `r/${String(index).padStart(4, "0")}/x`);
    const { list, requests } = storeOf(keys);
    for (const [limit, startAfter, count] of [[100, undefined, 1], [100, "0099", 1], [1000, undefined, 1], [1001, undefined, 2], [3000, undefined, 3], [100_000, undefined, 3]] as const) {
      requests.length = 0;
      const page = await listChildren(list, "r/", { limit, ...(startAfter === undefined ? {} : { startAfter }) });
      expect([page?.entries.length, requests.length]).toEqual([Math.min(limit, 3000), count]);
      expect(page?.next).toBe(limit < 3000 ? page?.entries.at(-1)?.name : undefined);
    }
  });

  test("asks for what names wait for instead of reading on, and that at once", async () => {
    const names = Array.from({ length: 3000 }, (_, index) => `v1.${index % 10}.${String(index).padStart(4, "0")}-rc`);
    const { list, requests } = storeOf([...names, "v1.5", "v1"].map((name) => `r/${name}/x`));
    const sorted = ["v1", "v1.5", ...names].sort();
    const page = await listChildren(list, "r/", { limit: 100 });
    expect(page?.entries.map(({ name }) => name)).toEqual(sorted.slice(0, 100));
    // Whether there are `v1`, `v1.0`, and one for each name.
    expect(requests.length).toBeLessThan(105);
    requests.length = 0;
    expect((await listChildren(list, "r/", { limit: 3002 }))?.entries.map(({ name }) => name)).toEqual(sorted);
    expect(requests.length).toBe(4);
  });

  test("reads a long listing in parts where the store can begin anywhere, and sorts it by names", async () => {
    const names = [...Array.from({ length: 12_000 }, (_, index) => `tag-${index}`), "tag", "tag.x"].sort();
    const { list, requests } = storeOf(names.map((name) => `r/${name}/x`));
    for (const startAfter of [undefined, "tag", "tag-5"]) {
      requests.length = 0;
      const page = await listChildren(list, "r/", { limit: 100_000, seeks: true, ...(startAfter === undefined ? {} : { startAfter }) });
      expect(page).toEqual({ entries: names.slice(startAfter === undefined ? 0 : names.indexOf(startAfter) + 1).map((name) => ({ name, isDirectory: true })), next: undefined });
      if (startAfter === undefined) expect(new Set(requests.map((request) => request.startAfter)).size).toBeGreaterThan(4);
    }
    expect(await listChildren(list, "missing/", { limit: 100_000, seeks: true })).toBeUndefined();
  });

  test("tells a missing directory from one that has nothing more", async () => {
    const { list } = storeOf(KEYS);
    expect(await listChildren(list, "missing/")).toBeUndefined();
    expect(await listChildren(list, "r/", { startAfter: "zzz" })).toEqual({ entries: [], next: undefined });
  });

  test("does not go in circles with a store that does", async () => {
    const list = async (): Promise<KeyPage> => ({ keys: [], directories: [], next: "the same" });
    const error = await listChildren(list, "r/").catch((failure: unknown) => String(failure));
    expect(error).toContain("does not come to an end");
  });
});
