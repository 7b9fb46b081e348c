import { describe, expect, test } from "bun:test";
import type { KeyPage, KeyPageRequest, ListKeys } from "./children.ts";
import { guessNames, listInParts } from "./parts-of-listing.ts";

/** A store of directories below `r/`, in pages of 1000. */
class Store {
  requests = 0;
  mostUnderWay = 0;
  /** Set by tests: may throw. */
  before: (request: KeyPageRequest) => void = () => undefined;
  readonly list: ListKeys;
  #underWay = 0;

  constructor(names: readonly string[]) {
    const keys = names.map((name) => (name.startsWith("file") ? `r/${name}` : `r/${name}/`)).sort();
    this.list = async (request): Promise<KeyPage> => {
      this.requests++;
      this.mostUnderWay = Math.max(this.mostUnderWay, ++this.#underWay);
      await Promise.resolve();
      this.#underWay--;
      this.before(request);
      const after = request.next ?? request.startAfter ?? "";
      const rest = keys.filter((key) => key > after);
      const page = rest.slice(0, request.limit);
      return { keys: page.filter((key) => !key.endsWith("/")), directories: page.filter((key) => key.endsWith("/")), next: page.length < rest.length ? page.at(-1) : undefined };
    };
  }
}

async function namesIn(store: Store, startAfter?: string): Promise<string[] | undefined> {
  const pages = await listInParts(store.list, { prefix: "r/", startAfter, maxChildren: 100_000 });
  const keys = pages?.map((page) => [...page.keys, ...page.directories].sort());
  // In order of keys without being sorted.
  expect(keys?.flat()).toEqual(keys?.flat().sort());
  return keys?.flat().map((key) => key.slice(2).replace(/\/$/, ""));
}

function inKeyOrder(names: readonly string[]): string[] {
  const key = (name: string): string => (name.startsWith("file") ? name : `${name}/`);
  return [...names].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const hex = (index: number): string => new Bun.CryptoHasher("sha1").update(String(index)).digest("hex");

const KINDS: Readonly<Record<string, readonly string[]>> = {
  "numbers": range(20_000).map((index) => `tag-${index}`),
  "numbers of one length": range(9000).map((index) => String(index).padStart(6, "0")),
  "hashes": range(20_000).map((index) => hex(index)),
  "hashes with something before": range(8000).map((index) => `main-${hex(index)}`),
  "versions": range(9000).map((index) => `v${index % 7}.${index % 100}.${index}${index % 3 === 0 ? "-rc.1" : ""}`),
  "dates": range(9000).map((index) => new Date(index * 86_400_000).toISOString().slice(0, 10)),
  "a beginning of another kind": [...range(3000).map((index) => `Build-${index}`), ...range(6000).map((index) => `nightly_${index}`), "zz", "~"],
  "characters without an order of ours": range(5000).map((index) => "_".repeat(1 + (index % 100)) + "-".repeat(Math.floor(index / 100))),
  "files among directories": range(9000).map((index) => (index % 2 === 0 ? `file${index}` : `f${index}`)),
};

describe("listInParts", () => {
  test.each(Object.keys(KINDS))("gives everything once, in order: %s", async (kind) => {
    const names = KINDS[kind] ?? [];
    const store = new Store(names);
    expect(await namesIn(store)).toEqual(inKeyOrder(names));
    expect(store.requests).toBeLessThanOrEqual(2 * (Math.ceil(names.length / 1000) + 4));
    expect(store.mostUnderWay).toBeLessThanOrEqual(8);
    const after = `r/${names[1234]}`;
    expect(await namesIn(store, after)).toEqual(inKeyOrder(names).filter((name) => (name.startsWith("file") ? `r/${name}` : `r/${name}/`) > after));
  });

  test("asks for little more than there is, and at the same time", async () => {
    const store = new Store(KINDS["numbers"] ?? []);
    await namesIn(store);
    expect(store.requests).toBeLessThan(32);
    expect(store.mostUnderWay).toBeGreaterThan(4);
  });

  test("does not divide what is short", async () => {
    for (const [count, requests] of [[0, 1], [10, 1], [1000, 1], [2500, 3], [4500, 7]] as const) {
      const store = new Store(range(count).map((index) => `tag-${index}`));
      expect(await namesIn(store)).toHaveLength(count);
      expect(store.requests).toBeLessThanOrEqual(requests);
    }
  });

  test("gives up when there is more than allowed", async () => {
    const store = new Store(KINDS["numbers"] ?? []);
    expect(await listInParts(store.list, { prefix: "r/", maxChildren: 19_999 })).toBeUndefined();
    expect(await listInParts(store.list, { prefix: "r/", maxChildren: 20_000 })).toBeDefined();
    store.requests = 0;
    expect(await listInParts(store.list, { prefix: "r/", maxChildren: 3000 })).toBeUndefined();
    expect(store.requests).toBeLessThan(16);
  });

  test("fails when one part does, and begins nothing more then", async () => {
    const store = new Store(KINDS["numbers"] ?? []);
    store.before = () => {
      if (store.requests > 4) throw new Error("input/output error");
    };
    expect(await namesIn(store).catch((error: unknown) => String(error))).toBe("Error: input/output error");
    expect(store.requests).toBeLessThan(20);
  });

  test("does not go in circles with a store that does", async () => {
    const list = async (): Promise<KeyPage> => ({ keys: ["r/x"], directories: [], next: "the same" });
    expect(await listInParts(list, { prefix: "r/", maxChildren: 100_000 }).catch((error: unknown) => String(error))).toContain("does not come to an end");
  });
});

describe("guessNames", () => {
  test("divides what is left of an alphabet by how much of it was read", () => {
    expect(guessNames({ first: "tag-0", last: "tag-2", until: undefined, pages: 2 })).toEqual([/^tag-(3999|4000)$/, /^tag-(5999|6000)$/, /^tag-(7999|8000)$/, /^tag-9~$/].map((name) => expect.stringMatching(name)));
    expect(guessNames({ first: "a", last: "n", until: undefined, pages: 5 })).toEqual([expect.stringMatching(/^t/), "z~"]);
  });

  test("stays below where the range ends", () => {
    const names = guessNames({ first: "tag-10", last: "tag-11", until: "tag-2", pages: 2 });
    expect(names.length).toBeGreaterThan(2);
    for (const name of names) expect("tag-11" < name && name < "tag-2").toBe(true);
  });

  test.each([
    ["nothing is left", { first: "0", last: "9~", until: undefined, pages: 2 }],
    ["little is left", { first: "0", last: "8", until: undefined, pages: 2 }],
    ["the names differ in no letter or digit", { first: "a-", last: "a_", until: undefined, pages: 2 }],
    ["there is one name", { first: "a", last: "a", until: undefined, pages: 2 }],
    ["nothing says how fast they go on", { first: "a", last: "a0000", until: undefined, pages: 2 }],
  ] as const)("guesses nothing when %s", (_, known) => {
    expect(guessNames(known)).toEqual([]);
  });
});
