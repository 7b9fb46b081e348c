import { createHash } from "node:crypto";
import { type BucketStore, bytesBetween, checkObjectName, type StoredObject, type StoredUpload } from "./bucket.ts";
import { OssRefusal, refusals } from "./error.ts";
import { isBehind, pageOf } from "./listing.ts";
import { textsOf, xmlDocument } from "./xml.ts";

/** A request whose signature is right. */
export interface OssRequest {
  readonly method: string;
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: Headers;
  readonly body: Uint8Array;
  readonly bucket: BucketStore;
  /** Entries in a page of a list, however many are asked for. */
  readonly maxPage: number;
}

/** An answer of success. */
export interface OssAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Pieces of content, or a document. */
  readonly body?: readonly Uint8Array[] | string;
}

const OWNER = { ID: "1", DisplayName: "1" };
const STORAGE_CLASS = "Standard";
const MAX_DELETE_BODY_BYTES = 2 * 1024 * 1024;
const MAX_DELETIONS = 1000;
/** In the query of every request that is signed there. */
const SIGNATURE_PARAMETERS = /^(OSSAccessKeyId|Expires|Signature|x-oss-(signature-version|credential|date|expires|additional-headers|signature))$/;

/** Does what a request asks for. @throws OssRefusal */
export function perform(request: OssRequest): OssAnswer {
  const has = (...names: string[]): boolean => names.every((name) => request.query.has(name));
  const { method, key } = request;
  if (key === "") {
    if (method === "GET" && has("uploads")) return listUploads(request);
    if (method === "GET" && request.query.get("list-type") === "2") return listObjectsV2(request);
    if (method === "GET") return listObjects(request);
    if (method === "POST" && has("delete")) return deleteObjects(request);
    throw refusals.notImplemented(`${method} of a bucket`);
  }
  checkObjectName(key);
  if (method === "PUT" && has("partNumber", "uploadId")) return putPart(request);
  if (method === "PUT") return request.headers.has("x-oss-copy-source") ? copyObject(request) : putObject(request);
  if (method === "POST" && has("append")) return appendObject(request);
  if (method === "POST" && has("uploads")) return initiateUpload(request);
  if (method === "POST" && has("uploadId")) return completeUpload(request);
  if (method === "GET" && has("uploadId")) return listParts(request);
  if (method === "GET" || method === "HEAD") return getObject(request);
  if (method === "DELETE" && has("uploadId")) return abortUpload(request);
  if (method === "DELETE") return deleteObject(request);
  throw refusals.notImplemented(`${method} of an object`);
}

function putObject(request: OssRequest): OssAnswer {
  requireParameters(request, []);
  checkContentMd5(request);
  checkOverwrite(request);
  const object = request.bucket.put(request.key, request.body, attributesOf(request.headers));
  return { status: 200, headers: { etag: object.etag, "x-oss-hash-crc64ecma": object.crc64, ...encryptionOf(object.attributes) } };
}

function appendObject(request: OssRequest): OssAnswer {
  requireParameters(request, ["append", "position"]);
  checkContentMd5(request);
  const position = request.query.get("position") ?? "";
  if (!/^\d+$/.test(position)) throw refusals.invalidArgument("Position must be a number.");
  const object = request.bucket.append(request.key, Number(position), { bytes: request.body, attributes: attributesOf(request.headers) });
  return { status: 200, headers: { etag: object.etag, "x-oss-hash-crc64ecma": object.crc64, "x-oss-next-append-position": String(object.sizeBytes) } };
}

function copyObject(request: OssRequest): OssAnswer {
  requireParameters(request, []);
  checkOverwrite(request);
  const source = sourceOf(request);
  const object = request.bucket.copy(source, request.key, encryptionOf(attributesOf(request.headers)));
  return {
    status: 200,
    headers: { "x-oss-hash-crc64ecma": object.crc64, ...encryptionOf(object.attributes) },
    body: xmlDocument("CopyObjectResult", { LastModified: object.modifiedAt.toISOString(), ETag: object.etag }),
  };
}

