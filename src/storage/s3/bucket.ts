import type { Readable } from "node:stream";
import type { ListObjectsV2CommandOutput, ObjectCannedACL, PutObjectCommandInput, S3Client, ServerSideEncryption, StorageClass } from "@aws-sdk/client-s3";
import type { KeyPage, KeyPageRequest } from "../object-store/children.ts";
import type { ByteSource } from "../object-store/resumed-stream.ts";
import { retry } from "../object-store/retry.ts";
import type { S3Connection, S3Sdk } from "./client.ts";
import { callFailure, isOverload, isTransient, S3CallError } from "./errors.ts";
import { type Listing, readListing } from "./listing.ts";
import type { S3Options } from "./options.ts";
import { StoreConnectionError } from "./transport.ts";

const OCTET_STREAM = "application/octet-stream";
/** What one call deletes at most. */
export const MAX_DELETIONS = 1000;
const MAX_PAGE = 1000;

/** An object as HEAD and lists tell of it. */
export interface ObjectFacts {
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  readonly etag: string;
}

/** An object in a list. */
export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
}

/** A multipart upload. */
export interface UploadRef {
  readonly key: string;
  readonly uploadId: string;
}

/** A multipart upload in a list. */
export interface ListedUpload extends UploadRef {
  readonly startedAt: Date;
}

/** A part of a multipart upload. */
export interface Part {
  readonly number: number;
  readonly etag: string;
  readonly sizeBytes: number;
}

/** Content on its way, and what it is of. */
export interface Content extends ByteSource {
  readonly lengthBytes: number;
  readonly etag: string;
}

/** Bytes of an object, `endByte` exclusive. */
export interface Range {
  readonly startByte: number;
  readonly endByte: number;
}

/**
 * The calls to one bucket, each with its time limits and retries, in terms of keys and bytes. They reject with S3CallError, or with
 * StorageFullError when a quota is used up.
 */
export class Bucket {
  readonly #sdk: S3Sdk;
  readonly #client: S3Client;
  readonly #name: string;
  readonly #silenceMs: number;
  readonly #maxRetries: number;
  /** What every new object is given. */
  readonly #attributes: Pick<PutObjectCommandInput, "ContentType" | "ACL" | "StorageClass" | "ServerSideEncryption" | "SSEKMSKeyId">;
  readonly #closed = new AbortController();
  #deletesInBatches = true;
  #knowsCopySources = true;

  constructor({ sdk, client }: S3Connection, options: S3Options) {
    this.#sdk = sdk;
    this.#client = client;
    this.#name = options.bucket;
    this.#silenceMs = options.timeout;
    this.#maxRetries = options.maxretries;
    this.#attributes = attributesOf(options);
  }

  /** Whether the bucket is there. @throws S3CallError when it is not, or may not be looked at */
  async check(): Promise<void> {
    await this.#call("HeadBucket", "", (signal) => this.#client.send(new this.#sdk.HeadBucketCommand({ Bucket: this.#name }), signal));
  }

  /** @returns undefined when there is no such object, or no such bucket, which look the same here */
  async head(key: string): Promise<ObjectFacts | undefined> {
    try {
      const output = await this.#call("HeadObject", key, (signal) => this.#client.send(new this.#sdk.HeadObjectCommand({ Bucket: this.#name, Key: key }), signal));
      return { sizeBytes: output.ContentLength ?? 0, modifiedAt: output.LastModified ?? new Date(0), etag: output.ETag ?? "" };
    } catch (error) {
      if (error instanceof S3CallError && error.isMissingKey) return undefined;
      throw error;
    }
  }

