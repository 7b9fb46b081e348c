import { createHash } from "node:crypto";
import type { KeyPage, KeyPageRequest } from "../object-store/children.ts";
import type { OpenAnswer } from "../object-store/http-client.ts";
import { ObjectKeys } from "../object-store/keys.ts";
import { type Content, type ListedObject, type ListedUpload, type MultipartBucket, type ObjectFacts, type Part, type Range, type ReadFailure, sizeOf, type UploadRef } from "../object-store/multipart/bucket.ts";
import { type RetryPolicy, retry } from "../object-store/retry.ts";
import type { OssAnswer, OssCall, OssConnection } from "./connection.ts";
import { combinedCrc64 } from "./crc64.ts";
import { isTransient, OSS, OssCallError } from "./errors.ts";
import type { OssOptions } from "./options.ts";
import { elementsOf, escapeXml, requiredText, rootOf, textOf, type XmlElement } from "./xml.ts";

const MAX_RETRIES = 5;
const MAX_PAGE = 1000;
/** What one call deletes at most. */
const MAX_DELETIONS = 1000;
const OCTET_STREAM = { "Content-Type": "application/octet-stream" };
const XML = { "Content-Type": "application/xml" };
/** Names may have characters that documents cannot. */
const ENCODED = { "encoding-type": "url" };
const CRC64 = "x-oss-hash-crc64ecma";

/** The calls to one bucket, each with its time limits and retries. They reject with OssCallError, or with StorageFullError. */
export class OssBucket implements MultipartBucket {
  readonly name = OSS;
  /** The store's documentation says "at least 100 KB" here and "larger than 100 KB" there: nobody is to depend on which it is. */
  readonly limits = { minPartBytes: 128 * 1024, maxParts: 10_000 };
  readonly policy: RetryPolicy;
  readonly #connection: OssConnection;
  readonly #bucket: string;
  /** What the names of all our objects begin with. */
  readonly #rootPrefix: string;
  /** What every new object is given. */
  readonly #encryption: Readonly<Record<string, string>>;

  constructor(connection: OssConnection, options: Pick<OssOptions, "bucket" | "encrypt" | "encryptionkeyid" | "rootdirectory">) {
    this.#connection = connection;
    this.#bucket = options.bucket;
    this.#rootPrefix = new ObjectKeys(options.rootdirectory).prefix("/");
    this.#encryption = encryptionHeaders(options);
    this.policy = { maxRetries: MAX_RETRIES, isTransient, signal: connection.signal };
  }

  async check(): Promise<void> {
    // Who may list only their own part of the bucket pass, too.
    await this.#list({ prefix: this.#rootPrefix, limit: 1 });
  }

  async head(key: string): Promise<ObjectFacts | undefined> {
    return await this.#head(key);
  }

  async open(key: string, range: Range, { ifMatch }: { readonly ifMatch?: string } = {}): Promise<Content | undefined> {
    const headers = { ...rangeHeaders(range), ...(ifMatch === undefined ? {} : { "If-Match": ifMatch }) };
    try {
      const answer = await this.#retried(() => this.#connection.open({ operation: "GetObject", method: "GET", key, headers, successStatuses: [200, 206] }));
      if (range.startByte > 0 && answer.status !== 206) {
        answer.content.close();
        throw new Error(`oss: the store ignored the range that was asked of ${key}`);
      }
      return contentOf(answer);
    } catch (error) {
      if (!(error instanceof OssCallError)) throw error;
      if (error.isMissingKey) return undefined;
      if (error.isPastEnd) return NO_CONTENT;
      throw error;
    }
  }

  async put(key: string, bytes: Uint8Array): Promise<string> {
    const { headers } = await this.#call({ operation: "PutObject", method: "PUT", key, headers: { ...OCTET_STREAM, ...this.#encryption, ...md5Header(bytes) }, body: bytes, successStatuses: [200] });
    return quoted(requiredHeader(headers, "etag"));
  }

  async remove(key: string): Promise<void> {
    try {
      await this.#call({ operation: "DeleteObject", method: "DELETE", key, successStatuses: [204] });
    } catch (error) {
      if (!(error instanceof OssCallError && error.isMissingKey)) throw error;
    }
  }

  async removeMany(keys: readonly string[]): Promise<void> {
    const [only] = keys;
    if (keys.length === 1 && only !== undefined) return await this.remove(only);
    for (let start = 0; start < keys.length; start += MAX_DELETIONS) await this.#removeBatch(keys.slice(start, start + MAX_DELETIONS));
  }