function getObject(request: OssRequest): OssAnswer {
  requireParameters(request, []);
  const object = request.bucket.get(request.key);
  const ifMatch = request.headers.get("if-match");
  if (ifMatch !== null && !isTag(ifMatch, object)) throw refusals.preconditionFailed();
  if (isTag(request.headers.get("if-none-match"), object)) return { status: 304, headers: headersOf(object) };
  const range = request.method === "GET" ? rangeOf(request.headers, object.sizeBytes) : undefined;
  const { start, end } = range ?? { start: 0, end: object.sizeBytes };
  return {
    status: range === undefined ? 200 : 206,
    headers: { ...headersOf(object), "content-length": String(end - start), ...(range === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${object.sizeBytes}` }) },
    body: bytesBetween(object.pieces, start, end),
  };
}

function deleteObject(request: OssRequest): OssAnswer {
  requireParameters(request, []);
  request.bucket.delete(request.key);
  return { status: 204 };
}

function deleteObjects(request: OssRequest): OssAnswer {
  requireParameters(request, ["delete", "encoding-type"]);
  if (!request.headers.has("content-md5")) throw new OssRefusal(400, "MissingArgument", "Missing Some Required Arguments.");
  checkContentMd5(request);
  if (request.body.length > MAX_DELETE_BODY_BYTES) throw refusals.malformedXml();
  const xml = Buffer.from(request.body).toString();
  const keys = textsOf(xml, "Key");
  if (!/<Delete>[^]*<\/Delete>/.test(xml) || keys.length === 0 || keys.length > MAX_DELETIONS || keys.length !== (xml.match(/<Object>/g) ?? []).length) throw refusals.malformedXml();
  for (const key of keys) {
    checkObjectName(key);
    request.bucket.delete(key);
  }
  if (textsOf(xml, "Quiet")[0] === "true") return { status: 200 };
  const { encode, encodingType } = encodingOf(request);
  return { status: 200, body: xmlDocument("DeleteResult", { ...encodingType, Deleted: keys.map((key) => ({ Key: encode(key) })) }) };
}

function initiateUpload(request: OssRequest): OssAnswer {
  requireParameters(request, ["uploads", "encoding-type"]);
  const { encode, encodingType } = encodingOf(request);
  const { uploadId, attributes } = request.bucket.initiate(request.key, attributesOf(request.headers));
  return { status: 200, headers: encryptionOf(attributes), body: xmlDocument("InitiateMultipartUploadResult", { ...encodingType, Bucket: request.bucket.name, Key: encode(request.key), UploadId: uploadId }) };
}

function putPart(request: OssRequest): OssAnswer {
  requireParameters(request, ["partNumber", "uploadId"]);
  const upload = uploadOf(request);
  const partNumber = request.query.get("partNumber") ?? "";
  if (request.headers.has("x-oss-server-side-encryption")) throw refusals.invalidArgument("x-oss-server-side-encryption is for the whole upload.");
  if (request.headers.has("x-oss-copy-source")) {
    const source = sourceOf(request);
    const part = request.bucket.putPart(upload, partNumber, copiedBytes(source, request.headers.get("x-oss-copy-source-range")));
    return { status: 200, headers: { "x-oss-hash-crc64ecma": part.crc64 }, body: xmlDocument("CopyPartResult", { LastModified: part.modifiedAt.toISOString(), ETag: part.etag }) };
  }
  checkContentMd5(request);
  const part = request.bucket.putPart(upload, partNumber, [request.body]);
  return { status: 200, headers: { etag: part.etag, "x-oss-hash-crc64ecma": part.crc64 } };
}

function completeUpload(request: OssRequest): OssAnswer {
  requireParameters(request, ["uploadId", "encoding-type"]);
  const upload = uploadOf(request);
  checkContentMd5(request);
  const xml = Buffer.from(request.body).toString();
  const listed = textsOf(xml, "Part").map((part) => ({ number: Number(textsOf(part, "PartNumber")[0]), etag: textsOf(part, "ETag")[0] ?? "" }));
  if (!/<CompleteMultipartUpload>[^]*<\/CompleteMultipartUpload>/.test(xml) || listed.some(({ number }) => !Number.isInteger(number))) throw refusals.malformedXml();
  const object = request.bucket.complete(upload, listed);
  const { encode, encodingType } = encodingOf(request);
  return {
    status: 200,
    headers: { etag: object.etag, "x-oss-hash-crc64ecma": object.crc64 },
    body: xmlDocument("CompleteMultipartUploadResult", { ...encodingType, Location: `http://${request.headers.get("host") ?? ""}/${encode(object.key)}`, Bucket: request.bucket.name, Key: encode(object.key), ETag: object.etag }),
  };
}

function abortUpload(request: OssRequest): OssAnswer {
  requireParameters(request, ["uploadId"]);
  request.bucket.abort(uploadOf(request));
  return { status: 204 };
}

function listParts(request: OssRequest): OssAnswer {
  requireParameters(request, ["uploadId", "max-parts", "part-number-marker", "encoding-type"]);
  const upload = uploadOf(request);
  const limit = limitOf(request, "max-parts", 1000);
  const marker = Number(request.query.get("part-number-marker") ?? 0);
  const parts = [...upload.parts.values()].filter(({ number }) => number > marker).sort((a, b) => a.number - b.number);
  const page = parts.slice(0, limit);
  const { encode, encodingType } = encodingOf(request);
  return {
    status: 200,
    body: xmlDocument("ListPartsResult", {
      ...encodingType,
      Bucket: request.bucket.name,
      Key: encode(upload.key),
      UploadId: upload.uploadId,
      StorageClass: STORAGE_CLASS,
      PartNumberMarker: marker,
      NextPartNumberMarker: page.at(-1)?.number ?? 0,
      MaxParts: limit,
      IsTruncated: parts.length > limit,
      Part: page.map((part) => ({ PartNumber: part.number, LastModified: part.modifiedAt.toISOString(), ETag: part.etag, HashCrc64ecma: part.crc64, Size: part.sizeBytes })),
    }),
  };
}

function listUploads(request: OssRequest): OssAnswer {
  requireParameters(request, ["uploads", "prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"]);
  const { query } = request;
  const [prefix, delimiter, keyMarker] = [query.get("prefix") ?? "", query.get("delimiter") ?? "", query.get("key-marker") ?? ""];
  // Without a marker of keys, one of ids is ignored.
  const idMarker = keyMarker === "" ? "" : (query.get("upload-id-marker") ?? "");
  const limit = limitOf(request, "max-uploads", 1000);
  const isAfter = (name: string, upload: StoredUpload | undefined): boolean => isBehind(name, keyMarker, { prefix, delimiter }) || (idMarker !== "" && upload?.key === keyMarker && upload.uploadId > idMarker);
  const page = pageOf({ items: request.bucket.uploads, nameOf: ({ key }) => key, prefix, delimiter, isAfter, limit });
  const { encode, encodingType } = encodingOf(request);
  return {
    status: 200,
    body: xmlDocument("ListMultipartUploadsResult", {
      ...encodingType,
      Bucket: request.bucket.name,
      KeyMarker: encode(keyMarker),
      UploadIdMarker: idMarker,
      NextKeyMarker: encode(page.next ?? ""),
      NextUploadIdMarker: page.next === undefined ? "" : (page.lastItem?.uploadId ?? ""),
      Delimiter: encode(delimiter),
      Prefix: encode(prefix),
      MaxUploads: limit,
      IsTruncated: page.next !== undefined,
      Upload: page.items.map(({ key, uploadId, initiatedAt }) => ({ Key: encode(key), UploadId: uploadId, StorageClass: STORAGE_CLASS, Initiated: initiatedAt.toISOString() })),
      CommonPrefixes: page.prefixes.map((each) => ({ Prefix: encode(each) })),
    }),
  };
}

function listObjects(request: OssRequest): OssAnswer {
  requireParameters(request, ["prefix", "delimiter", "marker", "max-keys", "encoding-type"]);
  const marker = request.query.get("marker") ?? "";
  const { page, limit, prefix, delimiter } = objectPage(request, marker);
  const { encode, encodingType } = encodingOf(request);
  return {
    status: 200,
    body: xmlDocument("ListBucketResult", {
      ...encodingType,
      Name: request.bucket.name,
      Prefix: encode(prefix),
      Marker: encode(marker),
      MaxKeys: limit,
      Delimiter: encode(delimiter),
      IsTruncated: page.next !== undefined,
      NextMarker: page.next === undefined ? undefined : encode(page.next),
      Contents: page.items.map((object) => ({ ...contentsOf(object, encode), Owner: OWNER })),
      CommonPrefixes: page.prefixes.map((each) => ({ Prefix: encode(each) })),
    }),
  };
}

function listObjectsV2(request: OssRequest): OssAnswer {
  requireParameters(request, ["list-type", "prefix", "delimiter", "start-after", "continuation-token", "max-keys", "encoding-type", "fetch-owner"]);
  const startAfter = request.query.get("start-after") ?? "";
  const token = request.query.get("continuation-token");
  const { page, limit, prefix, delimiter } = objectPage(request, token === undefined ? startAfter : markerOf(token));
  const { encode, encodingType } = encodingOf(request);
  const withOwner = request.query.get("fetch-owner") === "true";
  return {
    status: 200,
    body: xmlDocument("ListBucketResult", {
      ...encodingType,
      Name: request.bucket.name,
      Prefix: encode(prefix),
      StartAfter: startAfter === "" ? undefined : encode(startAfter),
      ContinuationToken: token,
      MaxKeys: limit,
      Delimiter: encode(delimiter),
      IsTruncated: page.next !== undefined,
      NextContinuationToken: page.next === undefined ? undefined : Buffer.from(page.next).toString("base64"),
      KeyCount: page.items.length + page.prefixes.length,
      Contents: page.items.map((object) => ({ ...contentsOf(object, encode), ...(withOwner ? { Owner: OWNER } : {}) })),
      CommonPrefixes: page.prefixes.map((each) => ({ Prefix: encode(each) })),
    }),
  };
}

function objectPage(request: OssRequest, marker: string) {
  const prefix = request.query.get("prefix") ?? "";
  const delimiter = request.query.get("delimiter") ?? "";
  const limit = limitOf(request, "max-keys", 100);
  const items = request.bucket.keys.map((key) => request.bucket.get(key));
  return { page: pageOf({ items, nameOf: ({ key }) => key, prefix, delimiter, isAfter: (name) => isBehind(name, marker, { prefix, delimiter }), limit }), prefix, delimiter, limit };
}

function contentsOf(object: StoredObject, encode: (text: string) => string) {
  return { Key: encode(object.key), LastModified: object.modifiedAt.toISOString(), ETag: object.etag, Type: object.type, Size: object.sizeBytes, StorageClass: STORAGE_CLASS };
}

function markerOf(token: string): string {
  const marker = Buffer.from(token, "base64").toString();
  if (Buffer.from(marker).toString("base64") !== token) throw refusals.invalidArgument("The continuation token provided is incorrect.");
  return marker;
}

function uploadOf({ bucket, key, query }: OssRequest): StoredUpload {
  return bucket.upload(key, query.get("uploadId") ?? "");
}

function sourceOf({ headers, bucket }: OssRequest): StoredObject {
  const [, bucketName, encodedKey] = /^\/([^/]+)\/(.+)$/.exec(headers.get("x-oss-copy-source") ?? "") ?? [];
  if (bucketName === undefined || encodedKey === undefined) throw refusals.invalidArgument("Copy Source must mention the source bucket and key: /sourcebucket/sourcekey.");
  if (bucketName !== bucket.name) throw refusals.noSuchBucket();
  const source = bucket.get(decodeURIComponent(encodedKey));
  const ifMatch = headers.get("x-oss-copy-source-if-match");
  if (ifMatch !== null && !isTag(ifMatch, source)) throw refusals.preconditionFailed();
  return source;
}

/** With and without quotation marks, clients write both. */
function isTag(text: string | null, { etag }: StoredObject): boolean {
  return text === etag || `"${text}"` === etag;
}

/** As the service has it: a range that does not fit is none, and everything is copied. */
function copiedBytes(source: StoredObject, range: string | null): Uint8Array[] {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
  const isWithin = first !== undefined && last !== undefined && Number(first) <= Number(last) && Number(last) < source.sizeBytes;
  return bytesBetween(source.pieces, isWithin ? Number(first) : 0, isWithin ? Number(last) + 1 : source.sizeBytes);
}

/** As the service has it: a range that does not fit is none, and everything is sent, unless the standard behaviour is asked for. */
function rangeOf(headers: Headers, sizeBytes: number): { readonly start: number; readonly end: number } | undefined {
  const header = headers.get("range");
  if (header === null) return undefined;
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(header) ?? [];
  if (first === "" && last === "") return undefined;
  const isStandard = headers.get("x-oss-range-behavior") === "standard";
  const start = first === "" ? Math.max(0, sizeBytes - Number(last)) : Number(first);
  const end = first === "" || last === "" ? sizeBytes : Number(last) + 1;
  const isSatisfiable = start < sizeBytes && start < end && !(first === "" && Number(last) === 0);
  if (!isStandard) return isSatisfiable && end <= sizeBytes && !(first === "" && Number(last) > sizeBytes) ? { start, end } : undefined;
  if (!isSatisfiable) throw new OssRefusal(416, "InvalidRange", "The requested range cannot be satisfied", { "content-range": `bytes */${sizeBytes}` });
  return { start, end: Math.min(end, sizeBytes) };
}

function checkContentMd5({ headers, body }: OssRequest): void {
  const given = headers.get("content-md5");
  if (given === null) return;
  if (given !== createHash("md5").update(body).digest("base64")) throw new OssRefusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.");
}

function checkOverwrite({ headers, bucket, key }: OssRequest): void {
  if (headers.get("x-oss-forbid-overwrite") === "true" && bucket.find(key) !== undefined) throw new OssRefusal(409, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.");
}

/** What a request says of the object besides its bytes. @throws OssRefusal for encryption that there is not */
function attributesOf(headers: Headers): Record<string, string> {
  const algorithm = headers.get("x-oss-server-side-encryption");
  const keyId = headers.get("x-oss-server-side-encryption-key-id");
  if (algorithm !== null && !["AES256", "KMS", "SM4"].includes(algorithm)) throw new OssRefusal(400, "InvalidEncryptionAlgorithmError", "The encryption method specified is not supported.");
  if (keyId !== null && algorithm !== "KMS") throw refusals.invalidArgument("A key is for KMS only.");
  return Object.fromEntries([...headers].filter(([name]) => name === "content-type" || name.startsWith("x-oss-meta-") || name.startsWith("x-oss-server-side-encryption")));
}

function encryptionOf(attributes: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(attributes).filter(([name]) => name.startsWith("x-oss-server-side-encryption")));
}

function headersOf(object: StoredObject): Record<string, string> {
  return {
    "content-type": "application/octet-stream",
    ...object.attributes,
    etag: object.etag,
    "last-modified": object.modifiedAt.toUTCString(),
    "accept-ranges": "bytes",
    "content-length": String(object.sizeBytes),
    "x-oss-object-type": object.type,
    "x-oss-storage-class": STORAGE_CLASS,
    "x-oss-hash-crc64ecma": object.crc64,
  };
}

function limitOf({ query, maxPage }: OssRequest, name: string, defaultLimit: number): number {
  const limit = Number(query.get(name) ?? defaultLimit);
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) throw refusals.invalidArgument(`Argument ${name} must be an integer between 1 and 1000.`);
  return Math.min(limit, maxPage);
}

function encodingOf({ query }: OssRequest): { readonly encode: (text: string) => string; readonly encodingType: { readonly EncodingType?: string } } {
  const type = query.get("encoding-type");
  if (type === undefined) return { encode: (text) => text, encodingType: {} };
  if (type !== "url") throw refusals.invalidArgument("Invalid Encoding Method specified in Request.");
  return { encode: (text) => encodeURIComponent(text).replaceAll("%20", "+"), encodingType: { EncodingType: "url" } };
}

/** What this server does not know it does not pass over. */
function requireParameters({ query }: OssRequest, known: readonly string[]): void {
  for (const name of query.keys()) if (!known.includes(name) && !SIGNATURE_PARAMETERS.test(name)) throw refusals.notImplemented(`parameter ${name}`);
}
