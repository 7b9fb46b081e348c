import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError } from "../../src/storage/errors.ts";
import { openGcsDriver } from "../../src/storage/gcs/driver.ts";
import { GCS_OPTIONS } from "../../src/storage/gcs/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { type GcsServer, startGcsServer } from "../support/gcs-server.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { eachCall } from "../support/store-operations.ts";

const STEP = 256 * 1024;
const SILENCE_MS = 1500;
const CONTENT = seededBytes(STEP * 7 + 1234);

let server: GcsServer;
let driver: StorageDriver;

beforeEach(async () => {
  server = await startGcsServer({ rewriteBytes: 1024 * 1024, maxPage: 2 });
  driver = await open();
});
afterEach(async () => {
  await driver[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function open(silenceMs = 60_000): Promise<StorageDriver> {
  return await openGcsDriver(GCS_OPTIONS.parse({ bucket: server.bucket, credentials: server.keyFile, endpoint: server.url, chunksize: STEP * 2 }), { log: SILENT_LOGGER, silenceMs });
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new Error("it did not fail");
  return error;
}

function refusal(status: number, reason: string): Response {
  return Response.json({ error: { code: status, message: `it is ${reason}`, errors: [{ reason, message: `it is ${reason}`, domain: "global" }] } }, { status });
}

/** Everything that the driver does, through every kind of call, and what must be there afterwards. */
async function doEverything(): Promise<void> {
  await driver.putContent("/dir/small", "small");
  expect(Buffer.from(await driver.getContent("/dir/small")).toString()).toBe("small");
  for (const [start, end] of [[0, STEP * 3 + 5], [STEP * 3 + 5, CONTENT.length]] as const) {
    const writer = await driver.writer("/up/data", { append: true });
    expect(writer.sizeBytes).toBe(start);
    for (let offset = start; offset < end; offset += 100_000) await writer.write(CONTENT.subarray(offset, Math.min(end, offset + 100_000)));
    await writer.close();
  }
  await (await driver.writer("/up/data", { append: true })).commit();
  await driver.move("/up/data", "/blob/data");
  const created = await driver.create("/blob/created");
  await created.write(CONTENT);
  await created.commit();
  for (const path of ["/blob/data", "/blob/created"]) {
    const hash = new Bun.CryptoHasher("sha256");
    for await (const chunk of await driver.reader(path)) hash.update(chunk);
    expect(`sha256:${hash.digest("hex")}`).toBe(digestOf(CONTENT));
    expect((await driver.stat(path)).sizeBytes).toBe(CONTENT.length);
  }
  expect((await driver.list("/blob")).entries.map(({ name }) => name)).toEqual(["created", "data"]);
  const cancelled = await driver.writer("/up/other", { append: true });
  await cancelled.write(CONTENT);
  await cancelled.cancel();
  await driver.delete("/blob");
  await driver.delete("/dir/small");
  expect(server.objects.names).toEqual([]);
}

/** What passes by itself, besides what other stores do, too. */
const PASSING: readonly (() => Response)[] = [
  () => new Response(null, { status: 503 }),
  () => refusal(429, "rateLimitExceeded"),
  () => refusal(408, "requestTimeout"),
  () => refusal(403, "userRateLimitExceeded"),
];

/** Everything is done, with each call but those for tokens failing once. @returns How many did */
async function doEverythingOver(failure: (operation: string, index: number) => Response | undefined): Promise<number> {
  const met = new Set<string>();
  server.intercept = ({ operation, method, url, headers }) => {
    // Each call once: the same call, in another try, has the same range and the same token of a page.
    const call = `${method} ${url.pathname}${url.search} ${headers.get("content-range") ?? ""} ${headers.get("range") ?? ""}`;
    if (operation === "token" || met.has(call) || /\*\/\*/.test(call)) return undefined;
    met.add(call);
    return failure(operation, met.size);
  };
  await doEverything();
  expect(server.sessions.openCount).toBe(0);
  return met.size;
}

test("everything is done nevertheless when each call meets once with what passes by itself", async () => {
  expect(await doEverythingOver((_, index) => PASSING[index % PASSING.length]?.())).toBeGreaterThan(20);
});

test("everything is done nevertheless when each call meets once with a refusal of its token", async () => {
  // Sessions know no token.
  expect(await doEverythingOver((operation) => (operation.startsWith("upload.") ? undefined : refusal(401, "authError")))).toBeGreaterThan(20);
});

describe("a store that falls silent", () => {
  let impatient: StorageDriver;
  beforeEach(async () => {
    impatient = await open(SILENCE_MS);
  });
  afterEach(async () => await impatient[Symbol.asyncDispose]());

  test("is asked again", async () => {
    await driver.putContent("/file", "text");
    let isFirst = true;
    server.intercept = async ({ operation }) => {
      if (operation !== "objects.get" || !isFirst) return undefined;
      isFirst = false;
      await Bun.sleep(SILENCE_MS * 3);
      return undefined;
    };
    expect((await impatient.stat("/file")).sizeBytes).toBe(4);
  });

  test("when it is to give a token is asked for one again", async () => {
    await driver.putContent("/file", "text");
    let isFirst = true;
    server.intercept = async ({ operation }) => {
      if (operation !== "token" || !isFirst) return undefined;
      isFirst = false;
      await Bun.sleep(SILENCE_MS * 3);
      return undefined;
    };
    expect((await impatient.stat("/file")).sizeBytes).toBe(4);
    expect(isFirst).toBe(false);
  });

  test("in the middle of content is asked for the rest", async () => {
    await driver.putContent("/file", CONTENT);
    let reads = 0;
    const ranges: (string | null)[] = [];
    server.intercept = async ({ operation, headers }, answer) => {
      if (operation !== "media") return undefined;
      ranges.push(headers.get("range"));
      if (++reads > 1) return undefined;
      const whole = await answer();
      const half = (await whole.bytes()).subarray(0, 1_000_000);
      const stream = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(half);
        },
      });
      return new Response(stream, { headers: whole.headers });
    };
    const hash = new Bun.CryptoHasher("sha256");
    for await (const chunk of await impatient.reader("/file")) hash.update(chunk);
    expect(`sha256:${hash.digest("hex")}`).toBe(digestOf(CONTENT));
    expect(ranges).toEqual([null, `bytes=1000000-${CONTENT.length - 1}`]);
  });
});

