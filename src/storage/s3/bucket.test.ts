import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { SILENT_LOGGER } from "../../telemetry/log.ts";
import type { UploadRef } from "../object-store/multipart/bucket.ts";
import { S3Bucket } from "./bucket.ts";
import { openConnection } from "./client.ts";
import { S3_OPTIONS } from "./options.ts";

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** A store that says what a test wants it to say, and remembers what it was asked. */
let server: Bun.Server<undefined>;
let seen: Seen[];
let answer: (request: Seen) => Response;
const buckets: S3Bucket[] = [];

beforeEach(() => {
  seen = [];
  answer = () => new Response(null, { headers: { etag: '"tag"' } });
  server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      const each = { method: request.method, path: `${pathname}${search}`, headers: request.headers, body: await request.text() };
      seen.push(each);
      return answer(each);
    },
  });
});
afterEach(async () => {
  for (const bucket of buckets.splice(0)) bucket.close();
  await server.stop(true);
});

async function open(more: Readonly<Record<string, unknown>> = {}): Promise<S3Bucket> {
  const options = S3_OPTIONS.parse({ accesskey: "key", secretkey: "secret", bucket: "blobs", regionendpoint: `http://127.0.0.1:${server.port}`, maxretries: 0, ...more });
  const bucket = new S3Bucket(await openConnection(options, { log: SILENT_LOGGER, userAgent: "registry/1.2" }), options);
  buckets.push(bucket);
  return bucket;
}

function header(name: string): string | null {
  return seen.at(-1)?.headers.get(name) ?? null;
}

const xml = (body: string): Response => new Response(`<?xml version="1.0"?>${body}`, { headers: { "content-type": "application/xml" } });
const UPLOAD: UploadRef = { key: "k", uploadId: "u" };

