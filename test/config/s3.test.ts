import { describe, expect, test } from "bun:test";
import { S3_OPTIONS } from "../../src/storage/s3/options.ts";
import { openS3Driver } from "../../src/storage/s3/driver.ts";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { openLogger } from "../../src/telemetry/logger.ts";
import { makeCertificate } from "../support/certificates.ts";
import { type S3Recorder, startS3Recorder } from "./s3-recorder.ts";

const MIB = 1024 * 1024;
const LOGIN = { accesskey: "THEKEY", secretkey: "the secret", region: "eu-west-3", bucket: "the-bucket", maxretries: 0 };

interface OpenStore extends AsyncDisposable {
  readonly driver: StorageDriver;
  readonly lines: readonly string[];
  /** The URL that a client is sent to. */
  url(path?: string): Promise<URL>;
}

async function open(options: Readonly<Record<string, unknown>>, redirectExpiryMs?: number): Promise<OpenStore> {
  const lines: string[] = [];
  const log = openLogger({ level: "info", format: "text", fields: {}, reportCaller: false }, { write: (line) => void lines.push(line), flush: () => undefined });
  const driver = await openS3Driver(S3_OPTIONS.parse({ ...LOGIN, ...options }), { log, userAgent: "registry/1", ...(redirectExpiryMs === undefined ? {} : { redirectExpiryMs }) });
  return {
    driver,
    lines,
    url: async (path = "/docker/x") => new URL((await driver.redirectUrl?.(path, { method: "GET" })) ?? ""),
    [Symbol.asyncDispose]: async () => await driver[Symbol.asyncDispose](),
  };
}

/** What a store was asked when a small object was put. */
async function putWith(recorder: S3Recorder, options: Readonly<Record<string, unknown>>): Promise<S3Recorder["requests"][number]> {
  await using store = await open({ regionendpoint: recorder.url, ...options });
  await store.driver.putContent("/docker/x", "content");
  const request = recorder.requests.at(-1);
  if (request === undefined) throw new Error("the store was not asked");
  return request;
}

describe("who asks, and where", () => {
  test("storage.s3.accesskey, region and sessiontoken: in every signature", async () => {
    await using recorder = startS3Recorder();
    const { headers } = await putWith(recorder, { sessiontoken: "the token" });
    expect(headers.get("authorization")).toMatch(/^AWS4-HMAC-SHA256 Credential=THEKEY\/\d{8}\/eu-west-3\/s3\/aws4_request/);
    expect(headers.get("x-amz-security-token")).toBe("the token");
  });
  test("storage.s3.secretkey: what signatures are made with, and nothing else", async () => {
    const signature = async (secretkey: string): Promise<readonly (string | null)[]> => {
      await using store = await open({ secretkey, regionendpoint: "http://127.0.0.1:1" });
      const { searchParams } = await store.url();
      return [searchParams.get("X-Amz-Date"), searchParams.get("X-Amz-Signature")];
    };
    // All within one second, of which there is one soon enough.
    for (let attempt = 0; ; attempt++) {
      const [one, same, other] = await Promise.all([signature("one"), signature("one"), signature("other")]);
      if (attempt < 50 && (one[0] !== same[0] || one[0] !== other[0])) continue;
      expect(one).toEqual(same);
      expect(one[1]).not.toBe(other[1] ?? null);
      return;
    }
  });
  test("storage.s3.regionendpoint, bucket, rootdirectory and forcepathstyle: where objects are", async () => {
    await using recorder = startS3Recorder();
    const { target } = await putWith(recorder, { rootdirectory: "/some/where" });
    expect(target.split("?")[0]).toBe("/the-bucket/some/where/docker/x");
    await using virtual = await open({ regionendpoint: "https://store.example", forcepathstyle: false });
    expect(String(await virtual.url()).split("?")[0]).toBe("https://the-bucket.store.example/docker/x");
    await using forced = await open({ forcepathstyle: true });
    expect(String(await forced.url()).split("?")[0]).toBe("https://s3.eu-west-3.amazonaws.com/the-bucket/docker/x");
    await using amazon = await open({});
    expect(String(await amazon.url()).split("?")[0]).toBe("https://the-bucket.s3.eu-west-3.amazonaws.com/docker/x");
  });
  test("storage.s3.usedualstack, accelerate and usefipsendpoint: Amazon's other hosts", async () => {
    for (const [key, host] of [["usedualstack", "the-bucket.s3.dualstack.eu-west-3.amazonaws.com"], ["accelerate", "the-bucket.s3-accelerate.amazonaws.com"], ["usefipsendpoint", "the-bucket.s3-fips.us-east-2.amazonaws.com"]] as const) {
      await using store = await open({ [key]: true, ...(key === "usefipsendpoint" ? { region: "us-east-2" } : {}) });
      expect([key, (await store.url()).host]).toEqual([key, host]);
    }
  });
  test("storage.s3.secure and skipverify: TLS, and whose certificate is taken", async () => {
    await using plain = startS3Recorder();
    expect((await putWith(plain, { regionendpoint: plain.host, secure: false })).method).toBe("PUT");
    const { certificate: cert, key } = await makeCertificate("a store");
    await using tls = startS3Recorder({ tls: { cert, key } });
    expect((await putWith(tls, { regionendpoint: tls.host, skipverify: true })).method).toBe("PUT");
    const careful = await putWith(tls, { regionendpoint: tls.host }).catch((error: unknown) => error);
    expect(careful).toBeInstanceOf(Error);
  });
  test("storage.s3.useragent: what requests carry, else the program's name", async () => {
    await using recorder = startS3Recorder();
    expect((await putWith(recorder, { useragent: "mine/2" })).headers.get("user-agent")).toContain("mine/2");
    expect((await putWith(recorder, {})).headers.get("user-agent")).toContain("registry/1");
  });
});

