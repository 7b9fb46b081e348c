import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import type { FileWriter, StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError } from "../../src/storage/errors.ts";
import { openS3Driver } from "../../src/storage/s3/driver.ts";
import { S3_OPTIONS } from "../../src/storage/s3/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startCeph } from "../support/ceph.ts";
import { type Fault, type FaultProxy, type ProxiedRequest, reachesServer, startFaultProxy } from "../support/fault-proxy.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { s3Client, s3Section, type S3Server } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";

const MIB = 1024 * 1024;
const BUCKET = "faults";
const MAX_RETRIES = 3;
/** So long that no call on a busy machine is taken for one that stalls. */
const PATIENT = { timeout: "60s", maxretries: MAX_RETRIES };
/** Where much stalls: a call that is merely slow may be taken for one that does, and is tried again, too. */
const IMPATIENT = { timeout: "2s", maxretries: 10 };
/** More than two parts of the smallest size. */
const LARGE = seededBytes(11 * MIB + 12_345, 1);
const OTHER = seededBytes(11 * MIB + 12_345, 2);

const SLOW_DOWN: Fault = { kind: "answer", status: 503, body: "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>" };
const INTERNAL: Fault = { kind: "answer", status: 500, body: "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>" };
const GATEWAY: Fault = { kind: "answer", status: 502, body: "<html>Bad Gateway</html>" };
const EXPIRED: Fault = { kind: "answer", status: 403, body: "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>" };
const DENIED: Fault = { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>" };

/** What is done with a store, and what must have come of it. Each works in a folder of its own. */
interface Operation {
  readonly prepare?: (direct: StorageDriver, folder: string) => Promise<void>;
  readonly run: (driver: StorageDriver, folder: string) => Promise<void>;
  readonly check?: (direct: StorageDriver, folder: string) => Promise<void>;
  /** What must still be there when it failed for good. */
  readonly unharmed: (direct: StorageDriver, folder: string) => Promise<void>;
}

async function isMissing(driver: StorageDriver, path: string): Promise<void> {
  const error = await driver.stat(path).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(PathNotFoundError);
}

async function digestAt(driver: StorageDriver, path: string): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of await driver.reader(path)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}

async function writeAll(writer: FileWriter, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += MIB) await writer.write(bytes.subarray(offset, offset + MIB));
}

async function create(driver: StorageDriver, path: string, bytes: Uint8Array): Promise<void> {
  await using writer = await driver.create(path);
  await writeAll(writer, bytes);
  await writer.commit();
}

