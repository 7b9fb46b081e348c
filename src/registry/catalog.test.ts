import { describe, expect, test } from "bun:test";
import { parseName } from "../oci/name.ts";
import { UnsupportedError } from "../storage/errors.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { RepositoryCatalog } from "./catalog.ts";
import { manifestsFolder, REPOSITORIES, uploadsFolder } from "./layout.ts";
import { FaultyDriver } from "./testing/faulty-driver.ts";
import { thrownBy } from "./testing/test-registry.ts";

async function storeOf(...names: readonly string[]): Promise<FaultyDriver> {
  return await filled(new FaultyDriver(openInMemoryDriver()), names);
}

/** The same behind a network. */
async function remoteStoreOf(...names: readonly string[]): Promise<FaultyDriver> {
  return await filled(new FaultyDriver(openInMemoryDriver(), { movesByCopy: true }), names);
}

async function filled(driver: FaultyDriver, names: readonly string[]): Promise<FaultyDriver> {
  for (const name of names) {
    await driver.putContent(`${manifestsFolder(parseName(name))}/tags/latest/current/link`, "x");
    await driver.putContent(`${uploadsFolder(parseName(name))}/some/data`, "x");
  }
  return driver;
}

/** The catalog, page by page. */
async function pages(driver: FaultyDriver, limit: number): Promise<string[][]> {
  const catalog = new RepositoryCatalog(driver);
  const result: string[][] = [];
  for (let last: string | undefined; ; last = result.at(-1)?.at(-1)) {
    const page = await catalog.list(last === undefined ? { limit } : { limit, last });
    result.push([...page.items]);
    if (!page.more) return result;
  }
}

/** In the order of the catalog: `/` before every other byte. */
const NAMES = ["Foo/bar", "a", "a/b", "a/b/c", "a/b-c", "a/c", "a-b", "a.b/c", "a0/z/y", "b", "x", "x/y", "x-y", "x-y/z", "x_y", "z"];