  async listChildren(request: KeyPageRequest): Promise<KeyPage> {
    const { objects, directories, next } = await this.#list({ delimiter: "/", ...request });
    return { keys: objects.map(({ key }) => key).filter((key) => key !== request.prefix), directories, next };
  }

  async *listObjects(prefix: string): AsyncGenerator<readonly ListedObject[]> {
    let next: string | undefined;
    do {
      const page = await this.#list({ prefix, limit: MAX_PAGE, ...(next === undefined ? {} : { next }) });
      if (page.objects.length > 0) yield page.objects;
      if (page.next !== undefined && page.next === next) throw new Error(`oss: the store's listing of ${JSON.stringify(prefix)} does not come to an end`);
      next = page.next;
    } while (next !== undefined);
  }

  async hasObjects(prefix: string): Promise<boolean> {
    const { objects } = await this.#list({ prefix, limit: 1 });
    return objects.length > 0;
  }

  async copy(source: string, destination: string, ifMatch: string): Promise<void> {
    const headers = { ...this.#encryption, ...this.#copySource(source, ifMatch) };
    const { document } = await this.#call({ operation: "CopyObject", method: "PUT", key: destination, headers, successStatuses: [200], isXml: true });
    requiredText(rootOf(document), "ETag");
  }

  async createUpload(key: string): Promise<UploadRef> {
    const { document } = await this.#call({ operation: "InitiateMultipartUpload", method: "POST", key, query: { uploads: "" }, headers: { ...OCTET_STREAM, ...this.#encryption }, successStatuses: [200], isXml: true });
    return { key, uploadId: requiredText(rootOf(document), "UploadId") };
  }

  async uploadPart({ key, uploadId }: UploadRef, number: number, bytes: Uint8Array): Promise<Part> {
    const { headers } = await this.#call({ operation: "UploadPart", method: "PUT", key, query: { partNumber: number, uploadId }, headers: { ...OCTET_STREAM, ...md5Header(bytes) }, body: bytes, successStatuses: [200] });
    return { number, etag: quoted(requiredHeader(headers, "etag")), sizeBytes: bytes.length, checksum: headerOf(headers, CRC64) };
  }

  async copyPart({ key, uploadId }: UploadRef, number: number, { key: source, range, ifMatch }: { readonly key: string; readonly range: Range; readonly ifMatch: string }): Promise<Part> {
    const { startByte, endByte } = range;
    const { headers, document } = await this.#call({
      operation: "UploadPartCopy",
      method: "PUT",
      key,
      query: { partNumber: number, uploadId },
      headers: { ...this.#copySource(source, ifMatch), "x-oss-copy-source-range": `bytes=${startByte}-${endByte - 1}` },
      successStatuses: [200],
      isXml: true,
    });
    return { number, etag: quoted(requiredText(rootOf(document), "ETag")), sizeBytes: endByte - startByte, checksum: headerOf(headers, CRC64) };
  }

  async complete(upload: UploadRef, parts: readonly Part[]): Promise<string> {
    try {
      return await this.#complete(upload, parts);
    } catch (error) {
      if (!(error instanceof OssCallError)) throw error;
      if (error.isForeignParts) throw new Error(`oss: ${upload.key} was written to by somebody else, too; its bytes are given up`, { cause: error });
      // It may be that the answer got lost and it was made at the first attempt.
      const made = error.isMissingUpload ? await this.#head(upload.key) : undefined;
      if (made === undefined || !isMadeOf(made, parts)) throw error;
      return made.etag;
    }
  }

  async abort({ key, uploadId }: UploadRef): Promise<void> {
    try {
      await this.#call({ operation: "AbortMultipartUpload", method: "DELETE", key, query: { uploadId }, successStatuses: [204] });
    } catch (error) {
      if (!(error instanceof OssCallError && error.isMissingUpload)) throw error;
    }
  }

