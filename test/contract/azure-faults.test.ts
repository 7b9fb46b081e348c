import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { openAzureDriver } from "../../src/storage/azure/driver.ts";
import { AZURE_OPTIONS } from "../../src/storage/azure/options.ts";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError } from "../../src/storage/errors.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { type Azurite, type AzuriteAnswer, type AzuriteFront, azuriteRefusal, type AzuriteRequest, type Interception, startAzurite, startAzuriteFront } from "../support/azurite.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { eachCall } from "../support/store-operations.ts";

const MIB = 1024 * 1024;
const SILENCE_MS = 1500;
const CONTENT = seededBytes(9 * MIB + 1234);

let azurite: Azurite;
let front: AzuriteFront;
let driver: StorageDriver;
let container = "";
let containers = 0;

beforeAll(async () => {
  azurite = await startAzurite();
  front = await startAzuriteFront(azurite);
});
afterAll(async () => {
  await front[Symbol.asyncDispose]();
  await azurite[Symbol.asyncDispose]();
});
beforeEach(async () => {
  container = `faults-${containers++}`;
  await azurite.createContainer(container);
  driver = await open();
});
afterEach(async () => {
  front.intercept = undefined;
  await driver[Symbol.asyncDispose]();
});

/** A driver as another process would have it. */
async function open(more: Readonly<Record<string, unknown>> = {}, silenceMs = 60_000): Promise<StorageDriver> {
  const options = AZURE_OPTIONS.parse(azurite.section(container, { serviceurl: `${front.url}/${azurite.account}`, retry_delay: "1ms", ...more }));
  return await openAzureDriver(options, { log: SILENT_LOGGER, silenceMs });
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new Error("it did not fail");
  return error;
}

async function namesOf(): Promise<string[]> {
  return (await Array.fromAsync(azurite.container(container).listBlobsFlat({ includeUncommitedBlobs: false }))).map(({ name }) => name);
}

async function hashOf(path: string, from: StorageDriver = driver): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of await from.reader(path)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}

/** What the driver asks for, by its parameters. */
function operationOf({ method, url, headers }: AzuriteRequest): string {
  const comp = url.searchParams.get("comp") ?? "";
  return headers.has("x-ms-copy-source") ? "copy" : `${method}${comp === "" ? "" : ` ${comp}`}`;
}

/** Everything that the driver does, through every kind of call, and what must be there afterwards. */
async function doEverything(): Promise<void> {
  await driver.putContent("/dir/small", "small");
  expect(Buffer.from(await driver.getContent("/dir/small")).toString()).toBe("small");
  for (const [start, end] of [[0, 4 * MIB + 5], [4 * MIB + 5, CONTENT.length]] as const) {
    const writer = await driver.writer("/up/data", { append: true });
    expect(writer.sizeBytes).toBe(start);
    for (let offset = start; offset < end; offset += 500_000) await writer.write(CONTENT.subarray(offset, Math.min(end, offset + 500_000)));
    await writer.close();
  }
  await (await driver.writer("/up/data", { append: true })).commit();
  await driver.move("/up/data", "/blob/data");
  const created = await driver.create("/blob/created");
  await created.write(CONTENT);
  await created.commit();
  for (const path of ["/blob/data", "/blob/created"]) {
    expect(await hashOf(path)).toBe(digestOf(CONTENT));
    expect((await driver.stat(path)).sizeBytes).toBe(CONTENT.length);
  }
  expect((await driver.list("/blob")).entries.map(({ name }) => name)).toEqual(["created", "data"]);
  const cancelled = await driver.writer("/up/other", { append: true });
  await cancelled.write(CONTENT);
  await cancelled.cancel();
  await driver.delete("/blob");
  await driver.delete("/dir/small");
  expect(await namesOf()).toEqual([]);
}

/** What passes by itself, besides what other stores do, too. */
const PASSING: readonly (() => AzuriteAnswer)[] = [() => ({ status: 503, headers: new Headers(), body: new Uint8Array() }), () => azuriteRefusal(429, "TooManyRequests"), () => azuriteRefusal(408, "OperationTimedOut")];

