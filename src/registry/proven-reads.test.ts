import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { ProvenReads, type Witness } from "./proven-reads.ts";

let folder: string;
let driver: StorageDriver;
let walks: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proven-reads-"));
  driver = openFilesystemDriver({ rootdirectory: folder });
  walks = 0;
  for (const path of ["a/b", "a/c", "d"]) mkdirSync(join(folder, path), { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

const LIMITS = { maxResults: 100, maxWeight: 1000 };

async function get(reads: ProvenReads<string>, key: string, read: (store: Witness) => Promise<string>): Promise<string> {
  return reads.peek(key) ?? (await reads.read(key, read, (_result, proofs) => proofs));
}

/** The names of folders, one below another. */
async function namesBelow(store: Witness, path: string): Promise<string[]> {
  const { entries } = await store.list(path);
  const below = await Promise.all(entries.map(async ({ name }) => [name, ...(await namesBelow(store, `${path === "/" ? "" : path}/${name}`))]));
  return below.flat();
}

async function walk(store: Witness): Promise<string> {
  walks++;
  return (await namesBelow(store, "/")).join(" ");
}

/** Walks until nothing is walked any more. */
async function settled(reads: ProvenReads<string>): Promise<string> {
  for (;;) {
    const before = walks;
    const result = await get(reads, "all", walk);
    if (walks === before) return result;
    await Bun.sleep(10);
  }
}

describe("ProvenReads", () => {
  test("uses a result again until a folder changes, at any depth and by anybody", async () => {
    const reads = new ProvenReads<string>(driver, LIMITS);
    expect(await settled(reads)).toBe("a b c d");
    mkdirSync(join(folder, "a/c/e"));
    expect(await get(reads, "all", walk)).toBe("a b c e d");
    expect(await settled(reads)).toBe("a b c e d");
    rmSync(join(folder, "d"), { recursive: true });
    expect(await get(reads, "all", walk)).toBe("a b c e");
    expect(await settled(reads)).toBe("a b c e");
    mkdirSync(join(folder, "a/b/e"));
    rmSync(join(folder, "a/c/e"), { recursive: true });
    expect(await get(reads, "all", walk)).toBe("a b e c");
  });

  test("tells walks apart by their keys", async () => {
    const reads = new ProvenReads<string>(driver, LIMITS);
    await settled(reads);
    expect(await get(reads, "other", async (store) => (await namesBelow(store, "/a")).join(" "))).toBe("b c");
    expect(await get(reads, "all", walk)).toBe("a b c d");
  });

  test("remembers nothing of a folder that cannot be proven, or is missing", async () => {
    symlinkSync(join(folder, "d"), join(folder, "a/link"));
    const reads = new ProvenReads<string>(driver, LIMITS);
    const missing = async (store: Witness): Promise<string> => {
      walks++;
      await store.list("/d");
      const error = await store.list("/missing").catch((reason: unknown) => reason);
      return String(error instanceof PathNotFoundError);
    };
    // Long enough for folders without links.
    for (let index = 0; index < 4; index++) {
      expect(await get(reads, "all", walk)).toBe("a b c link d");
      expect(await get(reads, "missing", missing)).toBe("true");
      await Bun.sleep(60);
    }
    expect(walks).toBe(8);
  });

  test("relies on files, from the moment when they have been in one state for a while", async () => {
    const reads = new ProvenReads<string>(driver, LIMITS);
    const file = join(folder, "file");
    writeFileSync(file, "one");
    const read = async (store: Witness): Promise<string> => {
      walks++;
      store.relyOn("/file");
      return Buffer.from(await driver.getContent("/file")).toString();
    };
    const settled = async (): Promise<string> => {
      for (let before = -1; before !== walks; await Bun.sleep(10)) {
        before = walks;
        await get(reads, "file", read);
      }
      return await get(reads, "file", read);
    };
    expect(await settled()).toBe("one");
    const time = new Date(1_700_000_000_123);
    writeFileSync(file, "two");
    utimesSync(file, time, time);
    expect(await get(reads, "file", read)).toBe("two");
    expect(await settled()).toBe("two");
    writeFileSync(`${file}.tmp`, "six");
    utimesSync(`${file}.tmp`, time, time);
    renameSync(`${file}.tmp`, file);
    expect(await get(reads, "file", read)).toBe("six");
    expect(await settled()).toBe("six");
    // As distribution 2.x writes links: in place.
    writeFileSync(file, "ten");
    expect(await get(reads, "file", read)).toBe("ten");
    rmSync(file);
    expect(await get(reads, "file", read).catch((error: unknown) => error)).toBeInstanceOf(PathNotFoundError);
  });

  test("sees every one of many quick changes", async () => {
    const reads = new ProvenReads<string>(driver, LIMITS);
    const file = join(folder, "file");
    const read = async (store: Witness): Promise<string> => {
      store.relyOn("/file");
      return Buffer.from(await driver.getContent("/file")).toString();
    };
    for (let round = 0; round < 300; round++) {
      writeFileSync(file, String(1_000 + round));
      for (let again = 0; again < 2; again++) expect(await get(reads, "file", read)).toBe(String(1_000 + round));
      if (round % 50 === 0) await Bun.sleep(60);
    }
  });

  test("remembers nothing where the driver cannot tell", async () => {
    const memory = openInMemoryDriver();
    await memory.putContent("/a/file", "text");
    const reads = new ProvenReads<string>(memory, LIMITS);
    const list = async (store: Witness): Promise<string> => (await store.list("/a")).entries.map(({ name }) => name).join(" ");
    expect(await get(reads, "all", list)).toBe("file");
    await memory.putContent("/a/other", "text");
    expect(await get(reads, "all", list)).toBe("file other");
  });
});
