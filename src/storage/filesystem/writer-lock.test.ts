import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ownIdentity } from "./process-identity.ts";
import { type WriterLock, WriterLocks } from "./writer-lock.ts";

let folder: string;
let file: string;
let clock: { nowMs: number; now(): number };
let locks: WriterLocks;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "writer-lock-"));
  file = join(folder, "data");
  clock = {
    nowMs: Date.now(),
    now() {
      return this.nowMs;
    },
  };
  locks = new WriterLocks(clock);
});
afterEach(() => rmSync(folder, { recursive: true }));

function take(by = locks): WriterLock {
  const lock = by.take(file);
  if (lock === undefined) throw new Error("the lock is held");
  return lock;
}

async function writeLockOfDeadProcess(change: Record<string, unknown> = {}): Promise<void> {
  const child = Bun.spawn(["true"]);
  await child.exited;
  writeFileSync(`${file}.lock`, JSON.stringify({ ...ownIdentity(), pid: child.pid, ...change }));
}

describe("WriterLocks.take", () => {
  test("takes a free lock, which tells who holds it, and refuses it to others until it is released", () => {
    const lock = take();
    expect(lock.tookOver).toBe(false);
    expect(lock.isHeld()).toBe(true);
    expect(JSON.parse(readFileSync(`${file}.lock`, "utf8"))).toEqual(ownIdentity());
    expect(locks.take(file)).toBeUndefined();
    expect(new WriterLocks(clock).take(file)).toBeUndefined();
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
    take().release();
  });

  test("fails where the folder is missing", () => {
    expect(() => locks.take(join(folder, "missing/data"))).toThrow("ENOENT");
  });

  test("takes over at once from a process that has ended", async () => {
    await writeLockOfDeadProcess();
    const lock = take();
    expect(lock.tookOver).toBe(true);
    expect(lock.isHeld()).toBe(true);
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  test("takes over from a process elsewhere, and from one that wrote no name, only after half a minute without a sign of life", async () => {
    for (const write of [() => writeLockOfDeadProcess({ host: "elsewhere" }), async () => writeFileSync(`${file}.lock`, "")]) {
      await write();
      clock.nowMs = statSync(`${file}.lock`).mtimeMs + 29_000;
      expect(locks.take(file)).toBeUndefined();
      clock.nowMs += 2_000;
      take().release();
    }
  });

  test("takes over from a living holder that gave no sign of life, who then knows", () => {
    const first = take();
    clock.nowMs += 31_000;
    const second = take(new WriterLocks(clock));
    expect(second.tookOver).toBe(true);
    expect(first.isHeld()).toBe(false);
    expect(first.beat()).toBe(false);
    first.release();
    expect(second.isHeld()).toBe(true);
    second.release();
  });

  test("of two that take over at once leaves it with one", () => {
    const first = take();
    clock.nowMs += 31_000;
    const second = take();
    clock.nowMs += 31_000;
    const third = take();
    expect([first, second, third].map((lock) => lock.isHeld())).toEqual([false, false, true]);
    for (const lock of [first, second, third]) lock.release();
    expect(existsSync(`${file}.lock`)).toBe(false);
  });
});

describe("WriterLock.beat", () => {
  test("keeps the lock as long as it is called", () => {
    const lock = take();
    for (let seconds = 0; seconds < 120; seconds += 4) {
      clock.nowMs += 4_000;
      expect(lock.beat()).toBe(true);
      expect(locks.take(file)).toBeUndefined();
    }
    lock.release();
  });

  test("notices that the lock is gone when it is time to look", () => {
    const lock = take();
    unlinkSync(`${file}.lock`);
    expect(lock.beat()).toBe(true);
    clock.nowMs += 6_000;
    expect(lock.beat()).toBe(false);
    lock.release();
  });
});