  /** Opens an object's content, from `startByte` on. @param conditions `ifMatch`: only while it is still this one. */
  async open(key: string, range: Range, conditions: { readonly ifMatch?: string } = {}): Promise<Content> {
    const { startByte, endByte } = range;
    const isWhole = startByte === 0 && endByte === Number.POSITIVE_INFINITY;
    const input = {
      Bucket: this.#name,
      Key: key,
      ...(isWhole ? {} : { Range: `bytes=${startByte}-${endByte === Number.POSITIVE_INFINITY ? "" : endByte - 1}` }),
      ...(conditions.ifMatch === undefined ? {} : { IfMatch: conditions.ifMatch }),
    };
    const output = await this.#call("GetObject", key, (signal) => this.#client.send(new this.#sdk.GetObjectCommand(input), signal));
    const body = output.Body as Readable | undefined;
    if (body === undefined) throw new Error("s3: the SDK gave no body to an object's content");
    if (startByte > 0 && output.ContentRange === undefined) {
      body.destroy();
      throw new Error(`s3: the store ignored the range that was asked of ${key}`);
    }
    return new ContentReader(body, { lengthBytes: output.ContentLength ?? 0, etag: output.ETag ?? "" }, this.#silenceMs);
  }

  /** @returns The ETag of what was stored. */
  async put(key: string, bytes: Uint8Array): Promise<string> {
    const output = await this.#call("PutObject", key, (signal) => this.#client.send(new this.#sdk.PutObjectCommand({ Bucket: this.#name, Key: key, Body: bytes, ...this.#attributes }), signal));
    return output.ETag ?? "";
  }

  /** Deletes an object; one that is not there is no failure. */
  async remove(key: string): Promise<void> {
    try {
      await this.#call("DeleteObject", key, (signal) => this.#client.send(new this.#sdk.DeleteObjectCommand({ Bucket: this.#name, Key: key }), signal));
    } catch (error) {
      if (!(error instanceof S3CallError && error.isMissingKey)) throw error;
    }
  }

  /** Deletes up to 1000 objects, in one call where the store can. */
  async removeMany(keys: readonly string[]): Promise<void> {
    const [only] = keys;
    if (only === undefined) return;
    if (keys.length === 1) return await this.remove(only);
    if (this.#deletesInBatches) {
      try {
        return await this.#removeBatch(keys);
      } catch (error) {
        if (!(error instanceof S3CallError && error.isRefusal)) throw error;
        this.#deletesInBatches = false;
      }
    }
    for (const key of keys) await this.remove(key);
  }

  /** Lists one page of what lies below a prefix, up to a delimiter. */
  async listChildren(request: KeyPageRequest): Promise<KeyPage> {
    const output = await this.#list({ delimiter: "/", ...request });
    return { keys: output.objects.map(({ key }) => key).filter((key) => key !== request.prefix), directories: output.directories, next: output.next };
  }

  /** Lists every object whose name begins so, page by page. */
  async *listObjects(prefix: string): AsyncGenerator<readonly ListedObject[]> {
    let next: string | undefined;
    do {
      const page = await this.#list({ prefix, limit: MAX_PAGE, ...(next === undefined ? {} : { next }) });
      if (page.objects.length > 0) yield page.objects;
      if (page.next !== undefined && page.next === next) throw new Error(`s3: the store's listing of ${JSON.stringify(prefix)} does not come to an end`);
      next = page.next;
    } while (next !== undefined);
  }

  /** Whether any object's name begins so. */
  async hasObjects(prefix: string): Promise<boolean> {
    const { objects } = await this.#list({ prefix, limit: 1 });
    return objects.length > 0;
  }

  /** Copies an object of up to 5 GiB within the store. */
  async copy(source: string, destination: string, ifMatch: string): Promise<void> {
    const input = { Bucket: this.#name, Key: destination, CopySource: this.#copySource(source), ...this.#attributes };
    await this.#copyIfMatch({ key: source, ifMatch }, (condition) =>
      this.#call("CopyObject", destination, (signal) => this.#client.send(new this.#sdk.CopyObjectCommand({ ...input, ...condition }), signal)),
    );
  }

  async createUpload(key: string): Promise<UploadRef> {
    const output = await this.#call("CreateMultipartUpload", key, (signal) => this.#client.send(new this.#sdk.CreateMultipartUploadCommand({ Bucket: this.#name, Key: key, ...this.#attributes }), signal));
    return { key, uploadId: required(output.UploadId, "UploadId") };
  }

  async uploadPart(upload: UploadRef, number: number, bytes: Uint8Array): Promise<Part> {
    const input = { ...this.#uploadInput(upload), PartNumber: number, Body: bytes };
    const output = await this.#call("UploadPart", upload.key, (signal) => this.#client.send(new this.#sdk.UploadPartCommand(input), signal));
    return { number, etag: required(output.ETag, "ETag"), sizeBytes: bytes.length };
  }

  /** Makes a part of bytes that the store has. */
  async copyPart(upload: UploadRef, number: number, source: { readonly key: string; readonly range: Range; readonly ifMatch: string }): Promise<Part> {
    const { startByte, endByte } = source.range;
    const input = {
      ...this.#uploadInput(upload),
      PartNumber: number,
      CopySource: this.#copySource(source.key),
      CopySourceRange: `bytes=${startByte}-${endByte - 1}`,
    };
    const output = await this.#copyIfMatch(source, (condition) =>
      this.#call("UploadPartCopy", upload.key, (signal) => this.#client.send(new this.#sdk.UploadPartCopyCommand({ ...input, ...condition }), signal)),
    );
    return { number, etag: required(output.CopyPartResult?.ETag, "ETag"), sizeBytes: endByte - startByte };
  }

  /** Makes an object of parts. @returns Its ETag. */
  async complete(upload: UploadRef, parts: readonly Part[]): Promise<string> {
    const input = { ...this.#uploadInput(upload), MultipartUpload: { Parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) } };
    const output = await this.#call("CompleteMultipartUpload", upload.key, (signal) => this.#client.send(new this.#sdk.CompleteMultipartUploadCommand(input), signal));
    return output.ETag ?? "";
  }

  /** Gives a multipart upload up; one that is not there is no failure. */
  async abort(upload: UploadRef): Promise<void> {
    try {
      await this.#call("AbortMultipartUpload", upload.key, (signal) => this.#client.send(new this.#sdk.AbortMultipartUploadCommand(this.#uploadInput(upload)), signal));
    } catch (error) {
      if (!(error instanceof S3CallError && (error.isMissingUpload || error.isMissingKey))) throw error;
    }
  }

  /** Lists the multipart uploads whose keys begin so. */
  async *listUploads(prefix: string): AsyncGenerator<ListedUpload> {
    let marker: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } = {};
    for (;;) {
      const input = { Bucket: this.#name, Prefix: prefix, ...marker };
      const output = await this.#call("ListMultipartUploads", prefix, (signal) => this.#client.send(new this.#sdk.ListMultipartUploadsCommand(input), signal));
      for (const { Key, UploadId, Initiated } of output.Uploads ?? []) {
        // Some stores take the prefix for a hint.
        if (Key !== undefined && UploadId !== undefined && Key.startsWith(prefix)) yield { key: Key, uploadId: UploadId, startedAt: Initiated ?? new Date(0) };
      }
      const { NextKeyMarker, NextUploadIdMarker } = output;
      const isStuck = NextKeyMarker === marker.KeyMarker && NextUploadIdMarker === marker.UploadIdMarker;
      if (output.IsTruncated !== true || isStuck) return;
      marker = { ...(NextKeyMarker ? { KeyMarker: NextKeyMarker } : {}), ...(NextUploadIdMarker ? { UploadIdMarker: NextUploadIdMarker } : {}) };
    }
  }

  /** The parts of a multipart upload in order of their numbers. */
  async listParts(upload: UploadRef): Promise<readonly Part[]> {
    const parts = new Map<number, Part>();
    let marker: string | undefined;
    for (;;) {
      const input = { ...this.#uploadInput(upload), ...(marker === undefined ? {} : { PartNumberMarker: marker }) };
      const output = await this.#call("ListParts", upload.key, (signal) => this.#client.send(new this.#sdk.ListPartsCommand(input), signal));
      const known = parts.size;
      for (const { PartNumber, ETag, Size } of output.Parts ?? []) if (PartNumber !== undefined) parts.set(PartNumber, { number: PartNumber, etag: ETag ?? "", sizeBytes: Size ?? 0 });
      // Some stores say "truncated" of a last page for ever.
      if (output.IsTruncated !== true || parts.size === known) return [...parts.values()].sort((a, b) => a.number - b.number);
      marker = output.NextPartNumberMarker ?? String(Math.max(...parts.keys()));
    }
  }

  /** Gives up what is under way and closes all connections. */
  close(): void {
    this.#closed.abort(new Error("s3: the driver was closed"));
    this.#client.destroy();
  }

  /**
   * Copies only while the source is the one that is meant. Swift refuses the tags of objects made of parts, which it gave out itself:
   * there we look before and after.
   */
  async #copyIfMatch<T>({ key, ifMatch }: { readonly key: string; readonly ifMatch: string }, copy: (condition: { readonly CopySourceIfMatch?: string }) => Promise<T>): Promise<T> {
    if (this.#knowsCopySources) {
      try {
        return await copy({ CopySourceIfMatch: ifMatch });
      } catch (error) {
        if (!(error instanceof S3CallError && error.isChanged) || (await this.head(key))?.etag !== ifMatch) throw error;
        this.#knowsCopySources = false;
      }
    }
    const result = await copy({});
    if ((await this.head(key))?.etag !== ifMatch) throw new Error(`s3: ${key} was changed while it was copied`);
    return result;
  }

  async #removeBatch(keys: readonly string[]): Promise<void> {
    const input = { Bucket: this.#name, Delete: { Objects: keys.map((Key) => ({ Key })), Quiet: true } };
    const output = await this.#call("DeleteObjects", keys[0] ?? "", (signal) => this.#client.send(new this.#sdk.DeleteObjectsCommand(input), signal));
    const failed = (output.Errors ?? []).filter(({ Code }) => Code !== "NoSuchKey");
    // One by one, the calls are tried again, and say what is wrong.
    for (const { Key } of failed) if (Key !== undefined) await this.remove(Key);
  }

  async #list(request: KeyPageRequest & { readonly delimiter?: string }): Promise<Listing> {
    const { prefix, delimiter, startAfter, next, limit } = request;
    const command = new this.#sdk.ListObjectsV2Command({
      Bucket: this.#name,
      Prefix: prefix,
      MaxKeys: limit,
      ...(delimiter === undefined ? {} : { Delimiter: delimiter }),
      ...(startAfter === undefined ? {} : { StartAfter: startAfter }),
      ...(next === undefined ? {} : { ContinuationToken: next }),
    });
    const listing = readListing(command);
    const output = await this.#call("ListObjectsV2", prefix, (signal) => this.#client.send(command, signal));
    return listing() ?? listingOf(output);
  }

  async #call<T>(operation: string, key: string, send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>): Promise<T> {
    const { signal } = this.#closed;
    let attempts = 0;
    return await retry(
      async () => {
        attempts++;
        try {
          return await send({ abortSignal: signal });
        } catch (error) {
          throw callFailure(error, { operation, target: key === "" ? `bucket ${this.#name}` : `${this.#name}/${key}`, attempts });
        }
      },
      { maxRetries: this.#maxRetries, isTransient, isOverload, signal },
    );
  }

  #uploadInput({ key, uploadId }: UploadRef): { readonly Bucket: string; readonly Key: string; readonly UploadId: string } {
    return { Bucket: this.#name, Key: key, UploadId: uploadId };
  }

  #copySource(key: string): string {
    return `${this.#name}/${key.split("/").map(encodeURIComponent).join("/")}`;
  }
}

