import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { OssRefusal, refusals } from "./error.ts";

/** A request, as far as signatures are about it. */
export interface SignedRequest {
  readonly method: string;
  readonly headers: Headers;
  /** Names and values, decoded. A parameter without a value has an empty one. */
  readonly query: ReadonlyMap<string, string>;
  readonly bucket: string;
  /** Decoded; empty for the bucket itself. */
  readonly key: string;
}

/** Who may do everything, and what the time is. */
export interface SignatureRules {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  /** As in signatures of version 4, like `cn-hangzhou`. */
  readonly region: string;
  readonly nowMs: () => number;
}

const MAX_SKEW_MS = 15 * 60 * 1000;
const MAX_EXPIRY_SECONDS = 7 * 24 * 60 * 60;

/** What version 1 signs of the query: everything that names a sub-resource or changes the answer. */
const V1_SUBRESOURCES = new Set([
  "acl", "append", "bucketInfo", "callback", "callback-var", "cname", "comp", "continuation-token", "cors", "delete", "encryption", "endTime", "img", "inventory", "inventoryId",
  "lifecycle", "live", "location", "logging", "objectMeta", "partNumber", "policy", "position", "qos", "referer", "regionList", "replication", "requestPayment", "response-cache-control",
  "response-content-disposition", "response-content-encoding", "response-content-language", "response-content-type", "response-expires", "restore", "security-token", "sequential",
  "startTime", "stat", "status", "style", "styleName", "symlink", "tagging", "uploadId", "uploads", "versionId", "versioning", "versions", "vod", "website", "worm", "wormExtend", "wormId",
  "x-oss-process", "x-oss-traffic-limit",
]);

/** Lets a request pass whose signature is right, in a header or in the query, of version 1 or 4. @throws OssRefusal */
export function checkSignature(request: SignedRequest, rules: SignatureRules): void {
  const authorization = request.headers.get("authorization");
  const { query } = request;
  if (authorization?.startsWith("OSS4-HMAC-SHA256 ") === true) checkV4Header(request, authorization, rules);
  else if (authorization?.startsWith("OSS ") === true) checkV1Header(request, authorization, rules);
  else if (authorization !== null) throw refusals.invalidArgument("Unsupported Authorization Type");
  else if (query.has("x-oss-signature-version")) checkV4Query(request, rules);
  else if (query.has("Signature")) checkV1Query(request, rules);
  else throw refusals.accessDenied("You have no right to access this object because of bucket acl.");
}

function checkV1Header(request: SignedRequest, authorization: string, rules: SignatureRules): void {
  const [, accessKeyId = "", signature = ""] = /^OSS ([^:]+):(.+)$/.exec(authorization) ?? [];
  const date = request.headers.get("x-oss-date") ?? request.headers.get("date") ?? "";
  checkSkew(Date.parse(date), rules);
  checkAccessKey(accessKeyId, rules);
  checkEqual(signature, v1Signature(request, date, rules));
}

function checkV1Query(request: SignedRequest, rules: SignatureRules): void {
  const expires = request.query.get("Expires") ?? "";
  if (!/^\d+$/.test(expires)) throw refusals.accessDenied("Invalid date (should be seconds since epoch)");
  if (Number(expires) * 1000 < rules.nowMs()) throw refusals.accessDenied("Request has expired.");
  checkAccessKey(request.query.get("OSSAccessKeyId") ?? "", rules);
  checkEqual(request.query.get("Signature") ?? "", v1Signature(request, expires, rules));
}

function v1Signature({ method, headers, query, bucket, key }: SignedRequest, date: string, rules: SignatureRules): string {
  const ownHeaders = [...headers].filter(([name]) => name.startsWith("x-oss-")).sort(byName);
  const subresources = [...query].filter(([name]) => V1_SUBRESOURCES.has(name)).sort(byName);
  const text = [
    method,
    headers.get("content-md5") ?? "",
    headers.get("content-type") ?? "",
    date,
    ...ownHeaders.map(([name, value]) => `${name}:${value.trim()}`),
    `/${bucket}/${key}${subresources.length === 0 ? "" : `?${subresources.map(([name, value]) => (value === "" ? name : `${name}=${value}`)).join("&")}`}`,
  ].join("\n");
  return createHmac("sha1", rules.accessKeySecret).update(text).digest("base64");
}

function checkV4Header(request: SignedRequest, authorization: string, rules: SignatureRules): void {
  const fields = new Map(
    authorization
      .slice("OSS4-HMAC-SHA256 ".length)
      .split(",")
      .map((field): [string, string] => {
        const [name = "", ...value] = field.trim().split("=");
        return [name, value.join("=")];
      }),
  );
  if (fields.get("AdditionalHeaders") === "") throw refusals.invalidArgument("The AdditionalHeaders field is empty.");
  const date = request.headers.get("x-oss-date") ?? "";
  const dateMs = parseV4Date(date);
  checkSkew(dateMs, rules);
  if (request.headers.get("x-oss-content-sha256") !== "UNSIGNED-PAYLOAD") throw refusals.invalidArgument("Invalid x-oss-content-sha256.");
  checkCredential(fields.get("Credential") ?? "", date, rules);
  checkEqual(fields.get("Signature") ?? "", v4Signature(request, { date, additional: fields.get("AdditionalHeaders") ?? "", query: [...request.query] }, rules));
}

