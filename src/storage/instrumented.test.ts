import { describe, expect, test } from "bun:test";
import { tmpdir } from "node:os";
import type { FileInfo, StorageDriver } from "./driver.ts";
import { InvalidPathError, PathNotFoundError } from "./errors.ts";
import { openFilesystemDriver } from "./filesystem/driver.ts";
import { openInMemoryDriver } from "./inmemory/driver.ts";
import { instrumentDriver, type StorageObservers } from "./instrumented.ts";

/** Whether every call reaches a driver that does what is asked, and none reaches it with a bad path. */
function openRecording(): { readonly driver: StorageDriver; readonly calls: string[] } {
  const calls: string[] = [];
  const inner = openInMemoryDriver();
  const driver: StorageDriver = new Proxy(inner, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      return (...parameters: unknown[]): unknown => {
        calls.push(String(name));
        return Reflect.apply(member, target, parameters);
      };
    },
  });
  return { driver, calls };
}

const CALLS: Readonly<Record<string, (driver: StorageDriver, path: string) => Promise<unknown>>> = {
  getContent: (driver, path) => driver.getContent(path),
  putContent: (driver, path) => driver.putContent(path, "x"),
  reader: (driver, path) => driver.reader(path),
  writer: (driver, path) => driver.writer(path, { append: true }),
  create: (driver, path) => driver.create(path),
  stat: (driver, path) => driver.stat(path),
  list: (driver, path) => driver.list(path),
  delete: (driver, path) => driver.delete(path),
  moveFrom: (driver, path) => driver.move(path, "/b"),
  moveTo: (driver, path) => driver.move("/b", path),
};