test("everything is done nevertheless when each call meets once with what passes by itself", async () => {
  const met = new Set<string>();
  front.intercept = ({ method, url, headers }) => {
    // Azurite itself asks for the source of a copy, and does not try again.
    if (url.searchParams.get("comp") === "metadata") return undefined;
    const call = `${method} ${url.pathname}${url.search} ${headers.get("x-ms-range") ?? ""} ${headers.get("x-ms-blob-condition-appendpos") ?? ""} ${headers.get("x-ms-copy-source")?.split("?", 1)[0] ?? ""}`;
    if (met.has(call)) return undefined;
    met.add(call);
    return PASSING[met.size % PASSING.length]?.();
  };
  await doEverything();
  expect(met.size).toBeGreaterThan(20);
});

describe("a store that falls silent", () => {
  let impatient: StorageDriver;
  beforeEach(async () => {
    impatient = await open({}, SILENCE_MS);
  });
  afterEach(async () => await impatient[Symbol.asyncDispose]());

  test("is asked again", async () => {
    await driver.putContent("/file", "text");
    let isFirst = true;
    front.intercept = async () => {
      if (!isFirst) return undefined;
      isFirst = false;
      await Bun.sleep(SILENCE_MS * 3);
      return undefined;
    };
    expect((await impatient.stat("/file")).sizeBytes).toBe(4);
  });

  test("in the middle of content is asked for the rest of the same blob", async () => {
    await driver.putContent("/file", CONTENT);
    const asked: (string | null)[][] = [];
    front.intercept = async ({ headers }, answer) => {
      asked.push([headers.get("x-ms-range"), headers.get("if-match")]);
      return asked.length > 1 ? undefined : { ...(await answer()), breaksOff: { afterBytes: 1_000_000, then: "silence" } };
    };
    expect(await hashOf("/file", impatient)).toBe(digestOf(CONTENT));
    expect(asked).toEqual([[null, null], [`bytes=1000000-${CONTENT.length - 1}`, expect.stringContaining("0x")]]);
  });
});

describe("a store that stays broken", () => {
  test("fails every call after some attempts, and not as if nothing were there", async () => {
    await driver.putContent("/file", "old");
    front.intercept = () => azuriteRefusal(503, "ServerBusy");
    const failures = await Promise.all(Object.entries(eachCall(driver, CONTENT)).map(async ([name, call]) => [name, await failureOf(call())] as const));
    for (const [name, failure] of failures) {
      expect({ name, isMissing: failure instanceof PathNotFoundError, message: failure.message }).toEqual({ name, isMissing: false, message: expect.stringContaining("(status 503)") });
    }
    front.intercept = undefined;
    expect([await namesOf(), Buffer.from(await driver.getContent("/file")).toString()]).toEqual([["file"], "old"]);
  }, 30_000);

  test.each([
    [403, "AuthorizationFailure"],
    [404, "ContainerNotFound"],
    [404, "ResourceNotFound"],
  ])("fails at once where it says %d %s, and not as if nothing were there", async (status, code) => {
    let count = 0;
    front.intercept = () => {
      count++;
      return azuriteRefusal(status, code);
    };
    for (const [name, call] of Object.entries(eachCall(driver, CONTENT))) {
      count = 0;
      const failure = await failureOf(call());
      expect({ name, isMissing: failure instanceof PathNotFoundError, message: failure.message }).toEqual({ name, isMissing: false, message: expect.stringContaining(`${code}: `) });
      if (name !== "create") expect({ name, count }).toEqual({ name, count: 1 });
    }
  });

  test("that has no such container says so", async () => {
    const other = await open({ container: "no-such-container" });
    const everyCall = [() => other.stat("/file"), () => other.list("/"), () => other.list("/dir"), () => other.getContent("/file"), () => other.putContent("/file", "x"), () => other.delete("/file"), () => other.writer("/file", { append: true })];
    for (const call of everyCall) {
      expect((await failureOf(call())).message).toMatch(/^azure: .* no-such-container\S*: ContainerNotFound: .*\(status 404\)$/);
    }
    await other[Symbol.asyncDispose]();
  });

  test("leaves a writer that can be gone on with where it got to", async () => {
    const first = await driver.writer("/up/data", { append: true });
    await first.write(CONTENT.subarray(0, 100));
    await first.close();
    front.intercept = (request) => (request.headers.get("x-ms-blob-condition-appendpos") === String(100 + 4 * MIB) ? azuriteRefusal(400, "InvalidInput") : undefined);
    const second = await driver.writer("/up/data", { append: true });
    const failure = await failureOf(
      (async () => {
        await second.write(CONTENT.subarray(100));
        await second.commit();
      })(),
    );
    expect(failure.message).toContain("InvalidInput");
    await second[Symbol.asyncDispose]();
    expect(second.sizeBytes).toBe(100 + 4 * MIB);
    front.intercept = undefined;
    const third = await driver.writer("/up/data", { append: true });
    expect(third.sizeBytes).toBe(100 + 4 * MIB);
    await third.write(CONTENT.subarray(third.sizeBytes));
    await third.commit();
    expect(await hashOf("/up/data")).toBe(digestOf(CONTENT));
  });
});

