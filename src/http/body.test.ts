import { describe, expect, test } from "bun:test";
import { RegistryError } from "../oci/errors.ts";
import { readBody, watchedBody } from "./body.ts";

/** A body whose chunks are there at once. */
function bodyOf(chunks: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.iterator]();
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const { done, value } = iterator.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
  });
}

function tooLarge(): RegistryError {
  return new RegistryError("SIZE_INVALID", { status: 413 });
}

describe("watchedBody", () => {
  test("does not take a store that is slow for a client that is silent", async () => {
    const chunks: string[] = [];
    for await (const chunk of watchedBody(bodyOf([Buffer.from("one"), Buffer.from("two")]), 1)) {
      chunks.push(Buffer.from(chunk).toString());
      await Bun.sleep(300);
    }
    expect(chunks).toEqual(["one", "two"]);
  });

  test("ends a body that is silent with 408", async () => {
    let cancelled = false;
    const silent = new ReadableStream<Uint8Array>({ cancel: () => void (cancelled = true) });
    const failure = await readBody(watchedBody(silent, 1), 10, tooLarge).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "SIZE_INVALID", status: 408 });
    expect(cancelled).toBe(true);
  });
});

describe("readBody", () => {
  test("gives all bytes of a body in chunks of any size", async () => {
    for (const sizes of [[], [0], [1, 0, 2], [70_000, 1, 70_000], [200_000]]) {
      let next = 0;
      const chunks = sizes.map((size) => Uint8Array.from({ length: size }, () => next++ % 251));
      expect(Buffer.from(await readBody(watchedBody(bodyOf(chunks), 60_000), 200_000, tooLarge)).equals(Buffer.concat(chunks))).toBe(true);
    }
  });

  test("refuses more than it may be", async () => {
    expect(await readBody(watchedBody(bodyOf([new Uint8Array(5), new Uint8Array(6)]), 60_000), 10, tooLarge).catch((error: unknown) => error)).toMatchObject({ status: 413 });
  });

  test("keeps no chunk: a client that sends single bytes cannot make it hold thousands of buffers", async () => {
    const chunk = new Uint8Array(1);
    const source = (async function* () {
      for (let count = 0; count < 50_000; count++) {
        chunk[0] = count % 251;
        yield chunk;
      }
    })();
    const bytes = await readBody(source, 50_000, tooLarge);
    expect(bytes.every((byte, index) => byte === index % 251)).toBe(true);
    expect(bytes.buffer.byteLength).toBe(50_000);
  });
});