  async *listUploads(prefix: string): AsyncGenerator<ListedUpload> {
    let marker: Readonly<Record<string, string>> = {};
    for (;;) {
      const { document } = await this.#call({ operation: "ListMultipartUploads", method: "GET", query: { uploads: "", prefix, "max-uploads": MAX_PAGE, ...ENCODED, ...marker }, successStatuses: [200], isXml: true });
      const root = rootOf(document);
      for (const upload of elementsOf(root, "Upload")) {
        yield { key: nameIn(root, requiredText(upload, "Key")), uploadId: requiredText(upload, "UploadId"), startedAt: dateOf(upload, "Initiated") };
      }
      if (textOf(root, "IsTruncated") !== "true") return;
      const next = { "key-marker": nameIn(root, requiredText(root, "NextKeyMarker")), "upload-id-marker": textOf(root, "NextUploadIdMarker") ?? "" };
      if (next["key-marker"] === marker["key-marker"] && next["upload-id-marker"] === marker["upload-id-marker"]) throw new Error(`oss: the store's listing of uploads in ${JSON.stringify(prefix)} does not come to an end`);
      marker = next;
    }
  }

  async listParts({ key, uploadId }: UploadRef): Promise<readonly Part[]> {
    const parts: Part[] = [];
    for (;;) {
      const root = await this.#partsAfter({ key, uploadId }, parts.at(-1)?.number ?? 0);
      if (root === undefined) return [];
      const page = elementsOf(root, "Part").map((part) => ({ number: Number(requiredText(part, "PartNumber")), etag: quoted(requiredText(part, "ETag")), sizeBytes: Number(requiredText(part, "Size")), checksum: textOf(part, "HashCrc64ecma") }));
      parts.push(...page.sort((a, b) => a.number - b.number));
      if (textOf(root, "IsTruncated") !== "true" || page.length === 0) return parts;
    }
  }

  whyNotRead(error: unknown): ReadFailure | undefined {
    if (!(error instanceof OssCallError)) return undefined;
    return error.isMissingKey ? "missing" : error.isChanged ? "changed" : undefined;
  }

  close(): void {
    this.#connection.close();
  }

  async #head(key: string): Promise<(ObjectFacts & { readonly checksum: string | undefined }) | undefined> {
    try {
      const { headers } = await this.#call({ operation: "HeadObject", method: "HEAD", key, successStatuses: [200] });
      return { sizeBytes: Number(requiredHeader(headers, "content-length")), modifiedAt: new Date(requiredHeader(headers, "last-modified")), etag: quoted(requiredHeader(headers, "etag")), checksum: headerOf(headers, CRC64) };
    } catch (error) {
      if (error instanceof OssCallError && error.isMissingKey) return undefined;
      throw error;
    }
  }

  async #complete({ key, uploadId }: UploadRef, parts: readonly Part[]): Promise<string> {
    const body = `<CompleteMultipartUpload>${parts.map(({ number, etag }) => `<Part><PartNumber>${number}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`).join("")}</CompleteMultipartUpload>`;
    const { document } = await this.#call({ operation: "CompleteMultipartUpload", method: "POST", key, query: { uploadId }, headers: XML, body, successStatuses: [200], isXml: true });
    return quoted(requiredText(rootOf(document), "ETag"));
  }

  /** A page of the parts of an upload; undefined when there is no such upload. */
  async #partsAfter({ key, uploadId }: UploadRef, number: number): Promise<XmlElement | undefined> {
    try {
      const { document } = await this.#call({ operation: "ListParts", method: "GET", key, query: { uploadId, "max-parts": MAX_PAGE, "part-number-marker": number }, successStatuses: [200], isXml: true });
      return rootOf(document);
    } catch (error) {
      // Completed or aborted since it was listed.
      if (error instanceof OssCallError && error.isMissingUpload) return undefined;
      throw error;
    }
  }

  async #removeBatch(keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return;
    const body = `<Delete><Quiet>false</Quiet>${keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`).join("")}</Delete>`;
    const { document } = await this.#call({ operation: "DeleteMultipleObjects", method: "POST", query: { delete: "", ...ENCODED }, headers: XML, body, successStatuses: [200], isXml: true });
    const root = rootOf(document);
    const deleted = new Set(elementsOf(root, "Deleted").map((element) => nameIn(root, requiredText(element, "Key"))));
    // One by one, the calls are tried again, and say what is wrong.
    for (const key of keys) if (!deleted.has(key)) await this.remove(key);
  }

  async #list({ prefix, delimiter, startAfter, next, limit }: KeyPageRequest & { readonly delimiter?: string }): Promise<{ readonly objects: readonly ListedObject[]; readonly directories: readonly string[]; readonly next: string | undefined }> {
    const query = {
      "list-type": 2,
      prefix,
      "max-keys": limit,
      ...ENCODED,
      ...(delimiter === undefined ? {} : { delimiter }),
      ...(startAfter === undefined ? {} : { "start-after": startAfter }),
      ...(next === undefined ? {} : { "continuation-token": next }),
    };
    const { document } = await this.#call({ operation: "ListObjectsV2", method: "GET", query, successStatuses: [200], isXml: true });
    const root = rootOf(document);
    const token = textOf(root, "NextContinuationToken");
    return {
      objects: elementsOf(root, "Contents").map((object) => ({ key: nameIn(root, requiredText(object, "Key")), sizeBytes: Number(requiredText(object, "Size")), modifiedAt: dateOf(object, "LastModified") })),
      directories: elementsOf(root, "CommonPrefixes").map((each) => nameIn(root, requiredText(each, "Prefix"))),
      // Tokens have no percent sign of their own, so one tells that they are encoded as names are.
      next: textOf(root, "IsTruncated") !== "true" || token === undefined ? undefined : token.includes("%") ? decodeURIComponent(token) : token,
    };
  }

  #copySource(key: string, ifMatch: string): Readonly<Record<string, string>> {
    return { "x-oss-copy-source": `/${this.#bucket}/${encodeURIComponent(key)}`, "x-oss-copy-source-if-match": ifMatch };
  }

  async #call(call: OssCall): Promise<OssAnswer> {
    return await this.#retried(() => this.#connection.call(call));
  }

  async #retried<T>(work: () => Promise<T>): Promise<T> {
    return await retry(work, this.policy);
  }
}