describe("RepositoryCatalog", () => {
  test.each([1, 2, 5, 17])("on a remote store lists the same, in pages of %d", async (limit) => {
    expect((await pages(await remoteStoreOf(...NAMES), limit)).flat()).toEqual(NAMES);
  });

  test("on a remote store lists several folders at once, and no more than a short page needs", async () => {
    const names = Array.from({ length: 100 }, (_, index) => `app-${String(index).padStart(2, "0")}`);
    const driver = await remoteStoreOf(...names);
    let [underWay, most] = [0, 0];
    driver.before = async ({ method }) => {
      if (method !== "list") return;
      most = Math.max(most, ++underWay);
      await Bun.sleep(1);
      underWay--;
    };
    const catalog = new RepositoryCatalog(driver);
    expect((await catalog.list({ limit: 1000 })).items.map(String)).toEqual(names);
    expect([most, driver.count("list", /./)]).toEqual([16, 101]);
    driver.calls.length = 0;
    expect((await catalog.list({ limit: 3 })).more).toBe(true);
    expect(driver.count("list", /./)).toBeLessThan(10);
  });

  test.each([1, 2, 3, 5, 15, 16, 17])("lists nested repositories in component order, in pages of %d", async (limit) => {
    const driver = await storeOf(...[...NAMES].reverse());
    const found = await pages(driver, limit);
    expect(found.flat()).toEqual(NAMES);
    expect(found.slice(0, -1).every((page) => page.length === limit)).toBe(true);
    expect(found.at(-1)?.length).toBeGreaterThan(0);
  });

  test("goes on after any text, also one that is no repository", async () => {
    const catalog = new RepositoryCatalog(await storeOf(...NAMES));
    for (const [last, first] of [
      ["a/b", "a/b/c"],
      ["a/b/", "a/b/c"],
      ["a/b/c/d/e", "a/b-c"],
      ["a/b-", "a/b-c"],
      ["a.", "a.b/c"],
      ["a0/z", "a0/z/y"],
      ["w/w", "x"],
      ["x-", "x-y"],
      ["", "Foo/bar"],
      ["_manifests", "a"],
      ["../a", "Foo/bar"],
      ["a//b", "a/b"],
    ] as const) {
      expect([last, (await catalog.list({ last, limit: 1 })).items[0]]).toEqual([last, parseName(first)]);
    }
    expect(await catalog.list({ last: "z" })).toEqual({ items: [], more: false });
    expect(await catalog.list({ last: `a${"/a".repeat(3000)}`, limit: 1 })).toEqual({ items: [parseName("a/b")], more: true });
  });

  test("of an empty store, or for nothing wanted, is empty", async () => {
    expect(await new RepositoryCatalog(await storeOf()).list({})).toEqual({ items: [], more: false });
    expect(await new RepositoryCatalog(await storeOf("a")).list({ limit: 0 })).toEqual({ items: [], more: false });
  });

  test("names only folders that hold manifests and have the form of a name", async () => {
    const driver = await storeOf("a");
    await driver.putContent(`${uploadsFolder(parseName("b"))}/some/data`, "x");
    await driver.putContent(`${REPOSITORIES}/Upper/_manifests/revisions/x`, "x");
    await driver.putContent(`${REPOSITORIES}/c--.d/_manifests/revisions/x`, "x");
    await driver.putContent(`${REPOSITORIES}/_odd/e/_manifests/revisions/x`, "x");
    await driver.putContent(`${REPOSITORIES}/f/_manifests`, "a file");
    await driver.putContent(`${REPOSITORIES}/link.tmp`, "a file");
    expect((await new RepositoryCatalog(driver).list({})).items).toEqual([parseName("a")]);
  });

  test("finds a repository among more folders than one listing gives", async () => {
    const below = Array.from({ length: 150 }, (_, index) => `big/${index}`);
    const driver = await storeOf("big", ...below);
    expect((await new RepositoryCatalog(driver).list({ limit: 2 })).items).toEqual([parseName("big"), parseName("big/0")]);
    expect((await new RepositoryCatalog(driver).list({})).items.length).toBe(151);
    expect((await new RepositoryCatalog(await storeOf(...below)).list({ limit: 1 })).items).toEqual([parseName("big/0")]);
  });

  test("costs a page what the page holds", async () => {
    const driver = await storeOf(...Array.from({ length: 2000 }, (_, index) => `r${String(index).padStart(4, "0")}`));
    driver.calls.length = 0;
    const page = await new RepositoryCatalog(driver).list({ last: "r1500", limit: 10 });
    expect([page.items[0], page.items.length, page.more]).toEqual([parseName("r1501"), 10, true]);
    expect(driver.calls.length).toBeLessThan(15);
  });

  test("walks where the store cannot find folders otherwise, and asks it no more", async () => {
    let asked = 0;
    const findDirectories = async function* (): AsyncGenerator<readonly string[]> {
      asked++;
      yield [`${REPOSITORIES}/not/all/_manifests`];
      throw new UnsupportedError("test", "that");
    };
    const driver = await filled(new FaultyDriver(openInMemoryDriver(), { findDirectories }), NAMES);
    const catalog = new RepositoryCatalog(driver);
    driver.before = ({ method }) => {
      if (method === "list") throw new Error("input/output error");
    };
    expect(String(await thrownBy(catalog.list({})))).toContain("input/output error");
    driver.before = () => undefined;
    for (const last of ["", "", "a/b"]) expect((await catalog.list({ last })).items.map(String)).toEqual(NAMES.slice(last === "" ? 0 : NAMES.indexOf(last) + 1));
    expect(asked).toBe(2);
  });

  test("fails when finding folders does", async () => {
    const findDirectories = async function* (): AsyncGenerator<readonly string[]> {
      throw new Error("input/output error");
    };
    const driver = await filled(new FaultyDriver(openInMemoryDriver(), { findDirectories }), NAMES);
    expect(String(await thrownBy(new RepositoryCatalog(driver).list({})))).toContain("input/output error");
  });

  test("leaves out what vanishes while it looks, and fails when the store does", async () => {
    const driver = await storeOf("a", "b", "c");
    driver.before = async ({ method, path }) => {
      if (method === "list" && path === `${REPOSITORIES}/b`) await driver.delete(`${REPOSITORIES}/b`).catch(() => undefined);
    };
    expect((await new RepositoryCatalog(driver).list({})).items).toEqual([parseName("a"), parseName("c")]);
    driver.before = ({ path }) => {
      if (path === `${REPOSITORIES}/c`) throw new Error("input/output error");
    };
    expect(String(await thrownBy(new RepositoryCatalog(driver).list({})))).toContain("input/output error");
  });
});
