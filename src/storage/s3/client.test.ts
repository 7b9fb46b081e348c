import { describe, expect, test } from "bun:test";
import type { LogFields, Logger } from "../../telemetry/log.ts";
import { SILENT_LOGGER } from "../../telemetry/log.ts";
import { endpointOf, openConnection } from "./client.ts";
import { S3_OPTIONS, type S3Options } from "./options.ts";
import { Presigner } from "./presigner.ts";
import { RequestLog } from "./request-log.ts";

const KEYS = { accesskey: "AKIAEXAMPLE", secretkey: "a secret", bucket: "blobs" };

function options(more: Readonly<Record<string, unknown>> = {}): S3Options {
  return S3_OPTIONS.parse({ ...KEYS, regionendpoint: "http://127.0.0.1:9000", ...more });
}

function collecting(): { readonly log: Logger; readonly lines: { message: string; fields: LogFields | undefined }[] } {
  const lines: { message: string; fields: LogFields | undefined }[] = [];
  const add = (message: string, fields?: LogFields): void => void lines.push({ message, fields });
  return { lines, log: { ...SILENT_LOGGER, info: add, warn: add } };
}

test.each([
  [undefined, true, undefined],
  ["", true, undefined],
  ["http://minio:9000", true, "http://minio:9000"],
  ["minio:9000", true, "https://minio:9000"],
  ["minio:9000", false, "http://minio:9000"],
])("endpointOf(%p, secure: %p) is %p", (regionendpoint, secure, expected) => {
  expect(endpointOf({ regionendpoint, secure })).toBe(expected);
});

describe("S3_OPTIONS", () => {
  test.each([
    [{ ...KEYS, bucket: "", region: "eu-central-1" }, "no bucket parameter provided"],
    [KEYS, "no region parameter provided"],
    [{ ...KEYS, region: "moon-1" }, "invalid region provided: moon-1"],
    [{ ...KEYS, region: "eu-central-1", chunksize: 1000 }, "chunksize"],
    [{ ...KEYS, region: "eu-central-1", storageclass: "ICE" }, "expected one of NONE, STANDARD"],
    [{ ...KEYS, region: "eu-central-1", objectacl: "everybody" }, "expected one of private"],
    [{ ...KEYS, region: "eu-central-1", v4auth: false }, "signatures of version 2 are not supported"],
    [{ ...KEYS, region: "eu-central-1", redirectendpoint: "https://s3.example/path" }, "expected scheme and host only"],
  ])("refuses %p", (input, text) => {
    const { error } = S3_OPTIONS.safeParse(input);
    expect(JSON.stringify(error?.issues)).toContain(text);
  });

  test("takes distribution's words: any case, text for numbers and flags", () => {
    expect(S3_OPTIONS.parse({ ...KEYS, region: "us-gov-west-1", storageclass: "reduced_redundancy", encrypt: "T", chunksize: "5242880" })).toMatchObject({ storageclass: "REDUCED_REDUNDANCY", encrypt: true, chunksize: 5242880 });
  });
});

describe("openConnection", () => {
  async function hostOf(more: Readonly<Record<string, unknown>>): Promise<string> {
    const connection = await openConnection(S3_OPTIONS.parse({ ...KEYS, ...more }), { log: SILENT_LOGGER });
    const presigner = await Presigner.open(connection, { bucket: "blobs", redirectendpoint: undefined, expiryMs: 60_000 });
    const url = new URL(await presigner.url("a/b", "GET"));
    connection.client.destroy();
    return `${url.origin}${url.pathname}`;
  }

  test.each([
    [{ region: "eu-central-1" }, "https://blobs.s3.eu-central-1.amazonaws.com/a/b"],
    [{ region: "eu-central-1", forcepathstyle: true }, "https://s3.eu-central-1.amazonaws.com/blobs/a/b"],
    [{ region: "eu-central-1", usedualstack: true }, "https://blobs.s3.dualstack.eu-central-1.amazonaws.com/a/b"],
    [{ region: "us-east-1", accelerate: true }, "https://blobs.s3-accelerate.amazonaws.com/a/b"],
    [{ region: "us-east-1", usefipsendpoint: true }, "https://blobs.s3-fips.us-east-1.amazonaws.com/a/b"],
    [{ regionendpoint: "http://minio:9000" }, "http://minio:9000/blobs/a/b"],
    [{ regionendpoint: "https://s3.example", forcepathstyle: false }, "https://blobs.s3.example/a/b"],
  ])("with %p asks %p", async (more, expected) => {
    expect(await hostOf(more)).toBe(expected);
  });

  test("says which keys have no effect beside an endpoint", async () => {
    const { log, lines } = collecting();
    (await openConnection(options({ accelerate: true, usedualstack: true }), { log })).client.destroy();
    expect(lines.map(({ message }) => message)).toEqual(["storage.s3.usedualstack has no effect beside storage.s3.regionendpoint", "storage.s3.accelerate has no effect beside storage.s3.regionendpoint"]);
  });
});