describe("instrumentDriver", () => {
  test.each(Object.keys(CALLS))("rejects bad paths of %s before the driver sees them", async (name) => {
    const { driver, calls } = openRecording();
    const call = CALLS[name];
    if (call === undefined) throw new Error(name);
    for (const path of ["", "a", "/a/", "//a", "/..", "/a/../b", "/a b"]) {
      await expect(call(instrumentDriver(driver), path)).rejects.toThrow(InvalidPathError);
    }
    expect(calls).toEqual([]);
  });

  test("hands on calls, results and failures", async () => {
    const driver = instrumentDriver(openInMemoryDriver());
    expect(driver.name).toBe("inmemory");
    await driver.putContent("/a/b", "text");
    expect(Buffer.from(await driver.getContent("/a/b")).toString()).toBe("text");
    await expect(driver.getContent("/a/b", 3)).rejects.toThrow("more than");
    expect(await new Response(await driver.reader("/a/b", { offset: 1, length: 2 })).text()).toBe("ex");
    await driver.move("/a/b", "/c");
    expect((await driver.stat("/c")).sizeBytes).toBe(4);
    expect((await driver.list("/", { limit: 1 })).next).toBe("a");
    await driver.delete("/c");
    await expect(driver.stat("/c")).rejects.toThrow(PathNotFoundError);
  });

  test("has the optional members of its driver and no others", () => {
    const memory = instrumentDriver(openInMemoryDriver());
    expect([memory.localFile, memory.redirectUrl, memory.listFiles, memory.listUnfinished]).toEqual([undefined, undefined, undefined, undefined]);
    expect("localFile" in memory).toBe(false);
    const local = instrumentDriver(openFilesystemDriver({ rootdirectory: tmpdir() }));
    expect(local.localFile?.("/a/b")).toBe(`${tmpdir()}/a/b`);
    expect(() => local.localFile?.("/a/../b")).toThrow(InvalidPathError);
  });

  test("checks the paths of optional members too", async () => {
    const info: FileInfo = { path: "/a/b", sizeBytes: 1, modifiedAt: new Date(0), isDirectory: false };
    const inner: StorageDriver = Object.assign(openInMemoryDriver(), {
      redirectUrl: async (path: string) => `https://store.example${path}`,
      listFiles: async function* () {
        yield [info];
      },
      findDirectories: async function* () {
        yield ["/a"];
      },
      listUnfinished: async function* () {
        yield { path: "/a/c", startedAt: new Date(0), abort: async () => undefined };
      },
    });
    const driver = instrumentDriver(inner);
    expect(await driver.redirectUrl?.("/a/b", { method: "GET" })).toBe("https://store.example/a/b");
    await expect(driver.redirectUrl?.("a", { method: "GET" })).rejects.toThrow(InvalidPathError);
    expect(await Array.fromAsync(driver.listFiles?.("/") ?? [])).toEqual([[info]]);
    await expect(Array.fromAsync(driver.listFiles?.("/a/") ?? [])).rejects.toThrow(InvalidPathError);
    expect(await Array.fromAsync(driver.findDirectories?.("/", { nameEnd: "a" }) ?? [])).toEqual([["/a"]]);
    await expect(Array.fromAsync(driver.findDirectories?.("/a/", { nameEnd: "a" }) ?? [])).rejects.toThrow(InvalidPathError);
    expect((await Array.fromAsync(driver.listUnfinished?.("/") ?? [])).map(({ path }) => path)).toEqual(["/a/c"]);
  });

  test("measures each page of what is listed, and leaves what is left early", async () => {
    let isLeft = false;
    const measured: string[] = [];
    const listFiles = async function* (): AsyncGenerator<readonly FileInfo[]> {
      try {
        for (;;) yield [];
      } finally {
        isLeft = true;
      }
    };
    const driver = instrumentDriver(Object.assign(openInMemoryDriver(), { listFiles }), { metrics: { action: (_, action) => void measured.push(action) } });
    let pages = 0;
    for await (const _ of driver.listFiles?.("/") ?? []) if (++pages === 3) break;
    expect({ pages, measured, isLeft }).toEqual({ pages: 3, measured: ["List", "List", "List"], isLeft: true });
  });

  test("measures calls under distribution's names, failed ones too", async () => {
    const measured: string[] = [];
    const metrics: NonNullable<StorageObservers["metrics"]> = {
      action(driver, action, seconds) {
        expect(seconds).toBeGreaterThanOrEqual(0);
        measured.push(`${driver} ${action}`);
      },
    };
    const driver = instrumentDriver(openInMemoryDriver(), { metrics });
    await driver.putContent("/a", "x");
    await driver.getContent("/a");
    await driver.stat("/a");
    await driver.list("/");
    await driver.move("/a", "/b");
    await (await driver.reader("/b")).cancel();
    await (await driver.writer("/b", { append: true })).close();
    await driver.delete("/b");
    await expect(driver.stat("/b")).rejects.toThrow(PathNotFoundError);
    await expect(driver.stat("b")).rejects.toThrow(InvalidPathError);
    await Promise.resolve();
    expect(measured).toEqual(["PutContent", "GetContent", "Stat", "List", "Move", "Delete", "Stat", "Stat"].map((action) => `inmemory ${action}`));
  });

  test("runs calls in spans", async () => {
    const spans: unknown[] = [];
    const tracing: NonNullable<StorageObservers["tracing"]> = {
      async storage(action, about, work) {
        spans.push({ action, ...about });
        return await work();
      },
    };
    const driver = instrumentDriver(openInMemoryDriver(), { tracing });
    await driver.putContent("/a", "x");
    await (await driver.create("/b")).cancel();
    await expect(driver.getContent("/c")).rejects.toThrow(PathNotFoundError);
    expect(spans).toEqual([
      { action: "PutContent", driver: "inmemory", path: "/a" },
      { action: "Writer", driver: "inmemory", path: "/b" },
      { action: "GetContent", driver: "inmemory", path: "/c" },
    ]);
  });

  test("ends its driver", async () => {
    const { driver, calls } = openRecording();
    await instrumentDriver(driver)[Symbol.asyncDispose]();
    expect(calls).toEqual(["Symbol(Symbol.asyncDispose)"]);
  });
});