/** Reads an answer's body, and gives up when the store falls silent. That nobody reads is no silence. */
class ContentReader implements Content {
  readonly lengthBytes: number;
  readonly etag: string;
  readonly #body: Readable;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #silenceMs: number;

  constructor(body: Readable, facts: { readonly lengthBytes: number; readonly etag: string }, silenceMs: number) {
    this.#body = body;
    this.#chunks = (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    this.lengthBytes = facts.lengthBytes;
    this.etag = facts.etag;
    this.#silenceMs = silenceMs;
  }

  async next(): Promise<Uint8Array | undefined> {
    const timer = setTimeout(() => this.#body.destroy(new StoreConnectionError(`the store sent nothing for ${this.#silenceMs} ms`, "ETIMEDOUT")), this.#silenceMs);
    try {
      const { done, value } = await this.#chunks.next();
      return done === true ? undefined : value;
    } catch (error) {
      if (error instanceof StoreConnectionError) throw error;
      throw new StoreConnectionError("the connection broke while content came", "ECONNRESET", error);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#body.destroy();
  }
}

function attributesOf(options: S3Options): Pick<PutObjectCommandInput, "ContentType" | "ACL" | "StorageClass" | "ServerSideEncryption" | "SSEKMSKeyId"> {
  const isKms = options.keyid !== undefined && options.keyid !== "";
  return {
    ContentType: OCTET_STREAM,
    // Private is what objects are anyway; buckets that know no access lists refuse the word.
    ...(options.objectacl === "private" ? {} : { ACL: options.objectacl as ObjectCannedACL }),
    ...(options.storageclass === "NONE" ? {} : { StorageClass: options.storageclass as StorageClass }),
    ...(isKms ? { ServerSideEncryption: "aws:kms" satisfies ServerSideEncryption, SSEKMSKeyId: options.keyid } : options.encrypt ? { ServerSideEncryption: "AES256" satisfies ServerSideEncryption } : {}),
  };
}

function listingOf({ Contents = [], CommonPrefixes = [], IsTruncated, NextContinuationToken }: ListObjectsV2CommandOutput): Listing {
  return {
    objects: Contents.flatMap(({ Key, Size, LastModified }) => (Key === undefined ? [] : [{ key: Key, sizeBytes: Size ?? 0, modifiedAt: LastModified ?? new Date(0) }])),
    directories: CommonPrefixes.flatMap(({ Prefix }) => (Prefix === undefined ? [] : [Prefix])),
    next: IsTruncated === true ? NextContinuationToken : undefined,
  };
}

function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`s3: the store's answer lacks ${name}`);
  return value;
}
