import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { DirectoryQuery, FileWriter, ListOptions, StorageDriver } from "../../src/storage/driver.ts";
import { InvalidOffsetError, InvalidPathError, PathNotFoundError, WriterBusyError } from "../../src/storage/errors.ts";
import { instrumentDriver } from "../../src/storage/instrumented.ts";
import { listAll, listTree, walk } from "../../src/storage/walk.ts";

/** An empty store, opened for one test. */
export interface OpenedStore {
  readonly driver: StorageDriver;
  /** Opens another driver on the same store, as another process would. Absent where a store belongs to its driver. */
  readonly reopen?: () => Promise<StorageDriver>;
  dispose(): PromiseLike<void>;
}

/** What a driver may do otherwise, because the interface lets it. */
export interface StoreCapabilities {
  /** Directories are things of their own: one stays when it is emptied, and nothing can be put under a file. Default: yes. */
  readonly hasDirectories?: boolean;
  /** `stat` tells the length of what a `writer` closed without committing. Default: yes. */
  readonly showsUnfinished?: boolean;
  /** A writer is refused while another process writes to the file. Default: yes; object stores have no locks, and find out at the commit. */
  readonly locksBetweenProcesses?: boolean;
  /** The largest stream that is tried; more than 128 MiB unless the store is slow here. */
  readonly largeStreamBytes?: number;
  /** Milliseconds for a test that moves much. */
  readonly slowTestMs?: number;
}

const MIB = 1024 * 1024;

const NAMES_AND_TEXTS: readonly (readonly [string, Uint8Array])[] = [
  ["nothing", new Uint8Array()],
  ["one byte", bytesOf("x")],
  ["text", bytesOf("some text\nin lines\n")],
  ["unicode", bytesOf("\u{1F433} größe 本")],
  ["bytes that are no text", Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0xff, 0xfe, 0x00, 0x0a)],
  ["1 MiB", patternBytes(MIB, 1)],
  ["a size that is no round number", patternBytes(70_001, 2)],
];

const ODD_PATHS = ["/a", "/.abc", "/a.a", "/0-9/abcdefg", "/abcdefg/z.75", "/abc/1.2.3.4.5-6_zyx/123.z/4", "/b/Docker/docker-registry", "/c/a--b", "/c/a-.b", "/_.abc", "/...", "/..d", "/-", `/${"l".repeat(128)}/${"n".repeat(200)}`, "/data.lock/data", "/x.tmp"];

const BAD_PATHS = ["", "abc", "123.abc", "//bcd", "/abc_123/", "/a//b", "/.", "/..", "/a/../b", "/a/./b", "/a b", "/a+b", "/a\0b", "/größe", "/a\\b", "/a:b", "/a%2f"];

/**
 * The rules of `StorageDriver`, as tests for one driver. The driver is tried as it is used: behind the wrapper that checks paths.
 * @param open Opens a store that is empty and used by nobody else.
 */
