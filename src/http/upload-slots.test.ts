import { describe, expect, test } from "bun:test";
import { UploadSlots } from "./upload-slots.ts";

const KIB = 1024;
const REFUSAL = { code: "TOOMANYREQUESTS", headers: { "retry-after": "2" } };

/** What a call throws. */
function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("UploadSlots.take", () => {
  test("gives so many, and each again when it is given back", () => {
    const slots = new UploadSlots(2);
    const first = slots.take();
    slots.take();
    expect(thrownBy(() => slots.take())).toMatchObject(REFUSAL);
    first[Symbol.dispose]();
    slots.take();
    expect(slots.taken).toBe(2);
  });

  test("knows no limit of 0", () => {
    const slots = new UploadSlots(0);
    for (let count = 0; count < 1000; count++) slots.take();
  });
});

describe("UploadSlots.hold", () => {
  test("refuses what is too much together, until something is let go", () => {
    const slots = new UploadSlots(0, 1000 * KIB);
    const [first, second] = [slots.hold(), slots.hold()];
    first.add(564 * KIB);
    second.add(564 * KIB);
    expect(thrownBy(() => second.add(1))).toMatchObject(REFUSAL);
    second[Symbol.dispose]();
    const third = slots.hold();
    third.add(564 * KIB);
    first[Symbol.dispose]();
    third.add(500 * KIB);
    expect(thrownBy(() => third.add(1))).toMatchObject(REFUSAL);
  });

  test("lets the small ones pass, whatever others hold", () => {
    const slots = new UploadSlots(0, 1000 * KIB);
    slots.hold().add(1064 * KIB);
    for (let count = 0; count < 100; count++) slots.hold().add(64 * KIB);
    expect(thrownBy(() => slots.hold().add(64 * KIB + 1))).toMatchObject(REFUSAL);
  });

  test("counts a body that was let go twice only once", () => {
    const slots = new UploadSlots(0, 1000 * KIB);
    const held = slots.hold();
    held.add(1064 * KIB);
    held[Symbol.dispose]();
    held[Symbol.dispose]();
    slots.hold().add(1064 * KIB);
    expect(thrownBy(() => slots.hold().add(65 * KIB))).toMatchObject(REFUSAL);
  });
});
