import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasJournal, isJournalOrdered, isStatCurrent } from "./file-system-kind.ts";

let sys: string;
beforeEach(() => {
  sys = mkdtempSync(join(tmpdir(), "sys-"));
});
afterEach(() => rmSync(sys, { recursive: true }));

/** Shows a device as the kernel does. */
function show(number: string, name: string, journalTask: string | undefined): void {
  mkdirSync(join(sys, "dev/block"), { recursive: true });
  symlinkSync(`../../devices/virtual/block/${name}`, join(sys, "dev/block", number));
  mkdirSync(join(sys, "fs/ext4", name), { recursive: true });
  if (journalTask !== undefined) writeFileSync(join(sys, "fs/ext4", name, "journal_task"), journalTask);
}

describe("hasJournal", () => {
  test.each([
    ["with its thread", "412\n", true],
    ["of a host whose threads cannot be seen", "0\n", true],
    ["without a journal", "<none>\n", false],
    ["of which the kernel does not tell", undefined, false],
  ])("an ext4 %s", (_, journalTask, expected) => {
    show("8:1", "sda1", journalTask);
    expect(hasJournal(0x801, sys)).toBe(expected);
  });

  test("finds devices whose numbers are large", () => {
    show("259:1048577", "nvme300n1p1", "7\n");
    // 259 = 0x103 and 1048577 = 0x100001, as glibc puts them together.
    expect(hasJournal(0x1_0001_0301, sys)).toBe(true);
  });

  test("is false for a device that is not shown", () => expect(hasJournal(0x801, sys)).toBe(false));
});

describe("isJournalOrdered", () => {
  test("is true of no file system but XFS, and ext4 with a journal", () => {
    const { type } = statfsSync(sys);
    expect(isJournalOrdered(sys)).toBe(type === 0x58465342 || (type === 0xef53 && hasJournal(statSync(sys).dev)));
  });

  test("looks at the nearest parent of a folder that is not made yet", () => {
    expect(isJournalOrdered(join(sys, "a/b/c"))).toBe(isJournalOrdered(sys));
  });

  test.skipIf(process.platform !== "linux")("is false where nothing is on a disk", () => expect(isJournalOrdered("/proc/self")).toBe(false));
});

describe("isStatCurrent", () => {
  test.skipIf(process.platform !== "linux")("is true where nothing is on a network", () => expect(isStatCurrent("/proc/self")).toBe(true));

  test("looks at the nearest parent of a folder that is not made yet", () => {
    expect(isStatCurrent(join(sys, "a/b/c"))).toBe(isStatCurrent(sys));
  });
});