describe("two processes", () => {
  let other: StorageDriver;
  beforeEach(async () => {
    other = await open();
  });
  afterEach(async () => await other[Symbol.asyncDispose]());

  test("that append to one file at once do not get into each other's bytes", async () => {
    await (await driver.writer("/up/data", { append: true })).close();
    const [mine, theirs] = await Promise.all([driver.writer("/up/data", { append: true }), other.writer("/up/data", { append: true })]);
    await mine.write(CONTENT.subarray(0, 1000));
    await theirs.write(CONTENT.subarray(1000, 3000));
    await theirs.close();
    expect((await failureOf(mine.close())).message).toBe("azure: up/data was written to by somebody else, too");
    expect(await hashOf("/up/data")).toBe(digestOf(CONTENT.subarray(1000, 3000)));
  });

  test("that begin one file at once do not either", async () => {
    const [mine, theirs] = await Promise.all([driver.writer("/up/data", { append: true }), other.writer("/up/data", { append: true })]);
    await mine.write(CONTENT.subarray(0, 1000));
    await theirs.write(CONTENT.subarray(1000, 3000));
    const results = await Promise.allSettled([mine.close(), theirs.close()]);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const isMine = results[0]?.status === "fulfilled";
    expect(await hashOf("/up/data")).toBe(digestOf(isMine ? CONTENT.subarray(0, 1000) : CONTENT.subarray(1000, 3000)));
  });

  test("do not move what the other wrote after it was committed", async () => {
    const writer = await driver.writer("/up/data", { append: true });
    await writer.write(CONTENT.subarray(0, 1000));
    await writer.commit();
    const more = await other.writer("/up/data", { append: true });
    await more.write(CONTENT.subarray(0, 10));
    await more.close();
    expect((await failureOf(driver.move("/up/data", "/blob"))).message).toBe("azure: /up/data was written to by somebody else after it was committed");
    expect(await namesOf()).toEqual(["up/data"]);
  });

  test("that create one file at once with the same bytes both succeed", async () => {
    const [mine, theirs] = await Promise.all([driver.create("/blob"), other.create("/blob")]);
    await Promise.all([mine.write(CONTENT), theirs.write(CONTENT)]);
    await mine.commit();
    // The store has forgotten these blocks.
    const refused: (string | null)[] = [];
    front.intercept = async ({ url }, answer) => {
      if (url.searchParams.get("comp") !== "blocklist") return undefined;
      const given = await answer();
      refused.push(given.headers.get("x-ms-error-code"));
      return given;
    };
    await theirs.commit();
    expect([refused, await hashOf("/blob")]).toEqual([["InvalidBlockList"], digestOf(CONTENT)]);
  });

  test("that create one file at once with others do not mix them", async () => {
    const another = seededBytes(CONTENT.length, 2);
    const [mine, theirs] = await Promise.all([driver.create("/blob"), other.create("/blob")]);
    await Promise.all([mine.write(CONTENT), theirs.write(another)]);
    const results = await Promise.allSettled([mine.commit(), theirs.commit()]);
    expect(results.some(({ status }) => status === "fulfilled")).toBe(true);
    expect([digestOf(CONTENT), digestOf(another)]).toContain(await hashOf("/blob"));
  });
});

/** As the service does, and Azurite does not: refuses to put one type of blob in the place of another. */
const keepTypes: Interception = async (request) => {
  const { method, url, headers } = request;
  const makes = operationOf(request) === "PUT block" || headers.get("x-ms-blob-type") === "BlockBlob" ? "BlockBlob" : operationOf(request) === "copy" ? await typeOf(new URL(headers.get("x-ms-copy-source") ?? "")) : undefined;
  const there = method === "PUT" ? await typeOf(url) : undefined;
  return makes !== undefined && there !== undefined && makes !== there ? azuriteRefusal(409, "InvalidBlobType") : undefined;
};