export function storageDriverContract(name: string, open: () => Promise<OpenedStore>, capabilities: StoreCapabilities = {}): void {
  const hasDirectories = capabilities.hasDirectories ?? true;
  const showsUnfinished = capabilities.showsUnfinished ?? true;
  const locksBetweenProcesses = capabilities.locksBetweenProcesses ?? true;
  const largeStreamBytes = capabilities.largeStreamBytes ?? 130 * MIB;
  const slowTestMs = capabilities.slowTestMs ?? 60_000;

  describe(`${name}: StorageDriver`, () => {
    let store: OpenedStore;
    let driver: StorageDriver;
    /** Disposed of after the test. */
    let others: StorageDriver[];

    beforeEach(async () => {
      store = await open();
      driver = instrumentDriver(store.driver);
      others = [];
    });

    afterEach(async () => {
      for (const other of others) await other[Symbol.asyncDispose]();
      await driver[Symbol.asyncDispose]();
      await store.dispose();
    });

    /** A driver of another process, or the same where there cannot be another. */
    async function secondDriver(): Promise<StorageDriver> {
      if (store.reopen === undefined) return driver;
      const other = await store.reopen();
      others.push(other);
      return instrumentDriver(other);
    }

    async function put(...paths: readonly string[]): Promise<void> {
      for (const path of paths) await driver.putContent(path, path);
    }

    async function textOf(path: string): Promise<string> {
      return Buffer.from(await driver.getContent(path)).toString();
    }

    async function namesIn(path: string, options?: ListOptions): Promise<string[]> {
      return (await driver.list(path, options)).entries.map((entry) => entry.name);
    }

    describe("paths", () => {
      test("of every form of the grammar hold files", async () => {
        await put(...ODD_PATHS);
        for (const path of ODD_PATHS) {
          expect(await textOf(path)).toBe(path);
          expect(await driver.stat(path)).toMatchObject({ path, sizeBytes: path.length, isDirectory: false });
        }
        expect((await Array.fromAsync(listTree(driver, "/"))).map(({ path }) => path).sort()).toEqual(ODD_PATHS.toSorted());
      });

      const calls: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
        getContent: (path) => driver.getContent(path),
        putContent: (path) => driver.putContent(path, "x"),
        reader: (path) => driver.reader(path),
        writer: (path) => driver.writer(path, { append: false }),
        create: (path) => driver.create(path),
        stat: (path) => driver.stat(path),
        list: (path) => driver.list(path),
        delete: (path) => driver.delete(path),
        "move from": (path) => driver.move(path, "/to"),
        "move to": (path) => driver.move("/from", path),
        redirectUrl: async (path) => await (driver.redirectUrl?.(path, { method: "GET" }) ?? Promise.reject(new InvalidPathError(name, path))),
        localFile: async (path) => driver.localFile?.(path) ?? Promise.reject(new InvalidPathError(name, path)),
      };

      test.each(Object.entries(calls))("outside the grammar are refused by %s", async (method, call) => {
        await put("/from");
        for (const path of BAD_PATHS) await expect(call(path)).rejects.toThrow(InvalidPathError);
        if (method !== "stat" && method !== "list") await expect(call("/")).rejects.toThrow(InvalidPathError);
        expect(await namesIn("/")).toEqual(["from"]);
      });
    });

    describe("getContent and putContent", () => {
      test.each(NAMES_AND_TEXTS)("keep %s", async (_, content) => {
        await driver.putContent("/a/file", content);
        expect(hashOf(await driver.getContent("/a/file"))).toBe(hashOf(content));
        expect((await driver.stat("/a/file")).sizeBytes).toBe(content.length);
      });

      test("keep text as UTF-8", async () => {
        await driver.putContent("/text", "größe 本");
        expect(await driver.getContent("/text")).toEqual(bytesOf("größe 本"));
      });

      test("replace with shorter, longer and no content, many times", async () => {
        for (const size of [64 * 1024, 10, 0, 100_000, 1, 32]) {
          const content = patternBytes(size, size);
          await driver.putContent("/a/b/file", content);
          expect(hashOf(await driver.getContent("/a/b/file"))).toBe(hashOf(content));
        }
        expect(await namesIn("/a/b")).toEqual(["file"]);
      });

      test("take no part in what the caller does with its bytes afterwards", async () => {
        const bytes = bytesOf("before");
        await driver.putContent("/file", bytes);
        bytes.fill(0x21);
        const read = await driver.getContent("/file");
        expect(Buffer.from(read).toString()).toBe("before");
        read.fill(0x21);
        expect(await textOf("/file")).toBe("before");
      });

      test("keep a part of a larger buffer", async () => {
        await driver.putContent("/file", bytesOf("0123456789").subarray(3, 6));
        expect(await textOf("/file")).toBe("345");
      });

      test("fail for what is missing", async () => {
        await put("/there/file");
        for (const path of ["/missing", "/there/missing", "/missing/file", "/there/file/under"]) {
          const failure = await failureOf(driver.getContent(path));
          expect(failure).toBeInstanceOf(PathNotFoundError);
          expect(failure.message).toBe(`${driver.name}: Path not found: ${path}`);
        }
      });

      test("refuse to read more than allowed", async () => {
        await driver.putContent("/small", patternBytes(100, 3));
        await driver.putContent("/large", patternBytes(300_000, 4));
        expect((await driver.getContent("/small", 100)).length).toBe(100);
        expect((await driver.getContent("/large", 300_000)).length).toBe(300_000);
        for (const [path, maxBytes] of [["/small", 99], ["/large", 299_999], ["/large", 10]] as const) {
          const failure = await failureOf(driver.getContent(path, maxBytes));
          expect(failure).not.toBeInstanceOf(PathNotFoundError);
          expect(failure.message).toContain(String(maxBytes));
        }
      });

      test("leave one of the contents whole when several put at once", async () => {
        const contents = Array.from({ length: 8 }, (_, index) => patternBytes(50_000 + index, index));
        const hashes = contents.map(hashOf);
        const second = await secondDriver();
        await Promise.all(contents.map((content, index) => (index % 2 === 0 ? driver : second).putContent("/a/file", content)));
        expect(hashes).toContain(hashOf(await driver.getContent("/a/file")));
        expect(await namesIn("/a")).toEqual(["file"]);
      });

      test("never show a part while a file is replaced", async () => {
        const contents = [patternBytes(200_000, 1), patternBytes(10, 2)];
        const hashes = contents.map(hashOf);
        await driver.putContent("/a/file", contents[0] ?? "");
        let replacing = true;
        const replaced = (async () => {
          for (let round = 0; round < 20; round++) await driver.putContent("/a/file", contents[round % 2] ?? "");
          replacing = false;
        })();
        while (replacing) {
          expect(hashes).toContain(hashOf(await driver.getContent("/a/file")));
          await Bun.sleep(0);
        }
        await replaced;
      });

      if (hasDirectories) {
        test("fail under a file and in the place of a directory, and change nothing", async () => {
          await put("/file", "/directory/child");
          const under = await failureOf(driver.putContent("/file/under/it", "x"));
          const over = await failureOf(driver.putContent("/directory", "x"));
          for (const failure of [under, over]) expect(failure).not.toBeInstanceOf(PathNotFoundError);
          expect(await textOf("/file")).toBe("/file");
          expect(await namesIn("/")).toEqual(["directory", "file"]);
          expect(await namesIn("/directory")).toEqual(["child"]);
        });

        test("do not take a directory for missing", async () => {
          await put("/directory/child");
          expect(await failureOf(driver.getContent("/directory"))).not.toBeInstanceOf(PathNotFoundError);
          expect(await failureOf(driver.reader("/directory"))).not.toBeInstanceOf(PathNotFoundError);
        });
      }
    });

    describe("reader", () => {
      const content = patternBytes(700_001, 9);

      test("streams from every kind of offset, in every kind of length", async () => {
        await driver.putContent("/file", content);
        for (const offset of [undefined, 0, 1, 255, 262_144, 350_000, content.length - 1, content.length, content.length + 1, content.length * 10]) {
          for (const length of [undefined, 0, 1, 262_144, 262_145, content.length, content.length * 10]) {
            const range = { ...(offset === undefined ? {} : { offset }), ...(length === undefined ? {} : { length }) };
            const start = offset ?? 0;
            const expected = content.subarray(start, length === undefined ? undefined : start + length);
            expect({ range, hash: hashOf(await bytesFrom(await driver.reader("/file", range))) }).toEqual({ range, hash: hashOf(expected) });
          }
        }
      });

      test("streams an empty file as nothing", async () => {
        await driver.putContent("/empty", "");
        expect(await bytesFrom(await driver.reader("/empty"))).toEqual(new Uint8Array());
        expect(await bytesFrom(await driver.reader("/empty", { offset: 5 }))).toEqual(new Uint8Array());
      });

      test("refuses offsets that are none", async () => {
        await put("/file");
        for (const offset of [-1, -100, 0.5, Number.NaN]) await expect(driver.reader("/file", { offset })).rejects.toThrow(InvalidOffsetError);
      });

      test("fails for what is missing, when it is asked and not when it is read", async () => {
        await put("/file");
        for (const path of ["/missing", "/missing/too", "/file/under"]) await expect(driver.reader(path)).rejects.toThrow(PathNotFoundError);
        await expect(driver.reader("/missing", { offset: 10 })).rejects.toThrow(PathNotFoundError);
      });

      test("gives chunks that belong to whoever reads them", async () => {
        await driver.putContent("/file", content);
        const read: Uint8Array[] = [];
        for await (const chunk of await driver.reader("/file")) {
          read.push(Uint8Array.from(chunk));
          chunk.fill(0);
        }
        expect(hashOf(Buffer.concat(read))).toBe(hashOf(content));
        expect(hashOf(await bytesFrom(await driver.reader("/file")))).toBe(hashOf(content));
      });

      test("can be left at any time", async () => {
        await driver.putContent("/file", content);
        await (await driver.reader("/file")).cancel();
        const stream = await driver.reader("/file");
        const reader = stream.getReader();
        const first = await reader.read();
        expect(first.value?.length).toBeGreaterThan(0);
        const pending = reader.read();
        await reader.cancel();
        await pending;
        for await (const chunk of await driver.reader("/file")) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
        expect(hashOf(await bytesFrom(await driver.reader("/file")))).toBe(hashOf(content));
      });

      test("goes on with the old bytes or ends when the file is replaced or deleted meanwhile", async () => {
        await driver.putContent("/file", content);
        const stream = await driver.reader("/file");
        await driver.putContent("/file", patternBytes(700_001, 10));
        await driver.delete("/file");
        const read = await bytesFrom(stream).catch(() => undefined);
        if (read !== undefined && read.length > 0) expect(hashOf(read)).toBe(hashOf(content));
      });

      test("serves many at once, at random offsets", async () => {
        await driver.putContent("/file", content);
        const offsets = Array.from({ length: 32 }, (_, index) => (index * 104_729) % content.length);
        await Promise.all(
          offsets.map(async (offset) => {
            expect(hashOf(await bytesFrom(await driver.reader("/file", { offset })))).toBe(hashOf(content.subarray(offset)));
          }),
        );
      });
    });

    describe("writer", () => {
      test("writes a file that is committed", async () => {
        const writer = await driver.writer("/up/data", { append: false });
        expect(writer.sizeBytes).toBe(0);
        await writer.write(bytesOf("one "));
        expect(writer.sizeBytes).toBe(4);
        await writer.write(bytesOf("two"));
        expect(writer.sizeBytes).toBe(7);
        await writer.commit();
        expect(await textOf("/up/data")).toBe("one two");
        expect(await driver.stat("/up/data")).toMatchObject({ sizeBytes: 7, isDirectory: false });
        expect(await namesIn("/up")).toEqual(["data"]);
      });

      test.each([
        ["large pieces", [10 * MIB, 10 * MIB, 10 * MIB]],
        ["tiny pieces", [1, 2, 3]],
        ["mixed pieces", [3, 5 * MIB + 1, 17, 6 * MIB - 5, 1]],
        ["nothing first", [0, 10]],
        ["nothing at all", [0, 0]],
      ] as const)("goes on after each close, by another driver, with %s", async (_, sizes) => {
        const pieces = sizes.map((size, index) => patternBytes(size, index + 20));
        let expectedBytes = 0;
        for (const piece of pieces) {
          const writer = await (await secondDriver()).writer("/up/data", { append: true });
          expect(writer.sizeBytes).toBe(expectedBytes);
          for (let offset = 0; offset < piece.length; offset += 999_983) await writer.write(piece.subarray(offset, offset + 999_983));
          expectedBytes += piece.length;
          expect(writer.sizeBytes).toBe(expectedBytes);
          await writer.close();
          if (showsUnfinished) expect((await driver.stat("/up/data")).sizeBytes).toBe(expectedBytes);
        }
        const last = await driver.writer("/up/data", { append: true });
        expect(last.sizeBytes).toBe(expectedBytes);
        await last.commit();
        await driver.move("/up/data", "/blob/data");
        expect(hashOf(await driver.getContent("/blob/data", 64 * MIB))).toBe(hashOf(Buffer.concat(pieces)));
      }, slowTestMs);

      test("goes on after what was put and committed", async () => {
        await driver.putContent("/put", "");
        await driver.putContent("/put-more", "put ");
        for (const [path, expected] of [["/put", "end"], ["/put-more", "put end"]] as const) {
          const writer = await driver.writer(path, { append: true });
          await writer.write(bytesOf("end"));
          await writer.commit();
          await writer[Symbol.asyncDispose]();
          expect(await textOf(path)).toBe(expected);
        }
        const again = await driver.writer("/put", { append: true });
        expect(again.sizeBytes).toBe(3);
        await again.write(bytesOf("less"));
        await again.commit();
        expect(await textOf("/put")).toBe("endless");
      });

      test("starts anew when it does not append", async () => {
        await writeAndClose(await driver.writer("/data", { append: false }), "a long beginning");
        const writer = await driver.writer("/data", { append: false });
        expect(writer.sizeBytes).toBe(0);
        await writer.write(bytesOf("short"));
        await writer.commit();
        expect(await textOf("/data")).toBe("short");
      });

      test("makes an empty file", async () => {
        await (await driver.writer("/empty/data", { append: false })).commit();
        expect(await driver.stat("/empty/data")).toMatchObject({ sizeBytes: 0, isDirectory: false });
        expect(await textOf("/empty/data")).toBe("");
      });

      test("takes empty pieces, and pieces of larger buffers, and pieces that are reused", async () => {
        const writer = await driver.writer("/data", { append: false });
        const buffer = bytesOf("0123456789");
        await writer.write(new Uint8Array());
        await writer.write(buffer.subarray(2, 5));
        buffer.fill(0x61);
        await writer.write(buffer.subarray(0, 2));
        await writer.write(new Uint8Array());
        await writer.commit();
        expect(await textOf("/data")).toBe("234aa");
      });

      test("takes pieces in shared memory, small and large", async () => {
        const large = new Uint8Array(new SharedArrayBuffer(MIB));
        large.set(patternBytes(MIB, 5));
        const small = large.subarray(10, 1000);
        const writer = await driver.writer("/data", { append: false });
        await writer.write(large);
        await writer.write(small);
        await writer.commit();
        expect(hashOf(await driver.getContent("/data"))).toBe(hashOf(Buffer.concat([large, small])));
      });

      test("streams more than 128 MiB", async () => {
        const written = new Bun.CryptoHasher("sha256");
        const writer = await driver.writer("/large", { append: false });
        for (let offset = 0; offset < largeStreamBytes; offset += MIB) {
          const piece = patternBytes(Math.min(MIB, largeStreamBytes - offset), offset / MIB);
          written.update(piece);
          await writer.write(piece);
        }
        await writer.commit();
        expect((await driver.stat("/large")).sizeBytes).toBe(largeStreamBytes);
        const read = new Bun.CryptoHasher("sha256");
        for await (const chunk of await driver.reader("/large")) read.update(chunk);
        expect(read.digest("hex")).toBe(written.digest("hex"));
        await driver.move("/large", "/moved");
        expect((await driver.stat("/moved")).sizeBytes).toBe(largeStreamBytes);
        const tail = await bytesFrom(await driver.reader("/moved", { offset: largeStreamBytes - 5 }));
        expect(tail.length).toBe(5);
      }, slowTestMs);

      test("is refused while another writer holds the file, until that one ends", async () => {
        const second = locksBetweenProcesses ? await secondDriver() : driver;
        for (const end of ["close", "commit", "dispose"] as const) {
          const writer = await driver.writer("/up/data", { append: true });
          for (const append of [true, false]) await expect(second.writer("/up/data", { append })).rejects.toThrow(WriterBusyError);
          await expect(driver.writer("/up/data", { append: true })).rejects.toThrow(WriterBusyError);
          await writer.write(bytesOf("x"));
          if (end !== "dispose") await writer[end]();
          await writer[Symbol.asyncDispose]();
        }
        const last = await second.writer("/up/data", { append: true });
        expect(last.sizeBytes).toBe(3);
        await last.commit();
        expect(await textOf("/up/data")).toBe("xxx");
      });

      test("discards everything when it is cancelled, earlier sittings too", async () => {
        await writeAndClose(await driver.writer("/up/data", { append: true }), "earlier");
        const writer = await (await secondDriver()).writer("/up/data", { append: true });
        await writer.write(bytesOf("later"));
        await writer.cancel();
        await expect(driver.stat("/up/data")).rejects.toThrow(PathNotFoundError);
        await expect(driver.getContent("/up/data")).rejects.toThrow(PathNotFoundError);
        const anew = await driver.writer("/up/data", { append: true });
        expect(anew.sizeBytes).toBe(0);
        await anew.cancel();
        expect(await namesIn("/")).toEqual(hasDirectories ? ["up"] : []);
      });

      test("keeps what was written when it is left without a commit", async () => {
        {
          await using writer = await driver.writer("/data", { append: false });
          await writer.write(bytesOf("kept"));
        }
        const writer = await driver.writer("/data", { append: true });
        expect(writer.sizeBytes).toBe(4);
        await writer.commit();
        expect(await textOf("/data")).toBe("kept");
      });

      test("rejects every call after its end, but for being disposed of", async () => {
        for (const end of ["commit", "close", "cancel"] as const) {
          for (const opened of [driver.writer("/data", { append: false }), driver.create("/created")]) await expectClosedAfter(await opened, end);
        }
      });

      test("of different files do not hinder one another", async () => {
        const files = Array.from({ length: 8 }, (_, index) => ({ path: `/up/${index}/data`, pieces: Array.from({ length: 5 }, (__, piece) => patternBytes(200_000 + index, index * 10 + piece)) }));
        await Promise.all(
          files.map(async ({ path, pieces }) => {
            await using writer = await driver.writer(path, { append: false });
            for (const piece of pieces) await writer.write(piece);
            await writer.commit();
          }),
        );
        for (const { path, pieces } of files) expect(hashOf(await driver.getContent(path))).toBe(hashOf(Buffer.concat(pieces)));
      });

      test("says at most that its file is gone when its directory was deleted, and can begin anew", async () => {
        const writer = await driver.writer("/up/1/data", { append: false });
        await writer.write(bytesOf("x"));
        if (hasDirectories) await driver.delete("/up/1");
        const failure = await writer.close().catch((error: unknown) => error);
        if (failure !== undefined) expect(failure).toBeInstanceOf(PathNotFoundError);
        const other = await driver.writer("/up/1/data", { append: false });
        await other.write(bytesOf("anew"));
        await other.commit();
        expect(await textOf("/up/1/data")).toBe("anew");
      });

      if (hasDirectories) {
        test("fails under a file and in the place of a directory", async () => {
          await put("/file", "/directory/child");
          for (const path of ["/file/under", "/directory"]) {
            expect(await failureOf(driver.writer(path, { append: true }))).not.toBeInstanceOf(PathNotFoundError);
          }
          expect(await namesIn("/")).toEqual(["directory", "file"]);
          expect(await namesIn("/directory")).toEqual(["child"]);
        });
      }
    });

    describe("create", () => {
      test("shows nothing before the commit, and then all", async () => {
        const writer = await driver.create("/blob/data");
        for (let piece = 0; piece < 7; piece++) await writer.write(patternBytes(MIB, piece));
        expect(writer.sizeBytes).toBe(7 * MIB);
        await expect(driver.stat("/blob/data")).rejects.toThrow(PathNotFoundError);
        await expect(driver.getContent("/blob/data")).rejects.toThrow(PathNotFoundError);
        await expect(driver.reader("/blob/data")).rejects.toThrow(PathNotFoundError);
        await writer.commit();
        const whole = Buffer.concat(Array.from({ length: 7 }, (_, piece) => patternBytes(MIB, piece)));
        expect(hashOf(await (await secondDriver()).getContent("/blob/data", 8 * MIB))).toBe(hashOf(whole));
        expect(await namesIn("/blob")).toEqual(["data"]);
      });

      test("replaces at the commit, and not before", async () => {
        await driver.putContent("/file", "old");
        const writer = await driver.create("/file");
        expect(writer.sizeBytes).toBe(0);
        await writer.write(bytesOf("new"));
        expect(await textOf("/file")).toBe("old");
        await writer.commit();
        expect(await textOf("/file")).toBe("new");
      });

      test("leaves nothing when it is cancelled, closed or left", async () => {
        await driver.putContent("/a/old", "old");
        for (const end of ["cancel", "close", "dispose"] as const) {
          for (const path of ["/a/new", "/a/old"]) {
            const writer = await driver.create(path);
            await writer.write(patternBytes(100_000, 1));
            if (end === "dispose") await writer[Symbol.asyncDispose]();
            else await writer[end]();
          }
        }
        expect(await namesIn("/a")).toEqual(["old"]);
        expect(await textOf("/a/old")).toBe("old");
      });

      test("makes an empty file", async () => {
        await (await driver.create("/a/empty")).commit();
        expect((await driver.stat("/a/empty")).sizeBytes).toBe(0);
      });

      test("leaves one file whole when several create it at once", async () => {
        const contents = Array.from({ length: 4 }, (_, index) => patternBytes(300_000 + index, index));
        await Promise.all(
          contents.map(async (content) => {
            await using writer = await driver.create("/a/file");
            await writer.write(content);
            await writer.commit();
          }),
        );
        expect(contents.map(hashOf)).toContain(hashOf(await driver.getContent("/a/file")));
        expect(await namesIn("/a")).toEqual(["file"]);
      });
    });

    describe("stat", () => {
      test("tells size and time of files, and what is a directory", async () => {
        const before = Date.now();
        await driver.putContent("/a/file", "12345");
        const info = await driver.stat("/a/file");
        expect(info).toMatchObject({ path: "/a/file", sizeBytes: 5, isDirectory: false });
        // Stores round times to seconds, and their clocks may differ a little.
        expect(Math.abs(info.modifiedAt.getTime() - before)).toBeLessThan(10_000);
        expect(await driver.stat("/a")).toMatchObject({ path: "/a", sizeBytes: 0, isDirectory: true });
        expect((await driver.stat("/a")).modifiedAt).toBeInstanceOf(Date);
        expect(await driver.stat("/")).toMatchObject({ path: "/", sizeBytes: 0, isDirectory: true });
      });

      test("tells the new size and a time that is not earlier after a change", async () => {
        await driver.putContent("/file", "12345");
        const { modifiedAt } = await driver.stat("/file");
        await driver.putContent("/file", "123");
        const info = await driver.stat("/file");
        expect(info.sizeBytes).toBe(3);
        expect(info.modifiedAt.getTime()).toBeGreaterThanOrEqual(modifiedAt.getTime());
      });

      test("fails for what is missing, also beside and under a file", async () => {
        await put("/there/file");
        for (const path of ["/missing", "/there/fil", "/there/file2", "/there/file/under", "/the"]) await expect(driver.stat(path)).rejects.toThrow(PathNotFoundError);
      });
    });

    describe("list", () => {
      test("lists an empty store", async () => {
        expect(await driver.list("/")).toEqual({ entries: [], next: undefined });
      });

      test("gives direct children with their kinds, each once", async () => {
        await put("/a/file", "/a/dir/1", "/a/dir/2", "/a/dir/deep/er/3", "/ab/x", "/z");
        expect((await driver.list("/a")).entries).toEqual([{ name: "dir", isDirectory: true }, { name: "file", isDirectory: false }]);
        expect((await driver.list("/a/dir")).entries).toEqual([{ name: "1", isDirectory: false }, { name: "2", isDirectory: false }, { name: "deep", isDirectory: true }]);
        expect((await driver.list("/")).entries).toEqual([{ name: "a", isDirectory: true }, { name: "ab", isDirectory: true }, { name: "z", isDirectory: false }]);
      });

      test("is in bytewise order of names, files and directories mixed", async () => {
        const names = ["v1", "v1-rc", "v1.0", "v1.0-rc", "v10", "V1", "_v1", "a", "a-", "a.b", "A", "0", "00", "-", ".x", "b_c", "b-c", "b.c", "bc", "B-c", ...randomNames(40)];
        const unique = [...new Set(names)];
        await put(...unique.map((each, index) => (index % 3 === 0 ? `/n/${each}` : `/n/${each}/link`)));
        const sorted = unique.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect((await Array.fromAsync(listAll(driver, "/n"))).map((entry) => entry.name)).toEqual(sorted);
      }, slowTestMs);

      test("gives pages of every size, from every place", async () => {
        const names = ["a", "b", "b-1", "b.1", "b1", "c", "d"];
        await put(...names.map((each, index) => (index % 2 === 0 ? `/n/${each}/link` : `/n/${each}`)));
        for (let limit = 1; limit <= names.length + 1; limit++) {
          for (const startAfter of [undefined, "", "0", "a", "aa", "b", "b-", "b-1", "b0", "c", "cc", "d", "e"]) {
            const expected = names.filter((each) => each > (startAfter ?? ""));
            const options = { limit, ...(startAfter === undefined ? {} : { startAfter }) };
            const page = await driver.list("/n", options);
            expect({ options, count: page.entries.length <= limit }).toEqual({ options, count: true });
            expect({ options, names: await allPages(options) }).toEqual({ options, names: expected });
          }
        }

        async function allPages(options: ListOptions): Promise<string[]> {
          const found: string[] = [];
          for (let after = options.startAfter; ; ) {
            const page = await driver.list("/n", { ...options, ...(after === undefined ? {} : { startAfter: after }) });
            found.push(...page.entries.map((entry) => entry.name));
            if (page.next === undefined) return found;
            after = page.next;
          }
        }
      }, slowTestMs);

      test("sees every change at once, also of another driver", async () => {
        const second = await secondDriver();
        const expected = new Set<string>();
        for (let round = 0; round < 30; round++) {
          const child = `n${round}`;
          await (round % 2 === 0 ? driver : second).putContent(`/n/${child}`, "x");
          expected.add(child);
          expect(await namesIn("/n")).toEqual([...expected].sort());
          if (round % 3 === 2) {
            const gone = `n${round - 1}`;
            await second.delete(`/n/${gone}`);
            expected.delete(gone);
            expect(await namesIn("/n")).toEqual([...expected].sort());
          }
        }
      }, slowTestMs);

      test("fails for a missing directory, and for a file", async () => {
        await put("/there/file");
        for (const path of ["/missing", "/there/missing", "/ther", "/there/file", "/there/file/under"]) {
          await expect(driver.list(path)).rejects.toThrow(PathNotFoundError);
          await expect(driver.list(path, { startAfter: "a", limit: 1 })).rejects.toThrow(PathNotFoundError);
        }
      });

      if (hasDirectories) {
        test("lists a directory that was emptied", async () => {
          await put("/a/file");
          await driver.delete("/a/file");
          expect(await namesIn("/a")).toEqual([]);
        });
      }
    });

    describe("move", () => {
      test("takes content along, makes parents, and leaves nothing behind", async () => {
        await driver.putContent("/from/file", patternBytes(100_000, 1));
        await driver.move("/from/file", "/to/a/new/place");
        expect(hashOf(await driver.getContent("/to/a/new/place"))).toBe(hashOf(patternBytes(100_000, 1)));
        await expect(driver.stat("/from/file")).rejects.toThrow(PathNotFoundError);
      });

      test("replaces", async () => {
        await driver.putContent("/from", "new");
        await driver.putContent("/to", "old and longer");
        await driver.move("/from", "/to");
        expect(await textOf("/to")).toBe("new");
        expect(await namesIn("/")).toEqual(["to"]);
      });

      test("takes a file that is empty, and one that a writer committed", async () => {
        await (await driver.writer("/up/empty", { append: false })).commit();
        const writer = await driver.writer("/up/data", { append: false });
        await writer.write(patternBytes(6 * MIB, 3));
        await writer.commit();
        await driver.move("/up/empty", "/blob/empty");
        await driver.move("/up/data", "/blob/data");
        expect((await driver.stat("/blob/empty")).sizeBytes).toBe(0);
        expect(hashOf(await driver.getContent("/blob/data"))).toBe(hashOf(patternBytes(6 * MIB, 3)));
      });

      test("of a missing file fails and leaves the destination alone", async () => {
        await put("/there/file");
        for (const source of ["/missing", "/missing/file", "/there/file/under"]) {
          await expect(driver.move(source, "/there/file")).rejects.toThrow(PathNotFoundError);
          await expect(driver.move(source, "/nowhere/file")).rejects.toThrow(PathNotFoundError);
        }
        expect(await textOf("/there/file")).toBe("/there/file");
        expect(await namesIn("/")).toEqual(["there"]);
      });

      test("to its own place changes nothing", async () => {
        await put("/a/file");
        await driver.move("/a/file", "/a/file");
        expect(await textOf("/a/file")).toBe("/a/file");
      });

      if (hasDirectories) {
        test("under a file, or onto a directory, fails and loses nothing", async () => {
          await put("/from", "/file", "/directory/child");
          for (const destination of ["/file/under", "/directory"]) {
            expect(await failureOf(driver.move("/from", destination))).not.toBeInstanceOf(PathNotFoundError);
          }
          for (const path of ["/from", "/file", "/directory/child"]) expect(await textOf(path)).toBe(path);
        });
      }
    });

    describe("delete", () => {
      test("deletes a file and no other", async () => {
        await put("/a/file", "/a/file2", "/a/fil");
        await driver.delete("/a/file");
        expect(await namesIn("/a")).toEqual(["fil", "file2"]);
        await expect(driver.getContent("/a/file")).rejects.toThrow(PathNotFoundError);
      });

      test("deletes a directory with everything in it, and nothing beside it", async () => {
        await put("/a/1", "/a/b/2", "/a/b/c/3", "/ab", "/a.b/4", "/a-/5", "/a_/6", "/A/7");
        await driver.delete("/a");
        expect((await Array.fromAsync(listTree(driver, "/"))).map(({ path }) => path).sort()).toEqual(["/A/7", "/a-/5", "/a.b/4", "/a_/6", "/ab"]);
        await expect(driver.stat("/a")).rejects.toThrow(PathNotFoundError);
        await expect(driver.stat("/a/b/c/3")).rejects.toThrow(PathNotFoundError);
        await put("/a/1");
        expect(await namesIn("/a")).toEqual(["1"]);
      });

      test("fails for what is missing", async () => {
        await put("/there/file");
        for (const path of ["/missing", "/there/missing", "/there/fil", "/there/file/under", "/ther"]) await expect(driver.delete(path)).rejects.toThrow(PathNotFoundError);
        await driver.delete("/there/file");
        await expect(driver.delete("/there/file")).rejects.toThrow(PathNotFoundError);
      });

      test("deletes what a writer left unfinished", async () => {
        await put("/up/1/startedat");
        await writeAndClose(await driver.writer("/up/1/data", { append: true }), "unfinished");
        await driver.delete("/up/1");
        const writer = await driver.writer("/up/1/data", { append: true });
        expect(writer.sizeBytes).toBe(0);
        await writer.cancel();
      });
    });

    describe("optional members", () => {
      test("localFile names the file that holds the bytes", async () => {
        if (driver.localFile === undefined) return;
        await driver.putContent("/a/file", "local");
        expect(await Bun.file(driver.localFile("/a/file")).text()).toBe("local");
        expect(await Bun.file(driver.localFile("/a/missing")).exists()).toBe(false);
      });

      test("redirectUrl leads to the content, for GET and HEAD", async () => {
        if (driver.redirectUrl === undefined) return;
        await driver.putContent("/a/file", "redirected");
        for (const method of ["GET", "HEAD"] as const) {
          const url = await driver.redirectUrl("/a/file", { method });
          if (url === undefined) continue;
          const response = await fetch(url, { method });
          expect({ status: response.status, length: response.headers.get("content-length") }).toEqual({ status: 200, length: "10" });
          if (method === "GET") expect(await response.text()).toBe("redirected");
        }
      });

      test("listFiles gives every file in order of paths", async () => {
        if (driver.listFiles === undefined) return;
        const paths = ["/t/a-b", "/t/a/1", "/t/a/2/x", "/t/a.b", "/t/b"];
        await put(...paths, "/tt", "/t-/x");
        const found = (await Array.fromAsync(driver.listFiles("/t"))).flat();
        expect(found.map(({ path }) => path)).toEqual(paths.toSorted());
        for (const { path, sizeBytes, isDirectory } of found) expect({ sizeBytes, isDirectory }).toEqual({ sizeBytes: path.length, isDirectory: false });
      });

      test("findDirectories gives those of a kind, topmost ones only, in order of paths", async () => {
        const { findDirectories } = driver;
        if (findDirectories === undefined) return;
        const find = async (query: Omit<DirectoryQuery, "nameEnd">, path = "/t"): Promise<string[]> => (await Array.fromAsync(findDirectories.call(driver, path, { nameEnd: "s", ...query }))).flat();
        await put("/t/a/_ms/1", "/t/a/_ms/2/x", "/t/a/_ls/x", "/t/a/other/x", "/t/a-b/_ms/x", "/t/apps/c/_ms/x", "/t/apps/x", "/t/b/0/_ms/x", "/t/b/_ms/x/ys/z", "/t/s/x", "/t/files", "/ts/x", "/t-/s/x");
        const all = ["/t/a-b/_ms", "/t/a/_ls", "/t/a/_ms", "/t/apps", "/t/b/0/_ms", "/t/b/_ms", "/t/s"];
        expect(await find({})).toEqual(all);
        for (const pageSize of [1, 2, 3, 100]) expect(await find({ pageSize })).toEqual(all);
        expect(await find({ startAfter: "/t/a" })).toEqual(all);
        expect(await find({ startAfter: "/t/a/_m" })).toEqual(all.slice(2));
        expect(await find({ startAfter: "/t/a/_ms/", pageSize: 2 })).toEqual(all.slice(3));
        expect(await find({ startAfter: "/t/a~", pageSize: 2 })).toEqual(all.slice(4));
        expect(await find({ startAfter: "/t/z" })).toEqual([]);
        expect(await find({}, "/t/apps")).toEqual(["/t/apps/c/_ms"]);
        expect(await find({}, "/")).toEqual(["/t-/s", ...all, "/ts"]);
        expect(await find({}, "/missing")).toEqual([]);
        expect((await failureOf(find({}, "/t/"))).name).toBe("InvalidPathError");
      });

      test("listUnfinished finds what writers left, and can abort it", async () => {
        const { listUnfinished } = driver;
        if (listUnfinished === undefined) return;
        const writer = await driver.writer("/up/1/data", { append: true });
        await writer.write(patternBytes(6 * MIB, 1));
        await writer.close();
        const found = await Array.fromAsync(listUnfinished.call(driver, "/up"));
        expect(found.map(({ path }) => path)).toEqual(["/up/1/data"]);
        expect(Math.abs((found[0]?.startedAt.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
        await found[0]?.abort();
        expect(await Array.fromAsync(listUnfinished.call(driver, "/up"))).toEqual([]);
      });
    });

    test("walk goes through everything in order of components", async () => {
      await put("/r/a", "/r/b/1", "/r/b-c/1", "/r/b/2/x", "/r/c");
      const walked: string[] = [];
      await walk(driver, "/r", ({ path }) => void walked.push(path), { startAfter: "/r/a" });
      expect(walked).toEqual(["/r/b", "/r/b/1", "/r/b/2", "/r/b/2/x", "/r/b-c", "/r/b-c/1", "/r/c"]);
    });
  });
}

async function expectClosedAfter(writer: FileWriter, end: "commit" | "close" | "cancel"): Promise<void> {
  await writer.write(bytesOf("x"));
  await writer[end]();
  await expect(writer.write(bytesOf("y"))).rejects.toThrow();
  await expect(writer.commit()).rejects.toThrow();
  await expect(writer.close()).rejects.toThrow();
  await expect(writer.cancel()).rejects.toThrow();
  await writer[Symbol.asyncDispose]();
}

async function writeAndClose(writer: FileWriter, text: string): Promise<void> {
  await writer.write(bytesOf(text));
  await writer.close();
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

async function bytesFrom(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function hashOf(bytes: Uint8Array): string {
  return `${bytes.length}:${Bun.hash.xxHash64(bytes).toString(16)}`;
}

/** Bytes that differ by seed and by place, so that what is swapped or lost shows. */
function patternBytes(size: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  for (let index = 0; index < words.length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

function randomNames(count: number): string[] {
  const alphabet = "aAbB01-._zZ";
  const random = patternBytes(count * 8, 77);
  return Array.from({ length: count }, (_, index) => {
    const codes = random.subarray(index * 8, index * 8 + 2 + ((random[index * 8] ?? 0) % 6));
    return `r${Array.from(codes, (code) => alphabet[code % alphabet.length]).join("")}`;
  });
}
