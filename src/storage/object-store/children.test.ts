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
