import { describe, expect, test } from "bun:test";
import { PartBuffers } from "./part-buffers.ts";
import { PartPipeline } from "./part-pipeline.ts";

const PART = 10;

/** Parts that are on their way until the test lets them arrive. */
class Sending {
  readonly parts: { readonly index: number; readonly text: string; readonly arrive: () => void; readonly fail: (error: Error) => void }[] = [];
  readonly send = async (bytes: Uint8Array, index: number): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.parts.push({ index, text: Buffer.from(bytes).toString(), arrive: resolve, fail: reject });
    await promise;
  };
}

function open(more: { readonly maxBuffers?: number; readonly budgetBytes?: number; readonly firstAlone?: boolean } = {}): { readonly pipeline: PartPipeline; readonly sending: Sending; readonly buffers: PartBuffers } {
  const sending = new Sending();
  const buffers = new PartBuffers(PART, more.budgetBytes ?? 1000);
  return { sending, buffers, pipeline: new PartPipeline({ buffers, maxBuffers: more.maxBuffers ?? 3, send: sending.send, firstAlone: more.firstAlone ?? false }) };
}

const text = (count: number): Uint8Array => Buffer.from("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".slice(0, count));

/** Whether something has come to an end by now. */
async function isSettled(work: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void work.then(() => (settled = true), () => (settled = true));
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  return settled;
}

describe("PartPipeline", () => {
  test("sends full parts side by side and keeps the rest", async () => {
    const { pipeline, sending } = open();
    await pipeline.write(text(4));
    await pipeline.write(text(20));
    expect(sending.parts.map((part) => [part.index, part.text])).toEqual([[0, "0123012345"], [1, "6789abcdef"]]);
    expect(Buffer.from(pipeline.rest).toString()).toBe("ghij");
    expect(pipeline.sentParts).toBe(2);
  });

  test("waits when all its buffers are in use", async () => {
    const { pipeline, sending } = open({ maxBuffers: 2 });
    const writing = pipeline.write(text(40));
    expect(await isSettled(writing)).toBe(false);
    expect(sending.parts.length).toBe(2);
    sending.parts[1]?.arrive();
    expect(await isSettled(writing)).toBe(false);
    expect(sending.parts.map((part) => part.text)).toEqual(["0123456789", "abcdefghij", "klmnopqrst"]);
    for (const index of [0, 2]) sending.parts[index]?.arrive();
    await writing;
    expect(sending.parts.length).toBe(4);
  });

  test("gets along with its first buffer when others have used up the budget", async () => {
    const { pipeline, sending } = open({ budgetBytes: 0 });
    const writing = pipeline.write(text(20));
    expect(await isSettled(writing)).toBe(false);
    expect(sending.parts.length).toBe(1);
    sending.parts[0]?.arrive();
    await writing;
    expect(sending.parts.length).toBe(2);
  });

  test("sends the first part alone where it replaces another", async () => {
    const { pipeline, sending } = open({ firstAlone: true });
    const writing = pipeline.write(text(30));
    expect(await isSettled(writing)).toBe(false);
    expect(sending.parts.length).toBe(1);
    sending.parts[0]?.arrive();
    await writing;
    expect(sending.parts.length).toBe(3);
  });

  test("takes nothing more after a part could not be sent", async () => {
    const { pipeline, sending } = open();
    await pipeline.write(text(15));
    sending.parts[0]?.fail(new Error("no room"));
    const settling = await pipeline.settle().catch((error: unknown) => String(error));
    const writing = await pipeline.write(text(1)).catch((error: unknown) => String(error));
    expect([settling, writing, pipeline.hasFailed]).toEqual(["Error: no room", "Error: no room", true]);
  });

  test("gives its buffers back", async () => {
    const { pipeline, sending, buffers } = open({ budgetBytes: PART });
    await pipeline.write(text(15));
    expect(buffers.tryTakeExtra()).toBeUndefined();
    sending.parts[0]?.arrive();
    await pipeline.settle();
    pipeline[Symbol.dispose]();
    expect(buffers.tryTakeExtra()?.length).toBe(PART);
  });
});
