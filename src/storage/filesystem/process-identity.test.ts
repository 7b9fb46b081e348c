import { describe, expect, test } from "bun:test";
import { hasEnded, ownIdentity, parseIdentity } from "./process-identity.ts";

describe("hasEnded", () => {
  const own = ownIdentity();

  test("is false for this process", () => {
    expect(hasEnded(own, ownIdentity())).toBe(false);
  });

  test("is true for a process that has ended", async () => {
    const child = Bun.spawn(["true"]);
    await child.exited;
    expect(hasEnded({ ...own, pid: child.pid }, own)).toBe(true);
  });

  test("is false for another that runs", () => {
    expect(hasEnded({ ...own, pid: process.ppid, startedTicks: "" }, own)).toBe(false);
  });

  test.if(own.startedTicks !== "")("is true for one whose number was given to a later one", () => {
    expect(hasEnded({ ...own, startedTicks: "1" }, own)).toBe(true);
  });

  test("is false where numbers mean nothing: on another host, in another container, before the last boot", async () => {
    const child = Bun.spawn(["true"]);
    await child.exited;
    const ended = { ...own, pid: child.pid };
    for (const elsewhere of [{ host: "elsewhere" }, { bootId: "another boot" }, { pidNamespace: "pid:[1]" }]) {
      expect(hasEnded({ ...ended, ...elsewhere }, own)).toBe(false);
    }
  });
});

describe("parseIdentity", () => {
  test("reads what was written", () => {
    expect(parseIdentity(JSON.stringify(ownIdentity()))).toEqual(ownIdentity());
  });

  test("is undefined for anything else", () => {
    const { host: _, ...incomplete } = ownIdentity();
    for (const json of ["", "{", "null", "[]", "7", JSON.stringify(incomplete), JSON.stringify({ ...ownIdentity(), pid: "1" }), JSON.stringify({ ...ownIdentity(), pid: -1 })]) {
      expect(parseIdentity(json)).toBeUndefined();
    }
  });
});
