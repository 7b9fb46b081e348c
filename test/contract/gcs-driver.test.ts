import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { FileWriter, StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError } from "../../src/storage/errors.ts";
import { openGcsDriver } from "../../src/storage/gcs/driver.ts";
import { GCS_OPTIONS } from "../../src/storage/gcs/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { makeKeyFile } from "../support/gcs/accounts.ts";
import { resourceOf } from "../support/gcs/objects.ts";
import { type GcsServer, startGcsServer } from "../support/gcs-server.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { tempFolder } from "../support/temp-folder.ts";

const KIB = 1024;
const STEP = 256 * KIB;
const SESSION_TYPE = "application/x-docker-upload-session";
const PATH = "/up/data";
const KEY = "up/data";

let server: GcsServer;
let opened: StorageDriver[];

beforeEach(async () => {
  server = await startGcsServer({ rewriteBytes: 1024 * KIB });
  opened = [];
});
afterEach(async () => {
  for (const driver of opened) await driver[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function open(parameters: object = {}, deps: { readonly env?: Record<string, string>; readonly userAgent?: string; readonly redirectExpiryMs?: number } = {}): Promise<StorageDriver> {
  const options = GCS_OPTIONS.parse({ bucket: server.bucket, credentials: server.keyFile, endpoint: server.url, chunksize: STEP * 2, ...parameters });
  const driver = await openGcsDriver(options, { log: SILENT_LOGGER, ...deps });
  opened.push(driver);
  return driver;
}

async function write(driver: StorageDriver, bytes: Uint8Array, end: "close" | "commit" = "close"): Promise<void> {
  const writer = await driver.writer(PATH, { append: true });
  await writer.write(bytes);
  await writer[end]();
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new Error("it did not fail");
  return error;
}

function count(operation: string): number {
  return server.counts.get(operation) ?? 0;
}

describe("an unfinished upload", () => {
  test("is what distribution leaves: an object of a type of its own, that names the session and holds what it does not take", async () => {
    const bytes = seededBytes(STEP * 3 + 1000);
    await write(await open(), bytes);
    const object = server.objects.find(KEY);
    expect(object?.contentType).toBe(SESSION_TYPE);
    expect(object?.metadata?.["Session-URI"]).toStartWith(`${server.url}/upload/storage/v1/b/bucket/o?`);
    expect(object?.metadata?.["Offset"]).toBe(String(STEP * 3));
    expect(digestOf(object?.content ?? "")).toBe(digestOf(bytes.subarray(STEP * 3)));
  });

  test("of few bytes needs no session", async () => {
    await write(await open(), seededBytes(1000));
    expect(server.objects.find(KEY)?.metadata).toMatchObject({ "Session-URI": "", Offset: "0" });
    expect(count("objects.insert")).toBe(1);
  });

  // What its `Close` writes: no checksum; an empty address when it has sent nothing.
  test.each([
    ["with a session and a rest", STEP * 2, 1000],
    ["with a session and no rest", STEP, 0],
    ["without a session", 0, 1000],
    ["without a byte", 0, 0],
  ])("that distribution left %s is gone on with", async (_, sessionBytes, restBytes) => {
    const bytes = seededBytes(STEP * 4 + 7);
    const uri = sessionBytes === 0 ? "" : await sessionWith(bytes.subarray(0, sessionBytes));
    server.objects.put({ name: KEY, contentType: SESSION_TYPE, metadata: { "Session-URI": uri, Offset: String(sessionBytes) }, content: bytes.slice(sessionBytes, sessionBytes + restBytes) });
    const driver = await open();
    const writer = await driver.writer(PATH, { append: true });
    expect(writer.sizeBytes).toBe(sessionBytes + restBytes);
    await writer.write(bytes.subarray(sessionBytes + restBytes, bytes.length - 7));
    await writer.close();
    await write(await open(), bytes.subarray(bytes.length - 7), "commit");
    expect(digestOf(await driver.getContent(PATH))).toBe(digestOf(bytes));
    expect(server.objects.find(KEY)).toMatchObject({ contentType: "application/octet-stream" });
  });

  test("is no file: it cannot be read, found or moved, and is listed and deleted", async () => {
    const driver = await open();
    await write(driver, seededBytes(STEP + 10));
    const attempts = [() => driver.getContent(PATH), () => driver.reader(PATH), () => driver.reader(PATH, { offset: 100 }), () => driver.stat(PATH), () => driver.move(PATH, "/blob")];
    for (const attempt of attempts) expect(await failureOf(attempt())).toBeInstanceOf(PathNotFoundError);
    expect((await driver.list("/up")).entries).toEqual([{ name: "data", isDirectory: false }]);
    expect(await Array.fromAsync(driver.listFiles?.("/") ?? [])).toEqual([[]]);
    expect(server.sessions.openCount).toBe(1);
    await driver.delete("/up");
    expect([server.objects.names, server.sessions.openCount]).toEqual([[], 0]);
  });

  test("leaves no session when it is cancelled or begun anew", async () => {
    const driver = await open();
    await write(driver, seededBytes(STEP * 3));
    await (await driver.writer(PATH, { append: true })).cancel();
    expect([server.objects.names, server.sessions.openCount]).toEqual([[], 0]);
    await write(driver, seededBytes(STEP * 3));
    const anew = await driver.writer(PATH, { append: false });
    await anew.write(seededBytes(STEP * 3));
    await anew.cancel();
    const created = await driver.create("/blob");
    await created.write(seededBytes(STEP * 5));
    await created.cancel();
    expect([server.objects.names, server.sessions.openCount]).toEqual([[], 0]);
  });

  test("whose session the store has forgotten fails and is no missing file", async () => {
    const driver = await open();
    await write(driver, seededBytes(STEP * 2));
    const uri = server.objects.find(KEY)?.metadata?.["Session-URI"] ?? "";
    await fetch(uri, { method: "DELETE" });
    const writer = await driver.writer(PATH, { append: true });
    await writer.write(seededBytes(10));
    const failure = await failureOf(writer.commit());
    expect(failure).not.toBeInstanceOf(PathNotFoundError);
    expect(failure.message).toContain("session.put");
    expect(failure.message).not.toContain("upload_id");
  });

  test("has its bytes sent in chunks of the configured size, as many at a time as the store takes", async () => {
    server.sessions.maxStoredBytes = STEP;
    const sizes: (string | null)[] = [];
    server.intercept = ({ operation, headers }) => {
      if (operation === "upload.put") sizes.push(headers.get("content-range"));
      return undefined;
    };
    const bytes = seededBytes(STEP * 5 + 3);
    await write(await open({ chunksize: STEP * 3 }), bytes, "commit");
    const at = (start: number, end: number, total: string | number): string => `bytes ${start}-${end - 1}/${total}`;
    const size = STEP * 5 + 3;
    expect(sizes).toEqual([at(0, STEP * 3, "*"), at(STEP, STEP * 3, "*"), at(STEP * 2, STEP * 3, "*"), at(STEP * 3, size, size), at(STEP * 4, size, size), at(STEP * 5, size, size)]);
    expect(server.objects.find(KEY)?.crc32c).toBe(server.objects.put({ name: "same", content: bytes, contentType: "x/y" }).crc32c);
  });

  /** A session of the server that holds these bytes. */
  async function sessionWith(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
    await server.account.token(new Request(`${server.url}/token`, { method: "POST" }));
    const preconditions = { generationMatch: undefined, generationNotMatch: undefined, metagenerationMatch: undefined, metagenerationNotMatch: undefined };
    const id = server.sessions.start({ name: KEY, contentType: "application/octet-stream", metadata: undefined, preconditions, crc32c: undefined, md5: undefined });
    const uri = `${server.url}/upload/storage/v1/b/bucket/o?uploadType=resumable&name=${encodeURIComponent(KEY)}&upload_id=${id}`;
    const response = await fetch(uri, { method: "PUT", body: bytes, headers: { "content-range": `bytes 0-${bytes.length - 1}/*` } });
    expect(response.status).toBe(308);
    return uri;
  }
});

describe("two processes that write to one file", () => {
  const mine = seededBytes(STEP * 5 + 10, 1);
  const theirs = seededBytes(STEP * 5 + 10, 2);

  async function bothOpened(): Promise<readonly [FileWriter, FileWriter]> {
    await write(await open(), seededBytes(STEP * 2 + 5, 3));
    return [await (await open()).writer(PATH, { append: true }), await (await open()).writer(PATH, { append: true })];
  }

  test("do not both put their bytes away", async () => {
    const [first, second] = await bothOpened();
    await first.write(mine);
    await second.write(theirs);
    await first.close();
    expect((await failureOf(second.close())).message).toContain("written to by somebody else");
  });

  test("never commit a mixture", async () => {
    const [first, second] = await bothOpened();
    for (let offset = 0; offset < mine.length; offset += 100_000) {
      await first.write(mine.subarray(offset, offset + 100_000));
      await second.write(theirs.subarray(offset, offset + 100_000));
    }
    const results = await Promise.allSettled([first.commit(), second.commit()]);
    const wholes = [mine, theirs].map((bytes) => digestOf(Buffer.concat([seededBytes(STEP * 2 + 5, 3), bytes])));
    const object = server.objects.find(KEY);
    if (object?.contentType === "application/octet-stream") expect(wholes).toContain(digestOf(object.content));
    expect(results.filter(({ status }) => status === "fulfilled").length).toBeLessThanOrEqual(1);
  });

  test("of few bytes do not replace one another", async () => {
    const [first, second] = [await (await open()).writer(PATH, { append: true }), await (await open()).writer(PATH, { append: true })];
    await first.write(seededBytes(10, 1));
    await second.write(seededBytes(20, 2));
    await second.commit();
    expect((await failureOf(first.commit())).message).toContain("written to by somebody else");
    expect(server.objects.find(KEY)?.content.length).toBe(20);
  });

  test("do not move what the other made of a committed file", async () => {
    const driver = await open();
    await write(driver, seededBytes(10), "commit");
    await (await open()).putContent(PATH, "something else");
    expect((await failureOf(driver.move(PATH, "/blob"))).message).toContain("written to by somebody else");
    expect(server.objects.names).toEqual([KEY]);
  });
});

describe("move", () => {
  test("goes on copying as long as the store gives tokens", async () => {
    const driver = await open();
    const bytes = seededBytes(5 * 1024 * KIB + 1);
    await driver.putContent("/from", bytes);
    await driver.move("/from", "/to/place");
    expect(count("objects.rewrite")).toBe(6);
    expect(digestOf(await driver.getContent("/to/place"))).toBe(digestOf(bytes));
    expect(server.objects.names).toEqual(["to/place"]);
  });
});

describe("credentials", () => {
  test("come from a key file", async () => {
    await using folder = await tempFolder();
    const keyfile = join(folder.path, "key.json");
    await Bun.write(keyfile, JSON.stringify(server.keyFile));
    const driver = await open({ credentials: undefined, keyfile });
    await driver.putContent("/file", "text");
    expect(server.objects.names).toEqual(["file"]);
  });

  test("that cannot be read are told of at opening, without what they say", async () => {
    await using folder = await tempFolder();
    const keyfile = join(folder.path, "key.json");
    expect((await failureOf(open({ credentials: undefined, keyfile }))).message).toStartWith(`storage.gcs.keyfile: ${keyfile}: ENOENT`);
    await Bun.write(keyfile, "secret, not JSON");
    const failure = await failureOf(open({ credentials: undefined, keyfile }));
    expect(failure.message).toBe(`storage.gcs.keyfile: ${keyfile}: the file is not JSON; expected the JSON key file of a service account`);
    expect((await failureOf(open({ credentials: { ...server.keyFile, private_key: "secret" } }))).message).toBe(`storage.gcs: the private_key of ${server.keyFile.client_email} is no key in PEM`);
    expect((await failureOf(open({ credentials: { type: "service_account" } }))).message).toContain("storage.gcs: the credentials cannot be used");
  });

  test("get one token for many requests, and another one when the store refuses it", async () => {
    const driver = await open();
    await Promise.all(Array.from({ length: 8 }, (_, index) => driver.putContent(`/file${index}`, "text")));
    expect(server.account.tokensGiven).toBe(1);
    server.account.revokeTokens();
    expect((await driver.stat("/file1")).sizeBytes).toBe(4);
    await Promise.all([driver.getContent("/file1"), driver.getContent("/file2")]);
    expect(server.account.tokensGiven).toBe(2);
  });

  test("of somebody else are refused, which is no missing file", async () => {
    const driver = await open({ credentials: makeKeyFile(`${server.url}/token`) });
    const failure = await failureOf(driver.getContent("/file"));
    expect(failure).not.toBeInstanceOf(PathNotFoundError);
    expect(failure.message).toContain("Invalid JWT Signature");
  });

  test("whose tokens the store never takes fail after two attempts", async () => {
    server.intercept = ({ operation }) => (operation === "token" ? Response.json({ access_token: "none", expires_in: 3600, token_type: "Bearer" }) : undefined);
    const failure = await failureOf((await open()).stat("/file"));
    expect(failure).toMatchObject({ name: "GcsCallError", status: 401 });
    expect(count("objects.get")).toBe(2);
  });

  test("are neither looked for nor sent where STORAGE_EMULATOR_HOST leads", async () => {
    const seen: (string | null)[] = [];
    server.intercept = ({ headers }) => {
      seen.push(headers.get("authorization"));
      return Response.json({ ...resourceOf(server.objects.put({ name: "file", content: new Uint8Array(3), contentType: "x/y" }), "bucket") });
    };
    const driver = await open({ credentials: undefined, endpoint: undefined }, { env: { STORAGE_EMULATOR_HOST: server.url.slice("http://".length) } });
    expect((await driver.stat("/file")).sizeBytes).toBe(3);
    expect(seen).toEqual([null]);
    expect(await driver.redirectUrl?.("/file", { method: "GET" })).toBeUndefined();
  });
});

describe("a missing bucket", () => {
  test("is no missing file", async () => {
    const driver = await open({ bucket: "another" });
    const attempts = [() => driver.stat("/a"), () => driver.getContent("/a"), () => driver.reader("/a"), () => driver.list("/a"), () => driver.delete("/a"), () => driver.move("/a", "/b"), () => driver.writer("/a", { append: true })];
    for (const attempt of attempts) {
      const failure = await failureOf(attempt());
      expect(failure).not.toBeInstanceOf(PathNotFoundError);
      expect(failure.message).toContain("The specified bucket does not exist.");
    }
  });
});

describe("redirectUrl", () => {
  test("is good for its method, its object and its time only", async () => {
    const driver = await open({}, { redirectExpiryMs: 60_000 });
    await driver.putContent("/a/file", "text");
    await driver.putContent("/a/other", "other");
    const url = (await driver.redirectUrl?.("/a/file", { method: "GET" })) ?? "";
    expect(new URL(url).searchParams.get("X-Goog-Expires")).toBe("60");
    expect(await (await fetch(url)).text()).toBe("text");
    expect(await (await fetch(url, { headers: { range: "bytes=1-2" } })).text()).toBe("ex");
    expect((await fetch(url, { method: "HEAD" })).status).toBe(403);
    expect((await fetch(url.replace("/a/file", "/a/other"))).status).toBe(403);
    expect((await fetch(url.replace("X-Goog-Expires=60", "X-Goog-Expires=6000"))).status).toBe(403);
    server.account.clockOffsetMs = 61_000;
    expect((await fetch(url)).status).toBe(400);
  });

  test("is for a week at most", async () => {
    const driver = await open({}, { redirectExpiryMs: 30 * 24 * 3600 * 1000 });
    const url = (await driver.redirectUrl?.("/a", { method: "GET" })) ?? "";
    expect(new URL(url).searchParams.get("X-Goog-Expires")).toBe("604800");
  });
});

describe("the parameter", () => {
  test("useragent is what requests carry, else the program's name", async () => {
    const seen = new Set<string | null>();
    server.intercept = ({ operation, headers }) => {
      if (operation !== "token") seen.add(headers.get("user-agent"));
      return undefined;
    };
    for (const driver of [await open({ useragent: "mine/2" }, { userAgent: "registry/1" }), await open({}, { userAgent: "registry/1" })]) {
      await driver.putContent("/file", "text");
      await driver.getContent("/file");
      const created = await driver.create("/large");
      await created.write(seededBytes(STEP * 3));
      await created.commit();
    }
    expect([...seen]).toEqual(["mine/2", "registry/1"]);
  });

  test("maxconcurrency bounds requests at once", async () => {
    let [now, most] = [0, 0];
    server.intercept = async ({ operation }) => {
      if (operation !== "objects.delete") return undefined;
      most = Math.max(most, ++now);
      await Bun.sleep(2);
      now--;
      return undefined;
    };
    const driver = await open({ maxconcurrency: 25 });
    for (let index = 0; index < 120; index++) server.objects.put({ name: `dir/${index}`, content: new Uint8Array(1), contentType: "x/y" });
    await driver.delete("/dir");
    expect(server.objects.names).toEqual([]);
    expect(most).toBe(25);
  });

  test("rootdirectory begins every name", async () => {
    const driver = await open({ rootdirectory: "/one/two/" });
    await driver.putContent("/file", "text");
    expect(server.objects.names).toEqual(["one/two/file"]);
  });
});

test("getContent finds out when bytes came as others", async () => {
  const driver = await open();
  await driver.putContent("/file", "text");
  server.intercept = ({ operation }) => (operation === "media" ? new Response("tixt", { headers: { "content-type": "application/octet-stream", "x-goog-generation": "1", "x-goog-hash": `crc32c=${server.objects.find("file")?.crc32c}` } }) : undefined);
  expect((await failureOf(driver.getContent("/file"))).message).toContain("the checksum is another");
});
