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

  test("is not slow while calls are quick, nor for slow ones now and then", () => {
    const disk = new Disk();
    for (let round = 0; round < 20; round++) {
      for (let call = 0; call < 40; call++) disk.call(4);
      disk.call(500);
      expect(disk.pace.isSlow()).toBe(false);
    }
  });

  test("is slow for some seconds after several slow calls with few between them", () => {
    const disk = new Disk();
    for (let call = 0; call < 3; call++) {
      expect(disk.pace.isSlow()).toBe(false);
      disk.call(10);
      if (call < 2) disk.call(1);
    }
    expect(disk.pace.isSlow()).toBe(true);
    disk.nowMs += 9_999;
    expect(disk.pace.isSlow()).toBe(true);
    disk.nowMs += 1;
    expect(disk.pace.isSlow()).toBe(false);
  });

  test("tries again after that, and is slow again or recovers", () => {
    const disk = new Disk();
    for (let round = 0; round < 3; round++) {
      for (let call = 0; call < 3; call++) disk.call(10);
      expect(disk.pace.isSlow()).toBe(true);
      disk.nowMs += 10_000;
      expect(disk.pace.isSlow()).toBe(false);
    }
    for (let call = 0; call < 200; call++) disk.call(1);
    expect(disk.pace.isSlow()).toBe(false);
  });

  test("notices slow calls that fail", () => {
    const disk = new Disk();
    for (let call = 0; call < 3; call++) {
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