describe("how objects are stored", () => {
  test("storage.s3.encrypt, keyid, storageclass and objectacl: asked for with every object", async () => {
    await using recorder = startS3Recorder();
    const asked = async (options: Readonly<Record<string, unknown>>): Promise<readonly (string | null)[]> => {
      const { headers } = await putWith(recorder, options);
      return ["x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id", "x-amz-storage-class", "x-amz-acl"].map((name) => headers.get(name));
    };
    expect(await asked({ encrypt: true })).toEqual(["AES256", null, "STANDARD", null]);
    expect(await asked({ keyid: "the-kms-key", storageclass: "onezone_ia", objectacl: "bucket-owner-full-control" })).toEqual(["aws:kms", "the-kms-key", "ONEZONE_IA", "bucket-owner-full-control"]);
    expect(await asked({ storageclass: "NONE" })).toEqual([null, null, null, null]);
  });
  test("storage.s3.chunksize: the size of parts", async () => {
    await using recorder = startS3Recorder();
    await using store = await open({ regionendpoint: recorder.url, chunksize: 6 * MIB });
    await using writer = await store.driver.create("/docker/x");
    await writer.write(new Uint8Array(15 * MIB));
    await writer.commit();
    expect(recorder.requests.filter(({ target }) => target.includes("partNumber")).map(({ sizeBytes }) => sizeBytes / MIB).sort()).toEqual([3, 6, 6]);
  });
  test("storage.s3.multipartcopythresholdsize, multipartcopychunksize and multipartcopymaxconcurrency: how large objects are copied", async () => {
    const copies = async (options: Readonly<Record<string, unknown>>): Promise<{ readonly ranges: number; readonly most: number }> => {
      await using recorder = startS3Recorder({ objectBytes: 100 * MIB, delayMs: 30 });
      await using store = await open({ regionendpoint: recorder.url, ...options });
      await store.driver.move("/docker/x", "/docker/y");
      return { ranges: recorder.requests.filter(({ headers }) => headers.has("x-amz-copy-source-range")).length, most: recorder.mostAtOnce("PUT partNumber") };
    };
    expect(await copies({ multipartcopythresholdsize: 200 * MIB })).toEqual({ ranges: 0, most: 0 });
    expect(await copies({ multipartcopychunksize: 10 * MIB, multipartcopymaxconcurrency: 3 })).toEqual({ ranges: 10, most: 3 });
    expect((await copies({})).ranges).toBe(4);
  });
});

describe("URLs for clients", () => {
  test("storage.s3.redirectendpoint and storage.redirect.expiry: where they lead, and for how long", async () => {
    await using store = await open({ regionendpoint: "http://10.0.0.1:9000", redirectendpoint: "https://public.example:8443" }, 90_000);
    const url = await store.url();
    expect(`${url.origin}${url.pathname}`).toBe("https://public.example:8443/the-bucket/docker/x");
    expect(url.searchParams.get("X-Amz-Expires")).toBe("90");
  });
});

describe("a store that has troubles", () => {
  test("storage.s3.maxretries: how often it is asked again", async () => {
    for (const maxretries of [0, 2]) {
      await using recorder = startS3Recorder({ status: 500 });
      await putWith(recorder, { maxretries }).catch(() => undefined);
      expect(recorder.requests.length).toBe(maxretries + 1);
    }
  });
  test("storage.s3.timeout: how long it may be silent", async () => {
    await using recorder = startS3Recorder({ delayMs: 20_000 });
    const started = performance.now();
    const error = await putWith(recorder, { timeout: "1s" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(performance.now() - started).toBeGreaterThan(900);
    expect(performance.now() - started).toBeLessThan(5000);
  });
  test("storage.s3.loglevel: requests are in the log, without credentials", async () => {
    await using recorder = startS3Recorder();
    for (const [loglevel, count] of [["off", 0], ["debug", 1]] as const) {
      await using store = await open({ regionendpoint: recorder.url, loglevel });
      await store.driver.putContent("/docker/x", "content");
      expect(store.lines.filter((line) => line.includes("request to the store")).length).toBe(count);
      expect(store.lines.join("")).not.toContain("the secret");
    }
  });
});
