import { describe, expect, test } from "bun:test";
import type { Clock } from "../../lib/clock.ts";
import { type ByteSource, readWhole, resumedStream, type ResumedStreamOptions } from "./resumed-stream.ts";

const CONTENT = Uint8Array.from({ length: 100 }, (_, index) => index);
const HASTY: Clock = { now: () => 0, sleep: async () => undefined };
class Broken extends Error {}

/** Bytes in small chunks from a position on, that end or break after so many. */
class Source implements ByteSource {
  isClosed = false;
  #position: number;
  readonly #end: number;
  readonly #failure: Error | undefined;

  constructor(start: number, end: number, failure?: Error) {
    this.#position = start;
    this.#end = end;
    this.#failure = failure;
  }

  async next(): Promise<Uint8Array | undefined> {
    if (this.#position < this.#end) {
      const start = this.#position;
      this.#position = Math.min(start + 7, this.#end);
      return CONTENT.slice(start, this.#position);
    }
    if (this.#failure !== undefined) throw this.#failure;
    return undefined;
  }

  close(): void {
    this.isClosed = true;
  }
}

/** A store whose connections end one after the other at these positions. */
function store(ends: readonly number[], failure?: Error): ResumedStreamOptions & { readonly opened: Source[] } {
  const left = [...ends];
  const opened: Source[] = [];
  const open = (start: number): Source => {
    const source = new Source(start, left.shift() ?? CONTENT.length, failure);
    opened.push(source);
    return source;
  };
  return { first: open(0), lengthBytes: CONTENT.length, reopen: async (skipBytes) => open(skipBytes), policy: { maxRetries: 2, isTransient: (error) => error instanceof Broken, clock: HASTY }, opened };
}

async function failureOf(work: Promise<unknown>): Promise<string> {
  return await work.then(() => "it did not fail", (error: unknown) => String(error));
}

describe("resumedStream", () => {
  test.each([["whole", []], ["cut short", [10, 40, 41, 99]], ["cut before the first byte", [0, 0]]])("gives every byte once: %s", async (_what, ends) => {
    for (const failure of [undefined, new Broken()]) {
      const source = store(ends, failure);
      expect(await new Response(resumedStream(source)).bytes()).toEqual(CONTENT);
      expect(source.opened.every(({ isClosed }) => isClosed)).toBe(true);
    }
  });

  test("counts failures in a row only", async () => {
    const source = store([10, 10, 10, 10]);
    expect(await failureOf(new Response(resumedStream(source)).bytes())).toContain("the store sent 10 of 100 bytes");
    expect(source.opened.length).toBe(3);
  });

  test("throws at once what does not pass", async () => {
    const source = store([10], new Error("refused"));
    expect(await failureOf(new Response(resumedStream(source)).bytes())).toContain("refused");
    expect(source.opened.length).toBe(1);
  });

  test("gives no more than the length", async () => {
    const { opened, ...source } = store([]);
    expect(await failureOf(new Response(resumedStream({ ...source, lengthBytes: 50 })).bytes())).toContain("more than the 50 bytes it announced");
  });

  test("closes the connection when the reader goes away", async () => {
    const source = store([]);
    const reader = resumedStream(source).getReader();
    await reader.read();
    await reader.cancel();
    expect(source.opened.map(({ isClosed }) => isClosed)).toEqual([true]);
  });
});

describe("readWhole", () => {
  test("gives all bytes, through broken connections", async () => {
    expect(await readWhole(store([3, 50]))).toEqual(CONTENT);
  });

  test("fails, and closes the connection, when bytes stay out", async () => {
    const source = store([3, 3, 3, 3]);
    expect(await failureOf(readWhole(source))).toContain("the store sent 3 of 100 bytes");
    expect(source.opened.every(({ isClosed }) => isClosed)).toBe(true);
  });
});