async function holds(driver: StorageDriver, path: string, bytes: Uint8Array): Promise<void> {
  expect(await digestAt(driver, path)).toBe(digestOf(bytes));
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  getContent: {
    prepare: (direct, folder) => direct.putContent(`${folder}/file`, "text"),
    run: async (driver, folder) => expect(Buffer.from(await driver.getContent(`${folder}/file`)).toString()).toBe("text"),
    unharmed: async (direct, folder) => expect((await direct.stat(`${folder}/file`)).sizeBytes).toBe(4),
  },
  putContent: {
    prepare: (direct, folder) => direct.putContent(`${folder}/file`, "old"),
    run: (driver, folder) => driver.putContent(`${folder}/file`, "new"),
    check: async (direct, folder) => expect(Buffer.from(await direct.getContent(`${folder}/file`)).toString()).toBe("new"),
    unharmed: async (direct, folder) => expect(["old", "new"]).toContain(Buffer.from(await direct.getContent(`${folder}/file`)).toString()),
  },
  reader: {
    prepare: (direct, folder) => create(direct, `${folder}/file`, LARGE),
    run: (driver, folder) => holds(driver, `${folder}/file`, LARGE),
    unharmed: (direct, folder) => holds(direct, `${folder}/file`, LARGE),
  },
  writer: {
    async run(driver, folder) {
      for (const [from, to] of [[0, 6 * MIB + 1], [6 * MIB + 1, LARGE.length]] as const) {
        await using writer = await driver.writer(`${folder}/file`, { append: true });
        expect(writer.sizeBytes).toBe(from);
        await writeAll(writer, LARGE.subarray(from, to));
        await writer.close();
      }
      await using writer = await driver.writer(`${folder}/file`, { append: true });
      await writer.commit();
    },
    check: (direct, folder) => holds(direct, `${folder}/file`, LARGE),
    unharmed: (direct, folder) => isMissing(direct, `${folder}/file`),
  },
  create: {
    prepare: (direct, folder) => create(direct, `${folder}/file`, OTHER),
    run: (driver, folder) => create(driver, `${folder}/file`, LARGE),
    check: (direct, folder) => holds(direct, `${folder}/file`, LARGE),
    unharmed: (direct, folder) => holds(direct, `${folder}/file`, OTHER),
  },
  stat: {
    prepare: (direct, folder) => direct.putContent(`${folder}/file`, "text"),
    async run(driver, folder) {
      expect((await driver.stat(`${folder}/file`)).sizeBytes).toBe(4);
      expect((await driver.stat(folder)).isDirectory).toBe(true);
      await isMissing(driver, `${folder}/missing`);
    },
    unharmed: async () => undefined,
  },
  list: {
    prepare: (direct, folder) => direct.putContent(`${folder}/a/file`, "text"),
    run: async (driver, folder) => expect((await driver.list(folder)).entries).toEqual([{ name: "a", isDirectory: true }]),
    unharmed: async () => undefined,
  },
  move: {
    prepare: (direct, folder) => direct.putContent(`${folder}/from`, "text"),
    run: (driver, folder) => driver.move(`${folder}/from`, `${folder}/to`),
    async check(direct, folder) {
      expect(Buffer.from(await direct.getContent(`${folder}/to`)).toString()).toBe("text");
      await isMissing(direct, `${folder}/from`);
    },
    unharmed: async (direct, folder) => expect(Buffer.from(await direct.getContent(`${folder}/from`)).toString()).toBe("text"),
  },
  "move in parts": {
    prepare: (direct, folder) => create(direct, `${folder}/from`, LARGE),
    run: (driver, folder) => driver.move(`${folder}/from`, `${folder}/to`),
    async check(direct, folder) {
      await holds(direct, `${folder}/to`, LARGE);
      await isMissing(direct, `${folder}/from`);
    },
    async unharmed(direct, folder) {
      await holds(direct, `${folder}/from`, LARGE);
      await isMissing(direct, `${folder}/to`);
    },
  },
  delete: {
    prepare: async (direct, folder) => void (await Promise.all(["a", "b", "c/d"].map((name) => direct.putContent(`${folder}/dir/${name}`, name)))),
    run: (driver, folder) => driver.delete(`${folder}/dir`),
    check: (direct, folder) => isMissing(direct, `${folder}/dir`),
    unharmed: async () => undefined,
  },
};

