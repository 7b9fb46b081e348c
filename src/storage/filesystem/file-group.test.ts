import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileGroups, type FileGroupState } from "./file-group.ts";
import { COARSE_TICK_MS } from "./file-state.ts";

const NAMES = ["one", "folder/two", "missing", "nowhere/missing"];

let folder: string;
let nowMs: number;
let groups: FileGroups;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "file-group-"));
  nowMs = 0;
  groups = new FileGroups(() => nowMs);
  mkdirSync(join(folder, "folder"));
  write("one", "1");
  write("folder/two", "2");
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string): void {
  writeFileSync(join(folder, name), content);
}

/** The state of the files, seen long enough ago. */
function trusted(names: readonly string[] = NAMES): FileGroupState {
  groups.trusted(folder, names);
  nowMs += COARSE_TICK_MS;
  const state = groups.trusted(folder, names);
  if (state === undefined) throw new Error("not trusted");
  return state;
}

describe("FileGroups", () => {
  test("trust no state before it was seen for a while, each group by itself", () => {
    expect(groups.trusted(folder, NAMES)).toBeUndefined();
    nowMs += 49;
    expect(groups.trusted(folder, NAMES)).toBeUndefined();
    nowMs += COARSE_TICK_MS;
    expect(groups.trusted(folder, NAMES)?.isCurrent()).toBe(true);
    expect(groups.trusted(folder, NAMES.slice(1))).toBeUndefined();
    write("one", "changed");
    expect(groups.trusted(folder, NAMES)).toBeUndefined();
    nowMs += COARSE_TICK_MS;
    expect(groups.trusted(folder, NAMES)?.isCurrent()).toBe(true);
  });

  test.each<[string, () => void]>([
    ["is written in place", () => write("folder/two", "22")],
    ["is emptied", () => write("one", "")],
    ["is replaced by one of the same size", () => {
      write("new", "3");
      renameSync(join(folder, "new"), join(folder, "one"));
    }],
    ["is deleted", () => unlinkSync(join(folder, "folder/two"))],
    ["appears", () => write("missing", "")],
    ["appears with its folder", () => mkdirSync(join(folder, "nowhere/missing"), { recursive: true })],
    ["goes with the folder of all", () => {
      renameSync(folder, `${folder}-elsewhere`);
      mkdirSync(folder);
      rmSync(`${folder}-elsewhere`, { recursive: true });
    }],
    ["can no longer be looked at", () => symlinkSync("missing", join(folder, "missing"))],
  ])("see that a file %s", (_, change) => {
    const state = trusted();
    expect(state.isCurrent()).toBe(true);
    change();
    expect(state.isCurrent()).toBe(false);
  });

  test("do not mind what becomes of others", () => {
    const state = trusted();
    write("other", "");
    write("folder/other", "");
    expect(state.isCurrent()).toBe(true);
  });

  test("know nothing of a folder that is missing, or none", () => {
    for (const name of ["missing", "one"]) {
      groups.trusted(join(folder, name), NAMES);
      nowMs += COARSE_TICK_MS;
      expect(groups.trusted(join(folder, name), NAMES)).toBeUndefined();
    }
  });

  test("take a thousand files, and none", () => {
    const names = Array.from({ length: 1000 }, (_, index) => `file-${index}`);
    for (const name of names) write(name, name);
    expect(trusted([]).isCurrent()).toBe(true);
    const halves = [names.slice(0, 500), names.slice(500)].map((half) => trusted(half));
    unlinkSync(join(folder, "file-999"));
    expect(halves.map((half) => half.isCurrent())).toEqual([true, false]);
  });
});
