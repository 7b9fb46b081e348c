import { beforeEach, describe, expect, test } from "bun:test";
import type { StorageDriver } from "./driver.ts";
import { PathNotFoundError } from "./errors.ts";
import { openInMemoryDriver } from "./inmemory/driver.ts";
import { listAll, listTree, type Visit, walk } from "./walk.ts";

const FILES = ["/r/a", "/r/b/1", "/r/b/2/x", "/r/b-c/1", "/r/b.d", "/r/c/z", "/s/q"];
/** In order of components: /r/b/... before /r/b-c. */
const WALKED = ["/r", "/r/a", "/r/b", "/r/b/1", "/r/b/2", "/r/b/2/x", "/r/b-c", "/r/b-c/1", "/r/b.d", "/r/c", "/r/c/z", "/s", "/s/q"];

let driver: StorageDriver;
beforeEach(async () => {
  driver = openInMemoryDriver();
  for (const file of FILES) await driver.putContent(file, file);
});

async function walked(from: string, startAfter?: string, visit: Visit = () => undefined): Promise<string[]> {
  const paths: string[] = [];
  const collect: Visit = async (entry) => {
    paths.push(entry.path);
    return await visit(entry);
  };
  await walk(driver, from, collect, startAfter === undefined ? {} : { startAfter });
  return paths;
}

describe("walk", () => {
  test("visits directories before their contents, in order of components", async () => {
    expect(await walked("/")).toEqual(WALKED);
    expect(await walked("/r/b")).toEqual(["/r/b/1", "/r/b/2", "/r/b/2/x"]);
  });

  test("tells names and kinds", async () => {
    const seen: unknown[] = [];
    await walk(driver, "/r/b", (entry) => void seen.push(entry));
    expect(seen).toEqual([
      { name: "1", path: "/r/b/1", isDirectory: false },
      { name: "2", path: "/r/b/2", isDirectory: true },
      { name: "x", path: "/r/b/2/x", isDirectory: false },
    ]);
  });

  test("starts after any path, existing or not", async () => {
    const key = (path: string): string => path.replaceAll("/", "\0");
    for (const from of ["/", "/r", "/r/b", "/s"]) {
      const all = WALKED.filter((path) => from === "/" || path.startsWith(`${from}/`));
      for (const startAfter of [...WALKED, "/q", "/r/aa", "/r/b/0", "/r/b/1/deep", "/r/b/2/x/y", "/r/b/3", "/r/b-", "/r/b-c/0/1", "/r/d", "/t", "/r/b/gone/x", "/"]) {
        expect({ from, startAfter, paths: await walked(from, startAfter) }).toEqual({ from, startAfter, paths: all.filter((path) => key(path) > key(startAfter)) });
      }
    }
  });

  test("leaves out what is in a skipped directory", async () => {
    expect(await walked("/r", undefined, ({ name }) => (name === "b" ? "skip" : undefined))).toEqual(["/r/a", "/r/b", "/r/b-c", "/r/b-c/1", "/r/b.d", "/r/c", "/r/c/z"]);
  });

  test("goes on behind a file that is skipped", async () => {
    expect(await walked("/r/b", undefined, () => "skip")).toEqual(["/r/b/1", "/r/b/2"]);
  });

  test("ends at once when told to, at any depth", async () => {
    expect(await walked("/", undefined, ({ path }) => (path === "/r/b/2/x" ? "stop" : undefined))).toEqual(WALKED.slice(0, 6));
    expect(await walked("/", "/r/b/1", ({ path }) => (path === "/r/b/2/x" ? "stop" : undefined))).toEqual(["/r/b/2", "/r/b/2/x"]);
  });

  test("takes a directory that vanishes as empty", async () => {
    const paths = await walked("/r", undefined, async ({ path }) => {
      if (path === "/r/b") await driver.delete("/r/b");
    });
    expect(paths).toEqual(["/r/a", "/r/b", "/r/b-c", "/r/b-c/1", "/r/b.d", "/r/c", "/r/c/z"]);
  });

  test("fails where its start is missing, unless there is a place to start after", async () => {
    await expect(walked("/missing")).rejects.toThrow(PathNotFoundError);
    expect(await walked("/missing", "/missing/a")).toEqual([]);
  });

  test("passes on every error of the visitor, also one that says not found", async () => {
    await expect(walked("/r", undefined, () => { throw new PathNotFoundError("test", "/elsewhere"); })).rejects.toThrow("/elsewhere");
    await expect(walked("/r", undefined, ({ name }) => { if (name === "x") throw new PathNotFoundError("test", "/elsewhere"); })).rejects.toThrow("/elsewhere");
  });

  test("passes on errors of the driver", async () => {
    const list = driver.list.bind(driver);
    driver.list = async (path, options) => {
      if (path === "/r/b/2") throw new Error("the disk is on fire");
      return await list(path, options);
    };
    await expect(walked("/r")).rejects.toThrow("on fire");
    await expect(Array.fromAsync(listTree(driver, "/r"))).rejects.toThrow("on fire");
  });
});

describe("listAll", () => {
  test("goes through every page", async () => {
    const list = driver.list.bind(driver);
    driver.list = (path, options) => list(path, { ...options, limit: 2 });
    expect((await Array.fromAsync(listAll(driver, "/r"))).map(({ name }) => name)).toEqual(["a", "b", "b-c", "b.d", "c"]);
    expect((await Array.fromAsync(listAll(driver, "/r", "b"))).map(({ name }) => name)).toEqual(["b-c", "b.d", "c"]);
  });

  test("fails for a missing directory", async () => {
    await expect(Array.fromAsync(listAll(driver, "/missing"))).rejects.toThrow(PathNotFoundError);
  });
});

describe("listTree", () => {
  test("gives every file with its size", async () => {
    const found = await Array.fromAsync(listTree(driver, "/"));
    expect(found.map(({ path }) => path).sort()).toEqual(FILES.toSorted());
    for (const { path, sizeBytes, isDirectory } of found) expect({ sizeBytes, isDirectory }).toEqual({ sizeBytes: path.length, isDirectory: false });
  });

  test("uses the store's own flat listing where there is one", async () => {
    const info = { path: "/x/y", sizeBytes: 3, modifiedAt: new Date(0), isDirectory: false };
    driver.listFiles = async function* () {
      yield [info];
      yield [info, info];
    };
    expect(await Array.fromAsync(listTree(driver, "/x"))).toEqual([info, info, info]);
  });

  test("leaves out what vanishes and has nothing for a missing directory", async () => {
    const stat = driver.stat.bind(driver);
    driver.stat = async (path) => {
      if (path === "/r/b/1") throw new PathNotFoundError("test", path);
      return await stat(path);
    };
    expect((await Array.fromAsync(listTree(driver, "/r/b"))).map(({ path }) => path)).toEqual(["/r/b/2/x"]);
    expect(await Array.fromAsync(listTree(driver, "/missing"))).toEqual([]);
  });
});