describeWith(["ceph"], "the S3 driver, when the store falters,", () => {
  let ceph: S3Server;
  let proxy: FaultProxy;
  let direct: StorageDriver;
  let driver: StorageDriver;
  let folders = 0;

  beforeAll(async () => {
    ceph = await startCeph();
    await ceph.createBucket(BUCKET);
    direct = await open(ceph.endpoint, PATIENT);
  });
  afterAll(async () => {
    await direct[Symbol.asyncDispose]();
    await ceph[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    proxy = await startFaultProxy(ceph.endpoint);
    driver = await open(proxy.url, PATIENT);
  });
  afterEach(async () => {
    await driver[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  });

  function open(endpoint: string, patience: { readonly timeout: string; readonly maxretries: number }): Promise<StorageDriver> {
    const options = s3Section({ ...ceph, endpoint }, BUCKET, { chunksize: 5 * MIB, multipartcopythresholdsize: 5 * MIB, multipartcopychunksize: 5 * MIB, ...patience });
    return openS3Driver(S3_OPTIONS.parse(options), { log: SILENT_LOGGER });
  }

  async function unfinished(folder: string): Promise<number> {
    const client = s3Client(ceph);
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET, Prefix: folder.slice(1) }));
    client.destroy();
    return Uploads.length;
  }

  /** How many uploads the store may have begun of which nobody heard: each is left, for the purge. */
  function lostBeginnings(folder: string): number {
    const beginnings = proxy.requests.filter(({ method, url, fault }) => method === "POST" && url.includes(`${folder}/`) && /[?&]uploads\b/.test(url) && reachesServer(fault));
    return beginnings.length - new Set(beginnings.map(callOf)).size;
  }

  /** Signatures are in headers: what is tried again has the same URL. */
  function callOf({ method, url }: ProxiedRequest): string {
    return `${method} ${url}`;
  }

  /** A plan by which every call fails the first few times. */
  function failingFirst(times: number, fault: Fault): FaultProxy["plan"] {
    const failures = new Map<string, number>();
    return (request) => {
      // What has no body cannot be too short, and of the content of an object nobody knows better how long it is.
      if (fault.kind === "wrong-length" && (request.method === "HEAD" || request.url.includes("GetObject"))) return undefined;
      const call = callOf(request);
      const count = failures.get(call) ?? 0;
      failures.set(call, count + 1);
      return count < times ? fault : undefined;
    };
  }

  async function failureOf(work: Promise<unknown>): Promise<Error> {
    const error = await work.then(
      () => new Error("it did not fail"),
      (reason: unknown) => reason,
    );
    if (!(error instanceof Error)) throw new Error(`${String(error)} was thrown`);
    return error;
  }

  const passing: readonly (readonly [string, Fault, number, typeof PATIENT])[] = [
    ["says 500", INTERNAL, 2, PATIENT],
    ["says 503 SlowDown", SLOW_DOWN, 2, PATIENT],
    ["says 502 in HTML", GATEWAY, 2, PATIENT],
    ["breaks connections", { kind: "reset" }, 2, PATIENT],
    ["stalls", { kind: "stall" }, 1, IMPATIENT],
    ["ends answers early", { kind: "truncate", bodyBytes: 2 }, 1, PATIENT],
    ["comes to a halt in answers", { kind: "stall-body", bodyBytes: 2 }, 1, IMPATIENT],
    ["announces more than it sends", { kind: "wrong-length", byBytes: 7 }, 1, IMPATIENT],
  ];

  test.each(passing)("%s, does everything right in the end", async (_what, fault, times, patience) => {
    await using opened = await open(proxy.url, patience);
    await Promise.all(
      Object.values(OPERATIONS).map(async (operation) => {
        const folder = `/passing-${folders++}`;
        await operation.prepare?.(direct, folder);
      }),
    );
    const first = folders - Object.keys(OPERATIONS).length;
    proxy.plan = failingFirst(times, fault);
    await Promise.all(
      Object.values(OPERATIONS).map(async (operation, index) => {
        const folder = `/passing-${first + index}`;
        await operation.run(opened, folder);
        await operation.check?.(direct, folder);
        expect(await unfinished(folder)).toBeLessThanOrEqual(lostBeginnings(folder));
      }),
    );
  });

  // Answers to HEAD have no body that could say why.
  const lasting: readonly (readonly [string, Fault, RegExp, number, string?])[] = [
    ["says 503 SlowDown", SLOW_DOWN, /SlowDown|gives no reason \(status 503, 4 attempts\)/, MAX_RETRIES],
    ["breaks connections", { kind: "reset" }, /ECONNRESET/, MAX_RETRIES],
    ["stalls", { kind: "stall" }, /ETIMEDOUT/, MAX_RETRIES, "1s"],
    ["says that the token has expired", EXPIRED, /ExpiredToken|gives no reason \(status 403\)/, 0],
    ["says that access is denied", DENIED, /AccessDenied|gives no reason \(status 403\)/, 0],
  ];

  test.each(lasting)("%s for good, fails after bounded tries, says why, and harms nothing", async (_what, fault, text, retries, timeout = PATIENT.timeout) => {
    await using opened = await open(proxy.url, { ...PATIENT, timeout });
    const works = await Promise.all(
      Object.entries(OPERATIONS).map(async ([name, operation]) => {
        const folder = `/lasting-${folders++}`;
        await operation.prepare?.(direct, folder);
        return { name, operation, folder };
      }),
    );
    proxy.plan = () => fault;
    const failures = await Promise.all(works.map(async ({ name, operation, folder }) => ({ name, message: (await failureOf(operation.run(opened, folder))).message })));
    for (const { name, message } of failures) expect(`${name}: ${message}`).toMatch(text);
    const counts = Map.groupBy(proxy.requests, callOf);
    for (const [, tries] of counts) expect(tries.length).toBeLessThanOrEqual(retries + 1);
    for (const { operation, folder } of works) await operation.unharmed(direct, folder);
  });

  test("loses its answers, takes what was done for done", async () => {
    const folder = `/lost-${folders++}`;
    await create(direct, `${folder}/from`, LARGE);
    proxy.plan = failingFirst(1, { kind: "lost-answer" });
    await create(driver, `${folder}/created`, LARGE);
    await driver.move(`${folder}/from`, `${folder}/to`);
    await driver.putContent(`${folder}/small`, "small");
    proxy.plan = () => undefined;
    for (const name of ["created", "to"]) await holds(direct, `${folder}/${name}`, LARGE);
    expect((await direct.list(folder)).entries.map(({ name }) => name)).toEqual(["created", "small", "to"]);
  });

  test("fails in the middle of a large file again and again, gives every byte once", async () => {
    const folder = `/middle-${folders++}`;
    await create(direct, `${folder}/file`, LARGE);
    const cuts = [1, 300_000, 5 * MIB, 0, 2 * MIB];
    proxy.plan = ({ method }) => {
      const bodyBytes = method === "GET" ? cuts.pop() : undefined;
      return bodyBytes === undefined ? undefined : { kind: "truncate", bodyBytes };
    };
    await holds(driver, `${folder}/file`, LARGE);
    expect(cuts).toEqual([]);
  });

  test("announces more of a file than there is, fails and gives nothing that is not in it", async () => {
    const folder = `/longer-${folders++}`;
    await create(direct, `${folder}/file`, LARGE);
    await using impatient = await open(proxy.url, IMPATIENT);
    proxy.plan = () => (proxy.requests.length === 0 ? { kind: "wrong-length", byBytes: 7 } : undefined);
    const hash = new Bun.CryptoHasher("sha256");
    const error = await failureOf(
      (async () => {
        for await (const chunk of await impatient.reader(`${folder}/file`)) hash.update(chunk);
      })(),
    );
    expect(error.message).toContain("InvalidRange");
    expect(hash.digest("hex")).toBe(digestOf(LARGE).slice("sha256:".length));
  });

  test("gives a changed object after a break, ends the stream with an error and no wrong byte", async () => {
    const folder = `/changed-${folders++}`;
    await create(direct, `${folder}/file`, LARGE);
    proxy.plan = () => ({ kind: "truncate", bodyBytes: 3 * MIB });
    const reader = (await driver.reader(`${folder}/file`)).getReader();
    const hash = new Bun.CryptoHasher("sha256");
    let received = 0;
    const error = await failureOf(
      (async () => {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          hash.update(value);
          received += value.length;
          proxy.plan = () => undefined;
          if (received === 3 * MIB || value.length > 0) await create(direct, `${folder}/file`, OTHER);
        }
      })(),
    );
    expect(error.message).toContain("PreconditionFailed");
    expect(hash.digest("hex")).toBe(digestOf(LARGE.subarray(0, received)).slice("sha256:".length));
  });

  test("fails for a while in an upload, keeps what was stored and goes on after it", async () => {
    const folder = `/upload-${folders++}`;
    const path = `${folder}/file`;
    const first = await driver.writer(path, { append: true });
    proxy.plan = ({ url }) => (url.includes("partNumber=2") ? INTERNAL : undefined);
    const error = await failureOf(writeAll(first, LARGE).then(() => first.close()));
    expect(error.message).toContain("InternalError");
    await first[Symbol.asyncDispose]();
    proxy.plan = () => undefined;
    await using second = await driver.writer(path, { append: true });
    expect(second.sizeBytes).toBe(5 * MIB);
    await writeAll(second, LARGE.subarray(second.sizeBytes));
    await second.commit();
    await holds(direct, path, LARGE);
    expect(await unfinished(folder)).toBe(0);
  });

  test("has faltered, holds no connection and no listener when it is closed", async () => {
    const folder = `/closed-${folders++}`;
    await create(direct, `${folder}/file`, LARGE);
    proxy.plan = failingFirst(1, { kind: "truncate", bodyBytes: 100_000 });
    const abandoned = (await driver.reader(`${folder}/file`)).getReader();
    await abandoned.read();
    await abandoned.cancel();
    for (let round = 0; round < 20; round++) await driver.stat(`${folder}/file`);
    await driver[Symbol.asyncDispose]();
    const deadline = Date.now() + 20_000;
    while (proxy.connections > 0 && Date.now() < deadline) await Bun.sleep(10);
    expect(proxy.connections).toBe(0);
  });
});