async function typeOf(url: URL): Promise<string | undefined> {
  const name = decodeURIComponent(url.pathname.split("/").slice(3).join("/"));
  const blob = azurite.container(container).getBlobClient(name);
  return (await blob.exists()) ? (await blob.getProperties()).blobType : undefined;
}

describe("blobs of another type", () => {
  beforeEach(async () => {
    const old = azurite.container(container).getAppendBlobClient("link");
    await old.create();
    await old.appendBlock("old", 3);
    front.intercept = keepTypes;
  });

  test("as distribution wrote links once, are replaced", async () => {
    await driver.putContent("/link", "new");
    expect(Buffer.from(await driver.getContent("/link")).toString()).toBe("new");
  });

  test("are replaced by what is created, or moved there", async () => {
    const created = await driver.create("/link");
    await created.write(CONTENT);
    await created.commit();
    expect(await hashOf("/link")).toBe(digestOf(CONTENT));
    const writer = await driver.writer("/up/data", { append: true });
    await writer.write(CONTENT.subarray(0, 1000));
    await writer.commit();
    await driver.move("/up/data", "/link");
    expect(await hashOf("/link")).toBe(digestOf(CONTENT.subarray(0, 1000)));
    expect(await namesOf()).toEqual(["link"]);
  });
});

describe("a copy that the store does not make at once", () => {
  const SOURCE = "/up/data";
  let looks: number;
  let aborted: number;

  beforeEach(async () => {
    [looks, aborted] = [0, 0];
    await driver.putContent(SOURCE, "moved");
  });

  /** Says `status` of copies, until they were looked at so often. */
  function copying(status: string, maxLooks = Number.POSITIVE_INFINITY): Interception {
    return async (request, answer) => {
      if (request.url.searchParams.get("comp") === "copy") {
        aborted++;
        return { status: 204, headers: new Headers(), body: new Uint8Array() };
      }
      const isDestination = request.url.pathname.endsWith("/blob");
      if (!isDestination || looks > maxLooks) return undefined;
      const given = await answer();
      if (given.headers.has("x-ms-copy-status")) {
        given.headers.set("x-ms-copy-status", operationOf(request) === "copy" ? "pending" : aborted > 0 ? "aborted" : status);
        looks++;
      }
      return given;
    };
  }

  test("is waited for", async () => {
    front.intercept = copying("pending", 3);
    await driver.move(SOURCE, "/blob");
    expect([await namesOf(), looks]).toEqual([["blob"], 4]);
  });

  test("is called off when it was looked at max_retries times", async () => {
    front.intercept = copying("pending");
    const failure = await failureOf(driver.move(SOURCE, "/blob"));
    expect(failure.message).toBe("azure: copying up/data to blob took too long: raise storage.azure.max_retries (5) or storage.azure.retry_delay (1 ms)");
    expect([aborted, await namesOf()]).toEqual([1, ["up/data"]]);
  });

  test("is called off at once with max_retries -1", async () => {
    const other = await open({ max_retries: -1 });
    front.intercept = copying("pending");
    expect((await failureOf(other.move(SOURCE, "/blob"))).message).toContain("max_retries (-1)");
    expect([aborted, await namesOf()]).toEqual([1, ["up/data"]]);
    await other[Symbol.asyncDispose]();
  });

  test("leaves the source when it fails", async () => {
    front.intercept = copying("failed");
    expect((await failureOf(driver.move(SOURCE, "/blob"))).message).toBe("azure: copying up/data to blob failed: the store does not say why");
    expect(await namesOf()).toContain("up/data");
  });

  test("is no file while it is made, nor when it failed", async () => {
    await driver.putContent("/before", "x");
    await driver.move("/before", "/blob");
    for (const status of ["pending", "failed", "aborted"]) {
      front.intercept = copying(status);
      for (const call of [() => driver.stat("/blob"), () => driver.getContent("/blob"), () => driver.reader("/blob"), () => driver.move("/blob", "/elsewhere")]) expect(await failureOf(call())).toBeInstanceOf(PathNotFoundError);
    }
  });

  test("of somebody else's is waited for", async () => {
    let refusals = 2;
    front.intercept = (request) => (operationOf(request) === "copy" && refusals-- > 0 ? azuriteRefusal(409, "PendingCopyOperation") : undefined);
    await driver.move(SOURCE, "/blob");
    expect(await namesOf()).toEqual(["blob"]);
  });
});
