import { describe, expect, test } from "bun:test";
import { Pace } from "./pace.ts";

class Disk {
  nowMs = 1_000;
  readonly pace = new Pace(() => this.nowMs);

  call(durationMs: number): void {
    this.pace.run(() => {
      this.nowMs += durationMs;
    });
  }
}

describe("Pace", () => {
  test("hands on results and failures", () => {
    const { pace } = new Disk();
    expect(pace.run(() => 7)).toBe(7);
    expect(() =>
      pace.run(() => {
        throw new Error("no such file");
      }),
    ).toThrow("no such file");
  });

  test("is not slow while calls are quick, nor for a single slow one", () => {
    const disk = new Disk();
    for (let call = 0; call < 100; call++) disk.call(4);
    disk.call(50);
    expect(disk.pace.isSlow()).toBe(false);
    disk.nowMs += 60_000;
    disk.call(50);
    expect(disk.pace.isSlow()).toBe(false);
  });

  test("is slow for some seconds after a second slow call", () => {
    const disk = new Disk();
    disk.call(50);
    disk.call(50);
    expect(disk.pace.isSlow()).toBe(true);
    disk.nowMs += 4_999;
    expect(disk.pace.isSlow()).toBe(true);
    disk.nowMs += 1;
    expect(disk.pace.isSlow()).toBe(false);
  });

  test("is slow again at once when the next try is slow too, and recovers when it is not", () => {
    const disk = new Disk();
    disk.call(50);
    disk.call(50);
    disk.nowMs += 5_000;
    disk.call(50);
    expect(disk.pace.isSlow()).toBe(true);
    disk.nowMs += 5_000;
    disk.call(1);
    expect(disk.pace.isSlow()).toBe(false);
  });

  test("notices slow calls that fail", () => {
    const disk = new Disk();
    for (let call = 0; call < 2; call++) {
      expect(() =>
        disk.pace.run(() => {
          disk.nowMs += 50;
          throw new Error("timed out");
        }),
      ).toThrow("timed out");
    }
    expect(disk.pace.isSlow()).toBe(true);
  });
});
