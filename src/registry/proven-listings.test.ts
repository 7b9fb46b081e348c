import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { type Lister, ProvenListings } from "./proven-listings.ts";

let folder: string;
let driver: StorageDriver;
let walks: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proven-listings-"));
  driver = openFilesystemDriver({ rootdirectory: folder });
  walks = 0;
  for (const path of ["a/b", "a/c", "d"]) mkdirSync(join(folder, path), { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The names of folders, one below another. */
async function namesBelow(lister: Lister, path: string): Promise<string[]> {
  const { entries } = await lister.list(path);
  const below = await Promise.all(entries.map(async ({ name }) => [name, ...(await namesBelow(lister, `${path === "/" ? "" : path}/${name}`))]));
  return below.flat();
}

async function walk(lister: Lister): Promise<string> {
  walks++;
  return (await namesBelow(lister, "/")).join(" ");
}

/** Walks until nothing is walked any more. */
async function settled(listings: ProvenListings<string>): Promise<string> {
  for (;;) {
    const before = walks;
    const result = await listings.get("all", walk);
    if (walks === before) return result;
    await Bun.sleep(10);
  }
}

describe("ProvenListings", () => {
  test("uses a result again until a folder changes, at any depth and by anybody", async () => {
    const listings = new ProvenListings<string>(driver);
    expect(await settled(listings)).toBe("a b c d");
    mkdirSync(join(folder, "a/c/e"));
    expect(await listings.get("all", walk)).toBe("a b c e d");
    expect(await settled(listings)).toBe("a b c e d");
    rmSync(join(folder, "d"), { recursive: true });
    expect(await listings.get("all", walk)).toBe("a b c e");
    expect(await settled(listings)).toBe("a b c e");
    mkdirSync(join(folder, "a/b/e"));
    rmSync(join(folder, "a/c/e"), { recursive: true });
    expect(await listings.get("all", walk)).toBe("a b e c");
  });

  test("tells walks apart by their keys", async () => {
    const listings = new ProvenListings<string>(driver);
    await settled(listings);
    expect(await listings.get("other", async (lister) => (await namesBelow(lister, "/a")).join(" "))).toBe("b c");
    expect(await listings.get("all", walk)).toBe("a b c d");
  });

  test("remembers nothing of a folder that cannot be proven, or is missing", async () => {
    symlinkSync(join(folder, "d"), join(folder, "a/link"));
    const listings = new ProvenListings<string>(driver);
    const missing = async (lister: Lister): Promise<string> => {
      walks++;
      await lister.list("/d");
      const error = await lister.list("/missing").catch((reason: unknown) => reason);
      return String(error instanceof PathNotFoundError);
    };
    // Long enough for folders without links.
    for (let index = 0; index < 4; index++) {
      expect(await listings.get("all", walk)).toBe("a b c link d");
      expect(await listings.get("missing", missing)).toBe("true");
      await Bun.sleep(60);
    }
    expect(walks).toBe(8);
  });

  test("remembers nothing where the driver cannot tell", async () => {
    const memory = openInMemoryDriver();
    await memory.putContent("/a/file", "text");
    const listings = new ProvenListings<string>(memory);
    const list = async (lister: Lister): Promise<string> => (await lister.list("/a")).entries.map(({ name }) => name).join(" ");
    expect(await listings.get("all", list)).toBe("file");
    await memory.putContent("/a/other", "text");
    expect(await listings.get("all", list)).toBe("file other");
  });
});
