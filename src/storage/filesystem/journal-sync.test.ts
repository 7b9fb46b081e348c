import { expect, test } from "bun:test";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { tryCommand } from "../../../test/support/command.ts";
import { describeWith } from "../../../test/support/services.ts";
import { tempFolder } from "../../../test/support/temp-folder.ts";

describeWith(["strace"], "JournalSync", () => {
  test("syncs for all who came during a sync by the folder that changed last, or by its parent when that is gone", async () => {
    await using folder = await tempFolder();
    for (const name of ["a", "b", "c", "d", "e"]) await mkdir(join(folder.path, name));
    const program = `
      const { JournalSync } = await import(${JSON.stringify(join(import.meta.dir, "journal-sync.ts"))});
      const { rmdirSync } = await import("node:fs");
      const sync = new JournalSync();
      const at = (name) => sync.sync(${JSON.stringify(folder.path)} + "/" + name);
      await Promise.all(["a", "b", "c", "d"].map(at));
      const both = Promise.all(["b", "e"].map(at));
      rmdirSync(${JSON.stringify(join(folder.path, "e"))});
      await both;`;
    const trace = join(folder.path, "trace");
    expect(await tryCommand(["strace", "-f", "-y", "-o", trace, "-e", "trace=fsync", process.execPath, "-e", program])).toMatchObject({ exitCode: 0 });
    const synced = [...(await readFile(trace, "utf8")).matchAll(/fsync\(\d+<([^>]*)>/g)].map(([, path = ""]) => path.slice(folder.path.length));
    expect(synced).toEqual(["/a", "/d", "/b", ""]);
  }, 30_000);
});