describe("S3Bucket: what new objects are given", () => {
  test("is the storage class by default, and no more", async () => {
    await (await open()).put("k", Buffer.from("x"));
    expect([header("content-type"), header("x-amz-storage-class"), header("x-amz-acl"), header("x-amz-server-side-encryption")]).toEqual(["application/octet-stream", "STANDARD", null, null]);
    expect(header("user-agent")).toContain("registry/1.2");
  });

  test.each([
    [{ storageclass: "NONE" }, "x-amz-storage-class", null],
    [{ storageclass: "standard_ia" }, "x-amz-storage-class", "STANDARD_IA"],
    [{ objectacl: "bucket-owner-full-control" }, "x-amz-acl", "bucket-owner-full-control"],
    [{ encrypt: true }, "x-amz-server-side-encryption", "AES256"],
    [{ encrypt: true, keyid: "a key" }, "x-amz-server-side-encryption", "aws:kms"],
    [{ keyid: "a key" }, "x-amz-server-side-encryption-aws-kms-key-id", "a key"],
    [{ useragent: "mine/3" }, "user-agent", expect.stringContaining("mine/3")],
    [{ sessiontoken: "a token" }, "x-amz-security-token", "a token"],
  ])("follows %p", async (options, name, expected) => {
    const bucket = await open(options);
    await bucket.put("k", Buffer.from("x"));
    expect(header(name)).toEqual(expected);
    answer = () => xml("<CopyObjectResult><ETag>x</ETag></CopyObjectResult>");
    await bucket.copy("from", "to", '"tag"');
    expect(header(name)).toEqual(expected);
    answer = () => xml("<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
    await bucket.createUpload("k");
    expect(header(name)).toEqual(expected);
  });
});

describe("S3Bucket: stores with quirks", () => {
  test("deletes one by one where batches are refused, from then on", async () => {
    answer = ({ method }) => (method === "POST" ? new Response("<Error><Code>NotImplemented</Code></Error>", { status: 501 }) : new Response(null, { status: 204 }));
    const bucket = await open();
    await bucket.removeMany(["a", "b"]);
    await bucket.removeMany(["c", "d"]);
    expect(seen.map(({ method, path }) => `${method} ${path.replace(/\?.*/, "")}`)).toEqual(["POST /blobs/", "DELETE /blobs/a", "DELETE /blobs/b", "DELETE /blobs/c", "DELETE /blobs/d"]);
  });

  test("gives a batch an MD5, and deletes again what was left of it", async () => {
    answer = ({ method }) => (method === "POST" ? xml("<DeleteResult><Error><Key>b</Key><Code>InternalError</Code></Error><Error><Key>c</Key><Code>NoSuchKey</Code></Error></DeleteResult>") : new Response(null, { status: 204 }));
    await (await open()).removeMany(["a", "b", "c"]);
    const [batch, single, ...more] = seen;
    expect(batch?.headers.get("content-md5")).toBe(new Bun.CryptoHasher("md5").update(batch?.body ?? "").digest("base64"));
    expect([single?.method, single?.path.startsWith("/blobs/b"), more]).toEqual(["DELETE", true, []]);
  });

  test("ends a list of parts that says it goes on and does not", async () => {
    answer = () => xml("<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker><Part><PartNumber>2</PartNumber><ETag>b</ETag><Size>7</Size></Part><Part><PartNumber>1</PartNumber><ETag>a</ETag><Size>5</Size></Part></ListPartsResult>");
    expect(await (await open()).listParts(UPLOAD)).toEqual([{ number: 1, etag: "a", sizeBytes: 5 }, { number: 2, etag: "b", sizeBytes: 7 }]);
    expect(seen.length).toBe(2);
  });

  test("ends a list of uploads that goes in circles, and leaves out what was not asked for", async () => {
    answer = () => xml("<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><Upload><Key>dir/k</Key><UploadId>1</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload><Upload><Key>other</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>");
    const found = await Array.fromAsync((await open()).listUploads("dir/"));
    expect(found).toEqual(Array(2).fill({ key: "dir/k", uploadId: "1", startedAt: new Date("2026-01-01T00:00:00Z") }));
  });

  test("refuses a list of objects that goes in circles", async () => {
    answer = () => xml("<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>k</Key></Contents></ListBucketResult>");
    const error = await Array.fromAsync((await open()).listObjects("")).catch((reason: unknown) => String(reason));
    expect(error).toContain("does not come to an end");
  });

  test("refuses content from another place than was asked for", async () => {
    answer = () => new Response("whole", { headers: { etag: '"tag"' } });
    const error = await (await open()).open("k", { startByte: 2, endByte: 4 }).catch((reason: unknown) => String(reason));
    expect(error).toContain("ignored the range");
  });

  test("copies without a condition where the store refuses its own tag, and looks whether it is still the same", async () => {
    let tag = '"tag-2"';
    answer = ({ method, headers }) => {
      if (method === "HEAD") return new Response(null, { headers: { etag: tag } });
      if (headers.has("x-amz-copy-source-if-match")) return new Response("<Error><Code>PreconditionFailed</Code></Error>", { status: 412 });
      return xml("<CopyObjectResult><ETag>x</ETag></CopyObjectResult>");
    };
    const bucket = await open();
    await bucket.copy("from", "to", '"tag-2"');
    expect(seen.map(({ method }) => method)).toEqual(["PUT", "HEAD", "PUT", "HEAD"]);
    tag = '"tag-3"';
    const error = await bucket.copy("from", "to", '"tag-2"').catch((reason: unknown) => String(reason));
    expect(error).toContain("was changed while it was copied");
  });

  test("does not copy what is no longer the same", async () => {
    answer = ({ method }) => (method === "HEAD" ? new Response(null, { headers: { etag: '"another"' } }) : new Response("<Error><Code>PreconditionFailed</Code></Error>", { status: 412 }));
    const error = await (await open()).copy("from", "to", '"tag"').catch((reason: unknown) => String(reason));
    expect(error).toContain("PreconditionFailed");
    expect(seen.length).toBe(2);
  });
});
