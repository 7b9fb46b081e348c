import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, readdir, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError, StorageFullError } from "../../src/storage/errors.ts";
import { openFilesystemDriver } from "../../src/storage/filesystem/driver.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const MIB = 1024 * 1024;

describeWith(["tmpfs"], "filesystem driver on a full disk", () => {
  let folder: TempFolder;
  let disk: string;
  let driver: StorageDriver;

  beforeEach(async () => {
    folder = await tempFolder();
    disk = join(folder.path, "disk");
    await mkdir(disk);
    const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]);
    if (!mounted.success) throw new Error(`a small disk cannot be mounted (it takes root on Linux; REGISTRY_TEST_SKIP=tmpfs leaves this out): ${mounted.stderr.toString()}`);
    driver = openFilesystemDriver({ rootdirectory: disk });
  });

  afterEach(async () => {
    await driver[Symbol.asyncDispose]();
    Bun.spawnSync(["umount", disk]);
    await folder[Symbol.asyncDispose]();
  });

  /** Leaves so many bytes of the disk. */
  async function fill(leftBytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(disk);
    await writeFile(join(disk, "filler"), new Uint8Array(bavail * bsize - leftBytes));
  }

  test("a writer says that it is full, counts what is in the file, and goes on when there is room again", async () => {
    await fill(2 * MIB);
    for (const pieceBytes of [MIB + 4096, 60_000]) {
      const writer = await driver.writer("/up/data", { append: true });
      const failure = await writeUntilFull(writer, pieceBytes);
      expect(failure).toBeInstanceOf(StorageFullError);
      expect(failure).toMatchObject({ message: "filesystem: no space left to write /up/data" });
      expect(writer.sizeBytes).toBe((await stat(join(disk, "up/data"))).size);
      expect(writer.sizeBytes).toBeGreaterThan(MIB);
      await writer.close();
    }
    await rm(join(disk, "filler"));
    const before = (await driver.stat("/up/data")).sizeBytes;
    await using writer = await driver.writer("/up/data", { append: true });
    expect(writer.sizeBytes).toBe(before);
    await writer.write(new Uint8Array(MIB));
    await writer.commit();
    expect((await driver.stat("/up/data")).sizeBytes).toBe(before + MIB);
  });

  test("a file that is created vanishes, and the one it was to replace stays", async () => {
    await driver.putContent("/a/data", "old");
    await fill(MIB);
    {
      await using writer = await driver.create("/a/data");
      expect(await writeUntilFull(writer, MIB + 4096)).toBeInstanceOf(StorageFullError);
    }
    expect(await readdir(join(disk, "a"))).toEqual(["data"]);
    expect(Buffer.from(await driver.getContent("/a/data")).toString()).toBe("old");
  });

  test("putContent changes nothing and leaves nothing", async () => {
    await driver.putContent("/a/link", "old");
    await fill(64 * 1024);
    await expect(driver.putContent("/a/link", new Uint8Array(MIB))).rejects.toThrow(StorageFullError);
    await expect(driver.putContent("/a/new", new Uint8Array(MIB))).rejects.toThrow(StorageFullError);
    expect(await readdir(join(disk, "a"))).toEqual(["link"]);
    expect(Buffer.from(await driver.getContent("/a/link")).toString()).toBe("old");
    await expect(driver.getContent("/a/new")).rejects.toThrow(PathNotFoundError);
  });

  test("with no byte left nothing can be written, but everything be read and deleted", async () => {
    await driver.putContent("/a/link", "content");
    await driver.putContent("/b/link", "content");
    await fill(0);
    await expect(driver.putContent("/c/link", "x")).rejects.toThrow(StorageFullError);
    {
      await using writer = await driver.writer("/up/data", { append: true });
      await expect(writer.write(new Uint8Array(1))).rejects.toThrow(StorageFullError);
    }
    const created = await driver.create("/c/data");
    await expect(created.write(new Uint8Array(1))).rejects.toThrow(StorageFullError);
    await created[Symbol.asyncDispose]();
    expect(Buffer.from(await driver.getContent("/a/link")).toString()).toBe("content");
    expect((await driver.list("/a")).entries).toEqual([{ name: "link", isDirectory: false }]);
    await driver.move("/b/link", "/d/link");
    await driver.delete("/d");
    await driver.delete("/filler");
    await driver.putContent("/c/link", "x");
  });
});

async function writeUntilFull(writer: { write(chunk: Uint8Array): Promise<void> }, pieceBytes: number): Promise<unknown> {
  for (let written = 0; written < 8 * MIB; written += pieceBytes) {
    try {
      await writer.write(new Uint8Array(pieceBytes).fill(7));
    } catch (error) {
      return error;
    }
  }
  throw new Error("the disk did not become full");
}