function checkV4Query(request: SignedRequest, rules: SignatureRules): void {
  const { query } = request;
  if (query.get("x-oss-signature-version") !== "OSS4-HMAC-SHA256") throw refusals.invalidArgument("Unsupported x-oss-signature-version.");
  const expires = query.get("x-oss-expires") ?? "";
  if (!/^\d+$/.test(expires) || Number(expires) < 1 || Number(expires) > MAX_EXPIRY_SECONDS) throw refusals.invalidArgument("Invalid x-oss-expires.");
  if (query.get("x-oss-additional-headers") === "") throw refusals.invalidArgument("The x-oss-additional-headers field is empty.");
  const date = query.get("x-oss-date") ?? "";
  const dateMs = parseV4Date(date);
  if (rules.nowMs() < dateMs - MAX_SKEW_MS) throw refusals.accessDenied("Request is not valid yet.");
  if (rules.nowMs() > dateMs + Number(expires) * 1000) throw refusals.accessDenied("Request has expired.");
  checkCredential(query.get("x-oss-credential") ?? "", date, rules);
  const signed = [...query].filter(([name]) => name !== "x-oss-signature");
  checkEqual(query.get("x-oss-signature") ?? "", v4Signature(request, { date, additional: query.get("x-oss-additional-headers") ?? "", query: signed }, rules));
}

interface V4Parts {
  readonly date: string;
  /** Names of headers, separated by semicolons. */
  readonly additional: string;
  readonly query: readonly (readonly [string, string])[];
}

function v4Signature({ method, headers, bucket, key }: SignedRequest, { date, additional, query }: V4Parts, rules: SignatureRules): string {
  const alsoSigned = additional === "" ? [] : additional.split(";");
  const canonicalHeaders = [...headers]
    .filter(([name]) => name === "content-type" || name === "content-md5" || name.startsWith("x-oss-") || alsoSigned.includes(name))
    .sort(byName)
    .map(([name, value]) => `${name}:${value.trim()}\n`);
  const canonicalQuery = query
    .map(([name, value]) => [escapeUri(name), escapeUri(value)] as const)
    .toSorted(byName)
    .map(([name, value]) => (value === "" ? name : `${name}=${value}`));
  const canonicalRequest = [method, escapeUri(`/${bucket}/${key}`).replaceAll("%2F", "/"), canonicalQuery.join("&"), canonicalHeaders.join(""), additional, headers.get("x-oss-content-sha256") ?? "UNSIGNED-PAYLOAD"].join("\n");
  const day = date.slice(0, 8);
  const text = ["OSS4-HMAC-SHA256", date, `${day}/${rules.region}/oss/aliyun_v4_request`, createHash("sha256").update(canonicalRequest).digest("hex")].join("\n");
  const signingKey = [day, rules.region, "oss", "aliyun_v4_request"].reduce<string | Buffer>((secret, part) => createHmac("sha256", secret).update(part).digest(), `aliyun_v4${rules.accessKeySecret}`);
  return createHmac("sha256", signingKey).update(text).digest("hex");
}

function checkCredential(credential: string, date: string, rules: SignatureRules): void {
  const [accessKeyId = "", day, region, product, version, ...more] = credential.split("/");
  if (day !== date.slice(0, 8)) throw refusals.invalidArgument("Invalid signing date in Authorization header.");
  if (region !== rules.region) throw refusals.invalidArgument("Invalid signing region in Authorization header.");
  if (product !== "oss" || version !== "aliyun_v4_request" || more.length > 0) throw refusals.invalidArgument("Invalid signing product in Authorization header.");
  checkAccessKey(accessKeyId, rules);
}

function checkAccessKey(accessKeyId: string, rules: SignatureRules): void {
  if (accessKeyId !== rules.accessKeyId) throw new OssRefusal(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.");
}

function checkSkew(dateMs: number, rules: SignatureRules): void {
  if (Number.isNaN(dateMs)) throw refusals.accessDenied("OSS authentication requires a valid Date.");
  if (Math.abs(rules.nowMs() - dateMs) > MAX_SKEW_MS) throw new OssRefusal(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.");
}

function checkEqual(given: string, expected: string): void {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  if (a.length !== b.length || !timingSafeEqual(a, b)) throw new OssRefusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.");
}

function parseV4Date(date: string): number {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

function escapeUri(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
