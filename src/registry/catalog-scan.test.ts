import { describe, expect, test } from "bun:test";
import { MAX_NAME_LENGTH, parseName, type RepositoryName } from "../oci/name.ts";
import type { DirectoryQuery, FileInfo } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { CatalogScan, type ScannedStore } from "./catalog-scan.ts";
import { REPOSITORIES } from "./layout.ts";

/** A store of folders, which answers as one does that lists by keys. */
class Store implements ScannedStore {
  requests = 0;
  mostUnderWay = 0;
  readonly #folders: readonly string[];
  readonly #largestPage: number;
  #underWay = 0;

  constructor(folders: readonly string[], largestPage = 1000) {
    this.#folders = folders.map((folder) => `${REPOSITORIES}/${folder}/`).sort();
    this.#largestPage = largestPage;
  }

  async *findDirectories(path: string, { nameEnd, startAfter = "", pageSize = 1000 }: DirectoryQuery): AsyncGenerator<readonly string[]> {
    const groups = this.#folders.filter((folder) => folder.startsWith(`${path}/`)).map((folder) => folder.slice(0, folder.indexOf(`${nameEnd}/`, path.length + 1) + nameEnd.length + 1));
    const found = [...new Set(groups)].filter((group) => group > startAfter).map((group) => group.slice(0, -1));
    const size = Math.min(pageSize, this.#largestPage);
    for (let start = 0; start === 0 || start < found.length; start += size) {
      await this.#request();
      if (start < found.length) yield found.slice(start, start + size);
    }
  }

  async stat(path: string): Promise<FileInfo> {
    await this.#request();
    if (!this.#folders.some((folder) => folder.startsWith(`${path}/`))) throw new PathNotFoundError("test", path);
    return { path, sizeBytes: 0, modifiedAt: new Date(0), isDirectory: true };
  }

  async #request(): Promise<void> {
    this.requests++;
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.#underWay);
    await Promise.resolve();
    this.#underWay--;
  }
}

/** Repositories with all their folders. */
function storeOf(names: readonly string[], largestPage?: number): Store {
  return new Store(names.flatMap((name) => ["_layers", "_manifests", "_uploads"].map((folder) => `${name}/${folder}`)), largestPage);
}

function inOrder(names: readonly string[]): string[] {
  const key = (name: string): string => name.replaceAll("/", "\0");
  return [...names].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

async function page(store: ScannedStore, limit?: number, last = ""): Promise<{ readonly items: readonly RepositoryName[]; readonly more: boolean }> {
  return await new CatalogScan(store, { last, limit, searches: 16 }).page();
}

async function pages(store: ScannedStore, limit: number): Promise<string[]> {
  const names: string[] = [];
  for (let last = ""; ; last = names.at(-1) ?? "") {
    const { items, more } = await page(store, limit, last);
    names.push(...items);
    if (!more) return names;
    expect(items.length).toBe(limit);
  }
}

/** Names in which all the characters meet that the two orders differ in, and folders that end as those of repositories do. */
function oddNames(count: number): string[] {
  let state = 12_345;
  const random = (below: number): number => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) % 65_536 % below;
  const components = ["a", "s", "0", "as", "a-a", "a-s", "a.0", "a.s", "a-a-s", "s-0", "s.s", "0a", "0-s", "a0", "b", "bs", "bs-a"];
  return [...new Set(Array.from({ length: count }, () => Array.from({ length: 1 + random(3) }, () => components[random(components.length)] ?? "").join("/")))];
}

describe("CatalogScan", () => {
  const odd = oddNames(200);

  test.each([1, 2, 7, 1000])("lists in order of components whatever the order of keys, from a store's pages of %d", async (largestPage) => {
    const store = storeOf(odd, largestPage);
    expect((await page(store)).items.map(String)).toEqual(inOrder(odd));
    for (const limit of [1, 2, 3, 10, 100]) expect(await pages(store, limit)).toEqual(inOrder(odd));
  });

  test("begins after any text", async () => {
    const names = inOrder(odd.slice(0, 60));
    const after = (last: string): string[] => names.filter((name) => [name, last].every(Boolean) && inOrder([name, last])[0] === last && name !== last);
    const store = storeOf(names);
    for (const last of [...names, ...names.map((name) => `${name}/zz`), ...names.map((name) => `${name}-`), "a", "a-", "zz", "0"]) {
      const { items, more } = await page(store, 3, last);
      expect({ last, items: items.map(String), more }).toEqual({ last, items: after(last).slice(0, 3), more: after(last).length > 3 });
      expect((await page(store, undefined, last)).items.map(String)).toEqual(after(last));
    }
  });

  test("does not bother the store with texts that are longer than names", async () => {
    const store = storeOf(["a", "b/c"]);
    const asked: string[] = [];
    const find = store.findDirectories.bind(store);
    store.findDirectories = (path, query) => (asked.push(query.startAfter ?? ""), find(path, query));
    for (const last of ["a".repeat(5000), `a/${"b".repeat(5000)}`, "a/".repeat(5000)]) expect((await page(store, 5, last)).items.map(String)).toEqual(["b/c"]);
    for (const text of asked) expect(text.length).toBeLessThan(600);
  });

  test("names only folders that hold manifests and have the form of a name", async () => {
    const long = `${"x".repeat(MAX_NAME_LENGTH - 2)}/y`;
    const tooLong = `${"x".repeat(MAX_NAME_LENGTH - 2)}/ys`;
    const found = ["a/_manifests", "b/_uploads", "c/_layers", "Upper/_manifests", "c--.d/_manifests", "_odd/es/_manifests", "d/_trash/e/_manifests", ".f/_manifests", "..g-h/_manifests", `${long}/_manifests`, `${tooLong}/_manifests`];
    for (const limit of [undefined, 1, 2, 3]) expect((await page(new Store(found), limit)).items.map(String)).toEqual(["a", long].slice(0, limit));
    expect(await pages(new Store(found), 1)).toEqual(["a", long]);
  });

  test("of an empty store is empty", async () => {
    expect(await page(new Store([]))).toEqual({ items: [], more: false });
    expect(await page(storeOf(["a"]), 5, "a")).toEqual({ items: [], more: false });
  });

  test("asks for hundreds of repositories at once, and no more than a page needs", async () => {
    const names = Array.from({ length: 2000 }, (_, index) => `team-${index % 40}/app-${index}`);
    const store = storeOf(names);
    expect((await page(store)).items.length).toBe(2000);
    expect(store.requests).toBe(6);
    for (const [limit, most] of [[100, 5], [30, 5], [1000, 8]] as const) {
      store.requests = 0;
      expect(await pages(store, limit)).toEqual(inOrder(names));
      expect(store.requests / Math.ceil(2000 / limit)).toBeLessThanOrEqual(most);
    }
  });

  test("does not read a large folder to its end for the first of what is in it", async () => {
    for (const names of [Array.from({ length: 5000 }, (_, index) => `my-team/app-${index}`), Array.from({ length: 5000 }, (_, index) => `ci/${index}`)]) {
      const store = storeOf([...names, "ci", "my/own"]);
      expect((await page(store, 10)).more).toBe(true);
      expect(store.requests).toBeLessThan(8);
    }
  });

  test("looks into several folders at once that end as those of repositories do, and not into too many", async () => {
    const names = Array.from({ length: 300 }, (_, index) => `${index % 2 === 0 ? "teams" : "tools"}/${String(index).padStart(3, "0")}s`);
    const store = storeOf([...names, "redis", "postgres"]);
    expect((await page(store)).items.map(String)).toEqual(inOrder([...names, "redis", "postgres"]));
    expect(store.mostUnderWay).toBeGreaterThan(4);
    expect(store.mostUnderWay).toBeLessThanOrEqual(16);
    expect(parseName("teams/000s") === (await page(store, 3, "redis")).items[0]).toBe(true);
  });
});
