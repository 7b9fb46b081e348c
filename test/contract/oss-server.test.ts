import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import OSS from "ali-oss";
import { type OssServer, startOssServer } from "../support/oss-server.ts";

/** The test server, as the vendor's SDK sees it: what the driver's tests prove is worth as much as the server is strict. */
describe("the test server for OSS", () => {
  let server: OssServer;
  let nowMs: number;

  beforeEach(() => {
    nowMs = Date.now();
    server = startOssServer({ nowMs: () => nowMs });
  });

  afterEach(async () => await server[Symbol.asyncDispose]());

  function client(more: Partial<OSS.Options> = {}): OSS {
    const { accessKeyId, accessKeySecret, region, endpoint, bucket } = server;
    return new OSS({ accessKeyId, accessKeySecret, region, endpoint, cname: true, bucket: bucket.name, ...more });
  }

  async function codeOf(work: Promise<unknown>): Promise<string> {
    const error = await work.then(() => undefined, (reason: unknown) => reason);
    return error instanceof Error && "code" in error ? String(error.code) : "no error";
  }

  async function errorOf(response: Response): Promise<string> {
    return `${response.status} ${/<Code>(.*)<\/Code>.*/.exec(await response.text())?.[1]}`;
  }

  describe.each([["1", false], ["4", true]] as const)("signatures of version %s", (_, authorizationV4) => {
    test("in headers let everything pass that the SDK signs", async () => {
      const oss = client({ authorizationV4 });
      const bytes = Buffer.from("some bytes");
      await oss.put("a b/größe+1.txt", bytes, { headers: { "x-oss-server-side-encryption": "AES256" } });
      expect((await oss.get("a b/größe+1.txt")).content).toEqual(bytes);
      await oss.copy("a/copy", "a b/größe+1.txt");
      expect((await oss.listV2({ prefix: "a", "max-keys": "10" }, {})).objects.map(({ name }) => name)).toEqual(["a b/größe+1.txt", "a/copy"]);
      const { uploadId } = await oss.initMultipartUpload("multi");
      const part = await oss.uploadPart("multi", uploadId, 1, bytes, 0, bytes.length);
      expect((await oss.listUploads({ prefix: "m" }, {})).uploads).toHaveLength(1);
      await oss.completeMultipartUpload("multi", uploadId, [{ number: 1, etag: part.etag }]);
      await oss.deleteMulti(["multi", "a/copy"]);
      expect(server.bucket.keys).toEqual(["a b/größe+1.txt"]);
    });

    test("in headers are refused when the secret, the key, the bucket or the time is wrong", async () => {
      expect(await codeOf(client({ authorizationV4, accessKeySecret: "wrong" }).put("a", Buffer.from("x")))).toBe("SignatureDoesNotMatch");
      expect(await codeOf(client({ authorizationV4, accessKeyId: "wrong" }).put("a", Buffer.from("x")))).toBe("InvalidAccessKeyId");
      expect(await codeOf(client({ authorizationV4, bucket: "other" }).put("a", Buffer.from("x")))).toBe("NoSuchBucket");
      nowMs += 16 * 60_000;
      expect(await codeOf(client({ authorizationV4 }).put("a", Buffer.from("x")))).toBe("RequestTimeTooSkewed");
      expect(server.bucket.keys).toEqual([]);
    });
  });

  test("requests without a signature are refused", async () => {
    expect(await errorOf(await fetch(`${server.endpoint}/a`))).toBe("403 AccessDenied");
  });

  test("URLs of version 4 lead to their object, with their method, until they expire", async () => {
    const oss = client({ authorizationV4: true });
    await oss.put("a", Buffer.from("content"));
    await oss.put("b", Buffer.from("content"));
    const url = await oss.signatureUrlV4("GET", 60, undefined, "a");
    expect(await (await fetch(url)).text()).toBe("content");
    expect(await errorOf(await fetch(url.replace("/a?", "/b?")))).toBe("403 SignatureDoesNotMatch");
    expect(await errorOf(await fetch(url, { method: "DELETE" }))).toBe("403 SignatureDoesNotMatch");
    expect(await errorOf(await fetch(url.replace("x-oss-expires=60", "x-oss-expires=600")))).toBe("403 SignatureDoesNotMatch");
    nowMs += 61_000;
    expect(await errorOf(await fetch(url))).toBe("403 AccessDenied");
  });

  test("URLs of version 1 lead to their object until they expire", async () => {
    await client().put("a", Buffer.from("content"));
    // The SDK makes none for addresses, but for names.
    const { host } = new URL(server.endpoint);
    const signed = client({ endpoint: "http://localhost" }).signatureUrl("a", { expires: 60 }).replace("localhost", host);
    expect(await (await fetch(signed)).text()).toBe("content");
    expect(await errorOf(await fetch(signed.replace("Signature=", "Signature=x")))).toBe("403 SignatureDoesNotMatch");
    nowMs += 61_000;
    expect(await errorOf(await fetch(signed))).toBe("403 AccessDenied");
  });

  describe("objects", () => {
    test("are kept from wrong checksums, and from names that there cannot be", async () => {
      const oss = client();
      expect(await codeOf(oss.put("a", Buffer.from("x"), { headers: { "Content-MD5": createHash("md5").update("y").digest("base64") } }))).toBe("InvalidDigest");
      expect(await codeOf(oss.put("x".repeat(1024), Buffer.from("x")))).toBe("InvalidObjectName");
      expect(await codeOf(oss.get("missing"))).toBe("NoSuchKey");
      expect(await codeOf(oss.head("missing"))).toBe("NoSuchKey");
    });

    test("are sent whole when a range does not fit, unless the standard behaviour is asked for", async () => {
      const oss = client();
      await oss.put("a", Buffer.from("0123456789"));
      const get = async (range: string, more: Record<string, string> = {}): Promise<string> => (await oss.get("a", { headers: { Range: range, ...more } })).content.toString();
      expect(await get("bytes=2-4")).toBe("234");
      expect(await get("bytes=8-20")).toBe("0123456789");
      expect(await get("bytes=8-20", { "x-oss-range-behavior": "standard" })).toBe("89");
      expect(await get("bytes=10-")).toBe("0123456789");
      expect(await codeOf(get("bytes=10-", { "x-oss-range-behavior": "standard" }))).toBe("InvalidRange");
    });

    test("are appended to only at their end", async () => {
      const oss = client();
      await oss.append("log", Buffer.from("one"));
      expect(await codeOf(oss.append("log", Buffer.from("two"), { position: "1" }))).toBe("PositionNotEqualToLength");
      await oss.append("log", Buffer.from("two"), { position: "3" });
      expect((await oss.get("log")).content.toString()).toBe("onetwo");
    });
  });

  describe("multipart uploads", () => {
    test("are completed with the right parts only", async () => {
      const oss = client();
      const { uploadId } = await oss.initMultipartUpload("multi");
      const small = Buffer.alloc(100 * 1024 - 1);
      const parts = await Promise.all([1, 2].map(async (number) => ({ number, etag: (await oss.uploadPart("multi", uploadId, number, small, 0, small.length)).etag })));
      expect(await codeOf(oss.completeMultipartUpload("multi", uploadId, parts))).toBe("EntityTooSmall");
      expect(await codeOf(oss.completeMultipartUpload("multi", uploadId, [{ number: 1, etag: '"00"' }]))).toBe("InvalidPart");
      expect(await codeOf(oss.uploadPart("multi", uploadId, 10_001, small, 0, small.length))).toBe("InvalidArgument");
      expect(await codeOf(oss.uploadPart("multi", "nothing", 1, small, 0, small.length))).toBe("NoSuchUpload");
      await oss.abortMultipartUpload("multi", uploadId);
      expect(await codeOf(oss.abortMultipartUpload("multi", uploadId))).toBe("NoSuchUpload");
    });
  });

  test("lists are paged by names, with common prefixes", async () => {
    const oss = client();
    for (const key of ["d/1", "d/2", "d-/x", "e", "f/1"]) await oss.put(key, Buffer.from("x"));
    const found: string[] = [];
    let marker: string | undefined;
    do {
      const page = await oss.list({ delimiter: "/", "max-keys": 1, ...(marker === undefined ? {} : { marker }) }, {});
      // An empty list has no element at all, which the SDK tells apart from a list.
      found.push(...(page.objects ?? []).map(({ name }) => name), ...(page.prefixes ?? []));
      marker = page.nextMarker ?? undefined;
    } while (marker !== undefined);
    expect(found).toEqual(["d-/", "d/", "e", "f/"]);
  });
});
