import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileWriter, StorageDriver } from "../driver.ts";
import { InvalidPathError, PathNotFoundError, WriterBusyError } from "../errors.ts";
import { openFilesystemDriver } from "./driver.ts";

let root: string;
let driver: StorageDriver;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "filesystem-driver-"));
  driver = openFilesystemDriver({ rootdirectory: root });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function on(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** How many files below the root this process has open. */
async function openFiles(): Promise<number> {
  const links = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
  return links.filter((link) => link.startsWith(root)).length;
}

describe("openFilesystemDriver", () => {
  test("stores each path under the root, as it is", async () => {
    await driver.putContent("/docker/registry/v2/link", "x");
    expect(on("docker/registry/v2/link")).toBe("x");
    expect(driver.localFile?.("/docker/registry/v2/link")).toBe(join(root, "docker/registry/v2/link"));
  });

  test("takes a root with a slash at the end, a relative one, and a link", async () => {
    expect(openFilesystemDriver({ rootdirectory: `${root}/` }).localFile?.("/a")).toBe(`${root}/a`);
    expect(openFilesystemDriver({ rootdirectory: "some/where" }).localFile?.("/a")).toBe(join(process.cwd(), "some/where/a"));
    expect(openFilesystemDriver({ rootdirectory: "/" }).localFile?.("/a")).toBe("/a");
    mkdirSync(join(root, "real"));
    symlinkSync("real", join(root, "link"));
    await openFilesystemDriver({ rootdirectory: join(root, "link") }).putContent("/a", "x");
    expect(on("real/a")).toBe("x");
  });

  test("lists a root that is not made yet as empty, and makes nothing by looking", async () => {
    const later = openFilesystemDriver({ rootdirectory: join(root, "later") });
    expect(await later.list("/")).toEqual({ entries: [], next: undefined });
    await expect(later.stat("/")).rejects.toThrow(PathNotFoundError);
    await expect(later.list("/a")).rejects.toThrow(PathNotFoundError);
    await expect(later.delete("/a")).rejects.toThrow(PathNotFoundError);
    expect(readdirSync(root)).toEqual([]);
  });

  test("checks paths itself: nothing leads out of the root", async () => {
    const inside = openFilesystemDriver({ rootdirectory: join(root, "inside") });
    writeFileSync(join(root, "outside"), "secret");
    for (const path of ["/../outside", "/a/../../outside", "/..", "/./a", "a", "//a", "/a\0"]) {
      await expect(inside.getContent(path)).rejects.toThrow(InvalidPathError);
      await expect(inside.putContent(path, "x")).rejects.toThrow(InvalidPathError);
      await expect(inside.stat(path)).rejects.toThrow(InvalidPathError);
      await expect(inside.list(path)).rejects.toThrow(InvalidPathError);
      await expect(inside.delete(path)).rejects.toThrow(InvalidPathError);
      await expect(inside.move("/a", path)).rejects.toThrow(InvalidPathError);
      expect(() => inside.localFile?.(path)).toThrow(InvalidPathError);
    }
    expect(on("outside")).toBe("secret");
  });

  test("makes directories and files that the umask alone restricts", async () => {
    const before = process.umask(0o027);
    try {
      await driver.putContent("/a/put", "x");
      await (await driver.writer("/b/written", { append: false })).commit();
      await (await driver.create("/c/created")).commit();
      await driver.move("/b/written", "/d/moved");
    } finally {
      process.umask(before);
    }
    for (const directory of ["a", "b", "c", "d"]) expect(statSync(join(root, directory)).mode & 0o7777).toBe(0o750);
    for (const file of ["a/put", "c/created", "d/moved"]) expect(statSync(join(root, file)).mode & 0o7777).toBe(0o640);
  });

  test("names itself and the system's reason in failures that are not its own", async () => {
    mkdirSync(join(root, "directory"));
    await expect(driver.getContent("/directory")).rejects.toThrow(/^filesystem: EISDIR/);
    await expect(driver.putContent("/directory", "x")).rejects.toThrow(/^filesystem: EISDIR/);
    writeFileSync(join(root, "file"), "");
    await expect(driver.putContent("/file/under", "x")).rejects.toThrow(/^filesystem: ENOTDIR/);
    symlinkSync("loop", join(root, "loop"));
    await expect(driver.stat("/loop")).rejects.toThrow(/^filesystem: ELOOP/);
  });

  test("closes every file it opens", async () => {
    await driver.putContent("/file", "x".repeat(600_000));
    await driver.getContent("/file");
    for (let round = 0; round < 5; round++) {
      await (await driver.reader("/file")).cancel();
      for await (const _ of await driver.reader("/file", { offset: 5 }));
      await (await driver.writer("/up/data", { append: true })).close();
      await (await driver.writer("/up/data", { append: true })).cancel();
      await (await driver.create("/new")).close();
      await driver.create("/new").then((writer) => writer.commit());
      await expect(driver.reader("/missing")).rejects.toThrow(PathNotFoundError);
      await expect(driver.reader("/up")).rejects.toThrow("not a file");
      await expect(driver.getContent("/up")).rejects.toThrow("EISDIR");
    }
    expect(await openFiles()).toBe(0);
  });
});

describe("getContent and reader", () => {
  test("find what is large by name, and positions beyond 4 GiB", async () => {
    writeFileSync(join(root, "sparse"), "");
    truncateSync(join(root, "sparse"), 5 * 1024 ** 3);
    writeFileSync(join(root, "sparse"), "tail", { flag: "a" });
    expect((await driver.stat("/sparse")).sizeBytes).toBe(5 * 1024 ** 3 + 4);
    await expect(driver.getContent("/sparse")).rejects.toThrow("allowed");
    expect(await new Response(await driver.reader("/sparse", { offset: 5 * 1024 ** 3 + 1 })).text()).toBe("ail");
  });

  test("follow links, and find one that leads nowhere missing", async () => {
    await driver.putContent("/real/file", "content");
    symlinkSync("real", join(root, "link"));
    symlinkSync("nowhere", join(root, "dangling"));
    expect(Buffer.from(await driver.getContent("/link/file")).toString()).toBe("content");
    expect((await driver.stat("/link")).isDirectory).toBe(true);
    expect((await driver.list("/")).entries).toContainEqual({ name: "link", isDirectory: true });
    await expect(driver.getContent("/dangling")).rejects.toThrow(PathNotFoundError);
    await expect(driver.stat("/dangling")).rejects.toThrow(PathNotFoundError);
    await driver.delete("/link");
    expect(on("real/file")).toBe("content");
  });
});

describe("putContent and create", () => {
  test("give a file a new inode, so that who reads the old one goes on with it", async () => {
    await driver.putContent("/file", "old");
    linkSync(join(root, "file"), join(root, "kept"));
    await driver.putContent("/file", "new");
    expect([on("file"), on("kept")]).toEqual(["new", "old"]);
  });

  test("survive a clean-up that removes their folder at any moment", async () => {
    let removals = 0;
    for (let round = 0; round < 25; round++) {
      let ended = false;
      const put = driver.putContent("/a/b/c/link", `round ${round}`).finally(() => {
        ended = true;
      });
      // Fewer removals than the driver has tries.
      for (let left = 4; left > 0 && !ended; ) {
        if (existsSync(join(root, "a/b"))) {
          rmSync(join(root, "a"), { recursive: true });
          removals++;
          left--;
        }
        await Bun.sleep(0);
      }
      await put;
    }
    expect(removals).toBeGreaterThan(25);
    await driver.putContent("/a/b/c/link", "last");
    expect(on("a/b/c/link")).toBe("last");
    expect(readdirSync(join(root, "a/b/c"))).toEqual(["link"]);
  });

  test("leave no file behind when they cannot finish", async () => {
    mkdirSync(join(root, "a/file"), { recursive: true });
    await expect(driver.putContent("/a/file", "x")).rejects.toThrow("EISDIR");
    const writer = await driver.create("/a/file");
    await writer.write(bytes("x"));
    await expect(writer.commit()).rejects.toThrow("EISDIR");
    await writer[Symbol.asyncDispose]();
    expect(readdirSync(join(root, "a"))).toEqual(["file"]);
    expect(await openFiles()).toBe(0);
  });

  test("have a file of their own beside the place until they are done", async () => {
    const writer = await driver.create("/a/data");
    expect(readdirSync(join(root, "a"))).toEqual([expect.stringMatching(/^data\.[0-9a-f-]{36}\.tmp$/)]);
    await writer.cancel();
    expect(readdirSync(join(root, "a"))).toEqual([]);
  });
});

describe("writer", () => {
  /** Makes the file look as if its writer had been quiet for so long. */
  function age(seconds = 60): void {
    const then = Date.now() / 1000 - seconds;
    utimesSync(join(root, "up/data"), then, then);
  }

  async function opened(append = true): Promise<FileWriter> {
    return await openFilesystemDriver({ rootdirectory: root }).writer("/up/data", { append });
  }

  test("shows the file while it is open, and nothing beside it", async () => {
    const writer = await driver.writer("/up/data", { append: true });
    await writer.write(bytes("part"));
    expect(readdirSync(join(root, "up"))).toEqual(["data"]);
    expect(on("up/data")).toBe("part");
    await writer.close();
    expect(readdirSync(join(root, "up"))).toEqual(["data"]);
  });

  test("is refused while another one was active within half a minute, and leaves nothing behind then", async () => {
    const first = await driver.writer("/up/data", { append: true });
    age(25);
    await expect(opened()).rejects.toThrow(WriterBusyError);
    expect(readdirSync(join(root, "up"))).toEqual(["data"]);
    await first.close();
    await (await opened()).close();
  });

  test("goes on at once after a process that died, with all that it wrote", async () => {
    const program = `
      const { openFilesystemDriver } = await import(${JSON.stringify(join(import.meta.dir, "driver.ts"))});
      const writer = await openFilesystemDriver({ rootdirectory: ${JSON.stringify(root)} }).writer("/up/data", { append: true });
      await writer.write(new TextEncoder().encode("from the dead "));
      console.log("written");
      await Bun.sleep(60_000);`;
    const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
    await child.stdout.getReader().read();
    await expect(opened()).rejects.toThrow(WriterBusyError);
    child.kill("SIGKILL");
    await child.exited;
    await using writer = await driver.writer("/up/data", { append: true });
    expect(writer.sizeBytes).toBe(14);
    await writer.write(bytes("to the living"));
    await writer.commit();
    expect(on("up/data")).toBe("from the dead to the living");
  });

  test("that committed keeps others out until its file is in its place, and moves nothing but its own", async () => {
    const first = await driver.writer("/up/data", { append: true });
    await first.write(bytes("one"));
    await first.commit();
    await expect(opened()).rejects.toThrow(WriterBusyError);
    await driver.move("/up/data", "/blob");
    await first[Symbol.asyncDispose]();
    const second = await driver.writer("/up/data", { append: true });
    await second.write(bytes("two"));
    await second.commit();
    writeFileSync(join(root, "other"), "not from the writer");
    renameSync(join(root, "other"), join(root, "up/data"));
    await expect(driver.move("/up/data", "/blob")).rejects.toThrow(WriterBusyError);
    expect(on("blob")).toBe("one");
    await second[Symbol.asyncDispose]();
    expect(await openFiles()).toBe(0);
  });

  test("fences off a holder that was taken for dead: what it writes later reaches no file, and it cannot commit", async () => {
    const slow = await driver.writer("/up/data", { append: true });
    await slow.write(bytes("one "));
    age();
    const successor = await opened();
    expect(successor.sizeBytes).toBe(4);
    await slow.write(bytes("lost "));
    await successor.write(bytes("two"));
    const failure = await slow.commit().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(WriterBusyError);
    await expect(opened()).rejects.toThrow(WriterBusyError);
    await successor.commit();
    expect(on("up/data")).toBe("one two");
    expect(readdirSync(join(root, "up"))).toEqual(["data"]);
  });

  test("that was fenced off cancels nothing of its successor's", async () => {
    const slow = await driver.writer("/up/data", { append: true });
    age();
    const successor = await opened();
    await successor.write(bytes("kept"));
    await expect(slow.cancel()).rejects.toThrow(WriterBusyError);
    await successor.commit();
    expect(on("up/data")).toBe("kept");
  });

  test("that was fenced off learns it by writing, once it is time for a sign of life", async () => {
    let nowMs = Date.now();
    const ticking = openFilesystemDriver({ rootdirectory: root }, { clock: { now: () => nowMs } });
    const slow = await ticking.writer("/up/data", { append: true });
    age();
    const successor = await opened();
    nowMs += 40_000;
    await expect(slow.write(bytes("x"))).rejects.toThrow(WriterBusyError);
    await slow[Symbol.asyncDispose]();
    await successor.commit();
  });

  test("starts anew over a dead one's bytes when it does not append", async () => {
    const slow = await driver.writer("/up/data", { append: true });
    await slow.write(bytes("old"));
    age();
    const successor = await opened(false);
    expect(successor.sizeBytes).toBe(0);
    await slow.write(bytes("older"));
    await successor.write(bytes("new"));
    await successor.commit();
    await slow[Symbol.asyncDispose]();
    expect(on("up/data")).toBe("new");
  });

  test("takes over a large file whole", async () => {
    const slow = await driver.writer("/up/data", { append: true });
    const piece = new Uint8Array(1024 * 1024 + 7).fill(3);
    for (let count = 0; count < 5; count++) await slow.write(piece);
    age();
    const successor = await opened();
    expect(successor.sizeBytes).toBe(5 * piece.length);
    await successor.commit();
    await slow[Symbol.asyncDispose]();
    expect(readFileSync(join(root, "up/data")).every((byte) => byte === 3)).toBe(true);
  });

  test("finds its file missing at the commit when somebody deleted it", async () => {
    const writer = await driver.writer("/up/data", { append: true });
    await driver.delete("/up");
    await expect(writer.commit()).rejects.toThrow(PathNotFoundError);
    const cancelled = await driver.writer("/up/data", { append: true });
    await driver.delete("/up");
    await cancelled.cancel();
    expect(existsSync(join(root, "up"))).toBe(false);
    expect(await openFiles()).toBe(0);
  });

  test("ends only when what it was writing has been written", async () => {
    const writer = await driver.writer("/up/data", { append: false });
    const pending = writer.write(new Uint8Array(8 * 1024 * 1024).fill(1));
    await writer.close();
    await pending;
    expect(statSync(join(root, "up/data")).size).toBe(8 * 1024 * 1024);
  });

  test("counts what other programs put into the file before", async () => {
    mkdirSync(join(root, "up"));
    writeFileSync(join(root, "up/data"), "by another registry");
    const writer = await driver.writer("/up/data", { append: true });
    expect(writer.sizeBytes).toBe(19);
    await writer.close();
  });
});