/** Content of a range that begins at or behind the end. */
const NO_CONTENT: Content = { lengthBytes: 0, etag: "", next: async () => undefined, close: () => undefined };

function encryptionHeaders({ encrypt, encryptionkeyid }: Pick<OssOptions, "encrypt" | "encryptionkeyid">): Readonly<Record<string, string>> {
  if (!encrypt) return {};
  if (!encryptionkeyid) return { "x-oss-server-side-encryption": "AES256" };
  return { "x-oss-server-side-encryption": "KMS", "x-oss-server-side-encryption-key-id": encryptionkeyid };
}

/** Without the second header the store sends the whole object when a range does not lie within it. */
function rangeHeaders({ startByte, endByte }: Range): Readonly<Record<string, string>> {
  if (startByte === 0 && endByte === Number.POSITIVE_INFINITY) return {};
  return { Range: `bytes=${startByte}-${endByte === Number.POSITIVE_INFINITY ? "" : endByte - 1}`, "x-oss-range-behavior": "standard" };
}

/** The store refuses bytes that changed on their way. */
function md5Header(bytes: Uint8Array): { readonly "Content-MD5": string } {
  return { "Content-MD5": createHash("md5").update(bytes).digest("base64") };
}

function contentOf({ headers, content }: OpenAnswer): Content {
  const lengthBytes = Number(requiredHeader(headers, "content-length"));
  return { lengthBytes, etag: quoted(requiredHeader(headers, "etag")), next: () => content.next(), close: () => content.close() };
}

/** Whether an object is made of these parts, as far as can be proven. */
function isMadeOf(object: { readonly sizeBytes: number; readonly checksum: string | undefined }, parts: readonly Part[]): boolean {
  const checked = parts.flatMap(({ checksum, sizeBytes }) => (checksum === undefined ? [] : [{ checksum, sizeBytes }]));
  return checked.length === parts.length && object.sizeBytes === sizeOf(parts) && object.checksum === combinedCrc64(checked);
}

/** A name in a document, which may be encoded. */
function nameIn(root: XmlElement, text: string): string {
  return textOf(root, "EncodingType") === "url" ? decodeURIComponent(text.replaceAll("+", " ")) : text;
}

/** A tag as headers have it; in documents some come without the quotation marks. */
function quoted(etag: string): string {
  return `"${etag.replaceAll('"', "")}"`;
}

function dateOf(element: XmlElement, name: string): Date {
  return new Date(requiredText(element, name));
}

function headerOf(headers: OssAnswer["headers"], name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
}

function requiredHeader(headers: OssAnswer["headers"], name: string): string {
  const value = headerOf(headers, name);
  if (value === undefined) throw new Error(`oss: the store's answer lacks the header ${name}`);
  return value;
}
