import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError } from "../../src/storage/errors.ts";
import { openOssDriver } from "../../src/storage/oss/driver.ts";
import { OSS_OPTIONS } from "../../src/storage/oss/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { startCuttingProxy } from "../support/oss/cutting-proxy.ts";
import { OssRefusal } from "../support/oss/error.ts";
import { errorResponse, type OssServer, ossSection, startOssServer } from "../support/oss-server.ts";
import { eachCall, writeAll } from "../support/store-operations.ts";

const MIB = 1024 * 1024;
const CHUNK = 5 * MIB;
const SILENCE_MS = 1500;
const CONTENT = seededBytes(CHUNK * 2 + 12_345);

let server: OssServer;
let driver: StorageDriver;

function open(silenceMs = 60_000): Promise<StorageDriver> {
  return openOssDriver(OSS_OPTIONS.parse(ossSection(server, { chunksize: CHUNK })), { log: SILENT_LOGGER, silenceMs });
}

beforeEach(async () => {
  server = startOssServer();
  driver = await open();
});
afterEach(async () => {
  await driver[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new Error("it did not fail");
  return error;
}

function refusal(status: number, code: string, method: string): Response {
  return errorResponse(new OssRefusal(status, code, `it is ${code}`), method);
}

async function digestAt(path: string, from: StorageDriver = driver): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of await from.reader(path)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}

/** Everything that the driver does, through every kind of call, and what must be there afterwards. */
async function doEverything(): Promise<void> {
  await driver.putContent("/dir/small", "small");
  expect(Buffer.from(await driver.getContent("/dir/small")).toString()).toBe("small");
  for (const [start, end] of [[0, 1000], [1000, CHUNK + 5], [CHUNK + 5, CONTENT.length]] as const) {
    const writer = await driver.writer("/up/data", { append: true });
    expect(writer.sizeBytes).toBe(start);
    await writeAll(writer, CONTENT.subarray(start, end));
    await writer.close();
  }
  await (await driver.writer("/up/data", { append: true })).commit();
  await driver.move("/up/data", "/blob/data");
  const created = await driver.create("/blob/created");
  await writeAll(created, CONTENT);
  await created.commit();
  for (const path of ["/blob/data", "/blob/created"]) {
    expect(await digestAt(path)).toBe(digestOf(CONTENT));
    expect((await driver.stat(path)).sizeBytes).toBe(CONTENT.length);
  }
  expect((await driver.list("/blob")).entries.map(({ name }) => name)).toEqual(["created", "data"]);
  const cancelled = await driver.writer("/up/other", { append: true });
  await writeAll(cancelled, CONTENT);
  await cancelled.cancel();
  await driver.delete("/blob");
  await driver.delete("/dir/small");
  expect(server.bucket.keys).toEqual([]);
}

/** What passes by itself, besides what other stores do, too. */
const PASSING: readonly ((method: string) => Response)[] = [
  () => new Response(null, { status: 503 }),
  (method) => refusal(429, "TooManyRequests", method),
  // It came too slowly.
  (method) => refusal(400, "RequestTimeout", method),
];

test("everything is done nevertheless when each call meets once with what passes by itself", async () => {
  const met = new Set<string>();
  server.intercept = ({ method, key, query, headers, sizeBytes }) => {
    const call = `${method} ${key} ${JSON.stringify([...query])} ${headers.get("range") ?? ""} ${sizeBytes}`;
    if (met.has(call)) return undefined;
    met.add(call);
    return PASSING[met.size % PASSING.length]?.(method);
  };
  await doEverything();
  expect(met.size).toBeGreaterThan(30);
  expect(server.bucket.uploads).toEqual([]);
});

describe("a store that falls silent", () => {
  test("is asked again", async () => {
    await driver.putContent("/file", "text");
    await using impatient = await open(SILENCE_MS);
    let isFirst = true;
    server.intercept = async ({ method }) => {
      if (method === "HEAD" && isFirst) {
        isFirst = false;
        await Bun.sleep(SILENCE_MS * 3);
      }
      return undefined;
    };
    expect((await impatient.stat("/file")).sizeBytes).toBe(4);
  });
});

test.each(["break", "stall"] as const)("content that comes over a connection that is to %s is asked for from there on, of the same object", async (kind) => {
  await using proxy = await startCuttingProxy(server.endpoint);
  await using beyond = await openOssDriver(OSS_OPTIONS.parse(ossSection(server, { endpoint: proxy.endpoint })), { log: SILENT_LOGGER, silenceMs: SILENCE_MS });
  await driver.putContent("/file", CONTENT);
  const { etag } = server.bucket.get("file");
  const before = server.requests.length;
  proxy.next = { kind, afterBytes: 1_000_000 };
  expect(await digestAt("/file", beyond)).toBe(digestOf(CONTENT));
  const asked = server.requests.slice(before).map(({ headers }) => [headers.get("range")?.replace(/\d{6}-/, "######-"), headers.get("if-match") ?? undefined]);
  expect(asked).toEqual([[undefined, undefined], [`bytes=######-${CONTENT.length - 1}`, etag]]);
});

test("content that is replaced while it comes is given up", async () => {
  await using proxy = await startCuttingProxy(server.endpoint);
  await using beyond = await openOssDriver(OSS_OPTIONS.parse(ossSection(server, { endpoint: proxy.endpoint })), { log: SILENT_LOGGER, silenceMs: SILENCE_MS });
  await driver.putContent("/file", CONTENT);
  proxy.next = { kind: "break", afterBytes: 1_000_000 };
  const stream = await beyond.reader("/file");
  await driver.putContent("/file", CONTENT.toReversed());
  const failure = await failureOf(new Response(stream).bytes());
  expect(failure.message).toContain("PreconditionFailed");
});

describe("a store that stays broken", () => {
  test("fails every call after some attempts, and not as if nothing were there", async () => {
    await driver.putContent("/file", "old");
    const before = server.requests.length;
    server.intercept = ({ method }) => refusal(503, "ServiceUnavailable", method);
    const failures = await Promise.all(Object.entries({ ...eachCall(driver, CONTENT), "stat of the root": () => driver.stat("/") }).map(async ([name, call]) => [name, await failureOf(call())] as const));
    for (const [name, failure] of failures) {
      expect({ name, isMissing: failure instanceof PathNotFoundError, message: failure.message }).toEqual({ name, isMissing: false, message: expect.stringContaining("status 503") });
    }
    // Six tries for each call, of which some are made side by side.
    expect(server.requests.length - before).toBeLessThan(6 * 2 * failures.length);
    server.intercept = undefined;
    expect([server.bucket.keys, Buffer.from(await driver.getContent("/file")).toString()]).toEqual([["file"], "old"]);
  }, 60_000);

  test.each(["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"])("fails at once with %s", async (code) => {
    await driver.putContent("/file", "old");
    server.intercept = ({ method }) => refusal(403, code, method);
    for (const [name, call] of Object.entries({ ...eachCall(driver, CONTENT), "stat of the root": () => driver.stat("/") })) {
      const failure = await failureOf(call());
      expect({ name, isMissing: failure instanceof PathNotFoundError, message: failure.message }).toEqual({ name, isMissing: false, message: expect.stringContaining("status 403") });
      expect(failure.message).not.toContain(server.accessKeySecret);
    }
  });

  test("is not taken for an empty one when the bucket is gone", async () => {
    server.intercept = ({ method }) => refusal(404, "NoSuchBucket", method);
    for (const [name, call] of Object.entries({ ...eachCall(driver, CONTENT), "stat of the root": () => driver.stat("/") })) {
      const failure = await failureOf(call());
      expect({ name, isMissing: failure instanceof PathNotFoundError, message: failure.message }).toEqual({ name, isMissing: false, message: expect.stringMatching(/NoSuchBucket/) });
    }
  });

  test("leaves no part of a file, and a writer that can be gone on with where parts end", async () => {
    const first = await driver.writer("/up/data", { append: true });
    await writeAll(first, CONTENT.subarray(0, 1000));
    await first.close();
    // The third part cannot be sent.
    server.intercept = ({ method, query }) => (query.get("partNumber") === "2" ? refusal(400, "InvalidArgument", method) : undefined);
    const second = await driver.writer("/up/data", { append: true });
    const failure = await failureOf((async () => {
      await writeAll(second, CONTENT.subarray(1000));
      await second.commit();
    })());
    expect(failure.message).toContain("UploadPart contract/up/data: InvalidArgument: it is InvalidArgument (status 400, request ");
    await second[Symbol.asyncDispose]();
    server.intercept = undefined;
    expect(server.bucket.keys.filter((key) => key === "up/data")).toEqual([]);
    const third = await driver.writer("/up/data", { append: true });
    expect(third.sizeBytes).toBe(CHUNK);
    await writeAll(third, CONTENT.subarray(third.sizeBytes));
    await third.commit();
    expect(await digestAt("/up/data")).toBe(digestOf(CONTENT));
  });
});

describe("an answer to a completion that gets lost", () => {
  /** What happens to the object between the completion and the next try. */
  async function commitWith(afterwards: () => void): Promise<void> {
    server.intercept = ({ method, query }, perform) => {
      if (method !== "POST" || !query.has("uploadId")) return undefined;
      server.intercept = undefined;
      perform();
      afterwards();
      return refusal(503, "ServiceUnavailable", method);
    };
    const writer = await driver.writer("/up/data", { append: true });
    await writeAll(writer, CONTENT);
    await writer.commit();
  }

  test("is no failure when the object is the one", async () => {
    await commitWith(() => undefined);
    await driver.move("/up/data", "/blob/data");
    expect(await digestAt("/blob/data")).toBe(digestOf(CONTENT));
  });

  test("is one when the object is another, of the same size, or none", async () => {
    expect((await failureOf(commitWith(() => void server.bucket.put("up/data", CONTENT.toReversed(), {})))).message).toContain("NoSuchUpload");
    await driver.delete("/up/data");
    expect((await failureOf(commitWith(() => server.bucket.delete("up/data")))).message).toContain("NoSuchUpload");
  });
});

describe("two processes that write to one file", () => {
  const ours = seededBytes(CHUNK * 2, 1);
  const theirs = seededBytes(CHUNK * 2, 2);
  let other: StorageDriver;
  beforeEach(async () => {
    other = await open();
  });
  afterEach(async () => await other[Symbol.asyncDispose]());

  test.each([
    ["from nothing", 0],
    ["after a little", 1000],
    ["after a part", CHUNK],
    ["after a part and more", CHUNK + 200_000],
  ])("%s, never make a file of both", async (_, sizeBytes) => {
    const beginning = seededBytes(sizeBytes, 3);
    const first = await driver.writer("/up/data", { append: true });
    await writeAll(first, beginning);
    await first.close();
    const [a, b] = await Promise.all([driver.writer("/up/data", { append: true }), other.writer("/up/data", { append: true })]);
    await Promise.all([writeAll(a, ours), writeAll(b, theirs)]);
    const results = await Promise.allSettled([a.commit(), b.commit()]);
    const wholes = [ours, theirs].map((rest) => digestOf(Buffer.concat([beginning, rest])));
    if (results.some(({ status }) => status === "fulfilled")) expect(wholes).toContain(await digestAt("/up/data"));
    else expect(server.bucket.find("up/data")).toBeUndefined();
    // Who committed finds exactly what it wrote, or is told at the move; a failure is never silent.
    for (const [index, [mover, result]] of ([[driver, results[0]], [other, results[1]]] as const).entries()) {
      if (result?.status !== "fulfilled") continue;
      const failure = await mover.move("/up/data", `/blob/${index}`).then(() => undefined, (error: unknown) => error);
      if (failure === undefined) expect(await digestAt(`/blob/${index}`)).toBe(wholes[index] ?? "");
    }
  });
});

describe("the rest of a request that fills no part", () => {
  const tails = (): readonly string[] => server.bucket.keys.filter((key) => key.endsWith("~tail"));

  async function write(bytes: Uint8Array): Promise<void> {
    const writer = await driver.writer("/up/data", { append: true });
    await writeAll(writer, bytes);
    await writer.close();
  }

  test("is kept beside the upload only when the store would not take it in the middle", async () => {
    await write(CONTENT.subarray(0, 200_000));
    expect(tails()).toEqual([]);
    await write(CONTENT.subarray(200_000, 200_100));
    expect(tails()).toEqual(["up/data~tail"]);
    await write(CONTENT.subarray(200_100, 400_000));
    expect(tails()).toEqual([]);
    expect([...(server.bucket.uploads[0]?.parts.values() ?? [])].map((part) => part.sizeBytes)).toEqual([200_000, 200_000]);
    const writer = await driver.writer("/up/data", { append: true });
    await writer.commit();
    expect(await digestAt("/up/data")).toBe(digestOf(CONTENT.subarray(0, 400_000)));
  });

  test("is made an object of when what was kept is lost", async () => {
    await write(CONTENT.subarray(0, 1000));
    server.bucket.delete("up/data~tail");
    await write(CONTENT.subarray(1000, 2000));
    const writer = await driver.writer("/up/data", { append: true });
    expect(writer.sizeBytes).toBe(2000);
    await writer.commit();
    expect(await digestAt("/up/data")).toBe(digestOf(CONTENT.subarray(0, 2000)));
    expect([server.bucket.keys, server.bucket.uploads]).toEqual([["up/data"], []]);
  });

  test("is not used when it is of another part", async () => {
    await write(CONTENT.subarray(0, 1000));
    server.bucket.put("up/data~tail", new Uint8Array(1000), {});
    await write(CONTENT.subarray(1000, 2000));
    await (await driver.writer("/up/data", { append: true })).commit();
    expect(await digestAt("/up/data")).toBe(digestOf(CONTENT.subarray(0, 2000)));
  });
});