describe("Presigner", () => {
  async function urlOf(more: Readonly<Record<string, unknown>>, method: "GET" | "HEAD"): Promise<URL> {
    const parsed = options(more);
    const connection = await openConnection(parsed, { log: SILENT_LOGGER });
    const presigner = await Presigner.open(connection, { bucket: parsed.bucket, redirectendpoint: parsed.redirectendpoint, expiryMs: 90_000 });
    const url = new URL(await presigner.url("docker/registry/v2/x", method));
    connection.client.destroy();
    return url;
  }

  test("signs for its time and its method, and gives no secret away", async () => {
    const [get, head] = [await urlOf({ sessiontoken: "a token" }, "GET"), await urlOf({ sessiontoken: "a token" }, "HEAD")];
    expect(get.searchParams.get("X-Amz-Expires")).toBe("90");
    expect(get.searchParams.get("X-Amz-Credential")).toStartWith("AKIAEXAMPLE/");
    expect(get.searchParams.get("X-Amz-Security-Token")).toBe("a token");
    expect(get.searchParams.get("X-Amz-Signature")).not.toBe(head.searchParams.get("X-Amz-Signature"));
    expect(get.href).not.toContain("secret");
  });

  test("signs for the host that clients reach the store at", async () => {
    const [direct, outside] = [await urlOf({}, "GET"), await urlOf({ redirectendpoint: "https://blobs.example:8443" }, "GET")];
    expect([direct.host, outside.origin, outside.pathname]).toEqual(["127.0.0.1:9000", "https://blobs.example:8443", "/blobs/docker/registry/v2/x"]);
    expect(outside.searchParams.get("X-Amz-SignedHeaders")).toBe("host");
    expect(outside.searchParams.get("X-Amz-Signature")).not.toBe(direct.searchParams.get("X-Amz-Signature"));
  });
});

describe("RequestLog", () => {
  const request = {
    method: "PUT",
    protocol: "http:",
    hostname: "store",
    path: "/b/k",
    query: { partNumber: "1", "X-Amz-Signature": "never", "X-Amz-Credential": "never" },
    headers: { authorization: "AWS4-HMAC-SHA256 Credential=never/x, SignedHeaders=host;x-amz-date, Signature=never", "x-amz-date": "20260101T000000Z", "x-amz-security-token": "never" },
    body: "<xml/>",
  };
  const answer = { statusCode: 200, reason: "OK", headers: { "x-amz-request-id": "r-1" }, body: Buffer.from("answer") };

  test.each(["debug", "debugwithsigning", "debugwithhttpbody", "DebugWithRequestRetries"])("at %s tells of requests, and never a secret", (level) => {
    const { log, lines } = collecting();
    const requests = new RequestLog(log, level);
    requests.answered(request, answer, 12.3);
    requests.failed(request, new Error("socket hang up"), 5);
    expect(lines.map(({ message }) => message)).toEqual(["request to the store", "request to the store failed"]);
    expect(lines[0]?.fields).toMatchObject({ "http.request.method": "PUT", "http.request.query": "partNumber", "http.response.status": 200, "store.request.id": "r-1", "duration.ms": 12 });
    expect(JSON.stringify(lines)).not.toContain("never");
    expect(JSON.stringify(lines).includes("answer")).toBe(level === "debugwithhttpbody");
  });

  test.each(["off", "", "loud"])("at %p says nothing", (level) => {
    const { log, lines } = collecting();
    new RequestLog(log, level).answered(request, answer, 1);
    expect(lines).toEqual([]);
  });
});