describe("a store that stays broken", () => {
  test("fails every call after some attempts, and not as if nothing were there", async () => {
    await driver.putContent("/file", "old");
    server.intercept = () => refusal(503, "backendError");
    const failures = await Promise.all(Object.entries(eachCall(driver, CONTENT)).map(async ([name, call]) => [name, await failureOf(call())] as const));
    for (const [name, failure] of failures) {
      expect({ name, isMissing: failure instanceof PathNotFoundError, message: failure.message }).toEqual({ name, isMissing: false, message: expect.stringContaining("it is backendError (status 503)") });
    }
    server.intercept = undefined;
    expect([server.objects.names, Buffer.from(await driver.getContent("/file")).toString()]).toEqual([["file"], "old"]);
  }, 30_000);

  test("fails at once where it says no for good", async () => {
    server.intercept = () => refusal(403, "forbidden");
    for (const [name, call] of Object.entries(eachCall(driver, CONTENT))) {
      const failure = await failureOf(call());
      expect({ name, isMissing: failure instanceof PathNotFoundError, message: failure.message }).toEqual({ name, isMissing: false, message: expect.stringContaining("forbidden: it is forbidden (status 403)") });
    }
  });

  test("leaves no part of a file, and a writer that can be gone on with where it was closed last", async () => {
    const first = await driver.writer("/up/data", { append: true });
    await first.write(CONTENT.subarray(0, STEP * 2 + 100));
    await first.close();
    server.intercept = ({ operation }) => (operation === "upload.put" ? refusal(400, "badRequest") : undefined);
    const second = await driver.writer("/up/data", { append: true });
    await failureOf((async () => {
      for (let offset = STEP * 2 + 100; offset < CONTENT.length; offset += 100_000) await second.write(CONTENT.subarray(offset, offset + 100_000));
      await second.commit();
    })());
    await second[Symbol.asyncDispose]();
    server.intercept = undefined;
    const third = await driver.writer("/up/data", { append: true });
    expect(third.sizeBytes).toBe(STEP * 2 + 100);
    await third.write(CONTENT.subarray(third.sizeBytes));
    await third.commit();
    expect(digestOf(await driver.getContent("/up/data"))).toBe(digestOf(CONTENT));
  });
});
