import { describe, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { openFilesystemDriver } from "../../src/storage/filesystem/driver.ts";
import { isJournalOrdered } from "../../src/storage/filesystem/file-system-kind.ts";
import { listTree } from "../../src/storage/walk.ts";
import { startChild } from "../support/child.ts";
import { tryCommand } from "../support/command.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

const WRITER = join(import.meta.dir, "filesystem-writer.ts");
const ROUNDS = 12;

describe("a process that is killed while it writes", () => {
  test("leaves no empty link, no half blob, and no lock that holds up others", async () => {
    await using folder = await tempFolder();
    let links = 0;
    let blobs = 0;
    for (let round = 0; round < ROUNDS; round++) {
      {
        await using writer = startChild([process.execPath, WRITER, folder.path, "for-ever"]);
        await writer.waitForOutput(/writing/);
        await Bun.sleep(15 + round * 11);
        await writer.stop("SIGKILL");
      }
      const driver = openFilesystemDriver({ rootdirectory: folder.path });
      const found = await checkedFiles(driver);
      links += found.links;
      blobs += found.blobs;
      await (await driver.writer("/up/data", { append: true })).close();
    }
    expect(links).toBeGreaterThan(ROUNDS);
    expect(blobs).toBeGreaterThan(ROUNDS);
  }, 60_000);
});

async function checkedFiles(driver: StorageDriver): Promise<{ readonly links: number; readonly blobs: number }> {
  let links = 0;
  let blobs = 0;
  for await (const { path } of listTree(driver, "/")) {
    // Unfinished by their names: what was being written, and the upload, which is visible while it grows.
    if (/\.[0-9a-f-]{36}\.tmp$/.test(path) || path.startsWith("/up/")) continue;
    const content = await driver.getContent(path);
    if (path.endsWith("/link")) {
      expect(Buffer.from(content).toString()).toMatch(/^sha256:(\d)\1{63}$/);
      links++;
    } else {
      expect(path).toBe(`/blobs/${Bun.hash(content).toString(16)}/data`);
      blobs++;
    }
  }
  return { links, blobs };
}

describeWith(["strace"], "what a power loss must not undo", () => {
  test("is synced before it gets its name, and the name and its folders after that", async () => {
    await using folder = await tempFolder();
    const trace = join(folder.path, "trace");
    const root = join(folder.path, "new/root");
    const traced = await tryCommand(["strace", "-f", "-y", "-o", trace, "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat", process.execPath, WRITER, root, "once"]);
    expect(traced).toMatchObject({ exitCode: 0 });
    const calls = (await readFile(trace, "utf8")).split("\n").flatMap((line) => callOf(line, folder.path));

    expectOrder(calls, ["sync new/root/repo/link.*", "rename new/root/repo/link.* new/root/repo/link", "sync new/root/repo"]);
    // Where one journal orders all names, the folders that were made before go with the one that is synced.
    const isOrdered = isJournalOrdered(folder.path);
    for (const parent of isOrdered ? [] : ["new/root", "new", ""]) expectOrder(calls, ["rename new/root/repo/link.* new/root/repo/link", `sync ${parent}`, "rename new/root/blobs/created/data.* new/root/blobs/created/data"]);
    expectOrder(calls, ["sync new/root/blobs/created/data.*", "rename new/root/blobs/created/data.* new/root/blobs/created/data", "sync new/root/blobs/created", "sync new/root/up/data"]);
    if (!isOrdered) expectOrder(calls, ["rename new/root/blobs/created/data.* new/root/blobs/created/data", "sync new/root/blobs", "sync new/root/up/data"]);
    expectOrder(calls, ["sync new/root/up/data", "rename new/root/up/data new/root/blobs/moved/data", "sync new/root/blobs/moved"]);
    for (const parent of isOrdered ? [] : ["new/root/blobs", "new/root/up"]) expectOrder(calls, ["rename new/root/up/data new/root/blobs/moved/data", `sync ${parent}`]);
    expectOrder(calls, ["rename new/root/up/data new/root/blobs/moved/data", "delete new/root/repo/link", "sync new/root/repo"]);
  }, 60_000);
});

/** `sync <path>`, `delete <path>` or `rename <from> <to>`, relative to a folder, with random parts as a star; nothing for other calls. */
function callOf(line: string, folder: string): string[] {
  const relative = (path: string): string => path.slice(folder.length + 1).replace(/\.[0-9a-f-]{36}\.tmp$/, ".*");
  const [, synced] = /\b(?:fsync|fdatasync)\(\d+<([^>]*)>/.exec(line) ?? [];
  if (synced?.startsWith(folder) === true) return [`sync ${relative(synced)}`];
  const [, from, to] = /\brename(?:at2?)?\([^"]*"([^"]*)"[^"]*"([^"]*)"/.exec(line) ?? [];
  if (from?.startsWith(folder) === true && to !== undefined) return [`rename ${relative(from)} ${relative(to)}`];
  const [, deleted] = /\bunlink(?:at)?\([^"]*"([^"]*)"/.exec(line) ?? [];
  return deleted?.startsWith(folder) === true ? [`delete ${relative(deleted)}`] : [];
}

function expectOrder(calls: readonly string[], expected: readonly string[]): void {
  let next = 0;
  for (const call of calls) if (call === expected[next]) next++;
  if (next < expected.length) throw new Error(`${expected[next]} is missing after ${expected[next - 1] ?? "the start"}, in\n${calls.join("\n")}`);
}
