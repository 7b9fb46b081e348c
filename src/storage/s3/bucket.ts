import type { ListObjectsV2CommandOutput, ObjectCannedACL, PutObjectCommandInput, S3Client, ServerSideEncryption, StorageClass } from "@aws-sdk/client-s3";
import type { KeyPage, KeyPageRequest } from "../object-store/children.ts";
import { StoreConnectionError } from "../object-store/connection-error.ts";
import { ObjectKeys } from "../object-store/keys.ts";
import { type Content, type ListedObject, type ListedUpload, type MultipartBucket, type ObjectFacts, type Part, type Range, type ReadFailure, type UploadRef } from "../object-store/multipart/bucket.ts";
import { type RetryPolicy, retry } from "../object-store/retry.ts";
import type { S3Connection, S3Sdk } from "./client.ts";
import { callFailure, isOverload, isTransient, S3, S3CallError } from "./errors.ts";
import { type Listing, readListing } from "./listing.ts";
import { isMadeOf } from "./made-of.ts";
import type { S3Options } from "./options.ts";
import type { Download } from "./transport.ts";

const MIB = 1024 * 1024;
const OCTET_STREAM = "application/octet-stream";
/** What one call deletes at most. */
const MAX_DELETIONS = 1000;
const MAX_PAGE = 1000;

/** The calls to one bucket, each with its time limits and retries. They reject with S3CallError, or with StorageFullError. */
export class S3Bucket implements MultipartBucket {
  readonly name = S3;
  readonly limits = { minPartBytes: 5 * MIB, maxParts: 10_000 };
  // Calls have been tried again when they fail: what is left to be mended are connections that break while content comes.
  readonly policy: RetryPolicy;
  readonly #sdk: S3Sdk;
  readonly #client: S3Client;
  readonly #name: string;
  readonly #maxRetries: number;
  /** What the names of all our objects begin with. */
  readonly #rootPrefix: string;
  /** What every new object is given. */
  readonly #attributes: Pick<PutObjectCommandInput, "ContentType" | "ACL" | "StorageClass" | "ServerSideEncryption" | "SSEKMSKeyId">;
  readonly #closed = new AbortController();
  #deletesInBatches = true;
  #knowsCopySources = true;

  constructor({ sdk, client }: S3Connection, options: S3Options) {
    this.#sdk = sdk;
    this.#client = client;
    this.#name = options.bucket;
    this.#maxRetries = options.maxretries;
    this.#rootPrefix = new ObjectKeys(options.rootdirectory).prefix("/");
    this.#attributes = attributesOf(options);
    this.policy = { maxRetries: options.maxretries, isTransient: (error) => error instanceof StoreConnectionError, signal: this.#closed.signal };
  }

  async check(): Promise<void> {
    // Who may list only their own part of the bucket pass, too.
    await this.hasObjects(this.#rootPrefix);
  }

  async head(key: string): Promise<ObjectFacts | undefined> {
    try {
      const output = await this.#call("HeadObject", key, (signal) => this.#client.send(new this.#sdk.HeadObjectCommand({ Bucket: this.#name, Key: key }), signal));
      return { sizeBytes: output.ContentLength ?? 0, modifiedAt: output.LastModified ?? new Date(0), etag: output.ETag ?? "" };
    } catch (error) {
      if (error instanceof S3CallError && error.isMissingKey) return undefined;
      throw error;
    }
  }

  async open(key: string, range: Range, { ifMatch }: { readonly ifMatch?: string } = {}): Promise<Content | undefined> {
    try {
      return await this.#open(key, range, ifMatch);
    } catch (error) {
      if (!(error instanceof S3CallError)) throw error;
      if (error.isMissingKey) return undefined;
      if (error.isPastEnd) return NO_CONTENT;
      throw error;
    }
  }

  async put(key: string, bytes: Uint8Array): Promise<string> {
    const output = await this.#call("PutObject", key, (signal) => this.#client.send(new this.#sdk.PutObjectCommand({ Bucket: this.#name, Key: key, Body: bytes, ...this.#attributes }), signal));
    return output.ETag ?? "";
  }

  async remove(key: string): Promise<void> {
    try {
      await this.#call("DeleteObject", key, (signal) => this.#client.send(new this.#sdk.DeleteObjectCommand({ Bucket: this.#name, Key: key }), signal));
    } catch (error) {
      if (!(error instanceof S3CallError && error.isMissingKey)) throw error;
    }
  }

  async removeMany(keys: readonly string[]): Promise<void> {
    for (let start = 0; start < keys.length; start += MAX_DELETIONS) await this.#removeSome(keys.slice(start, start + MAX_DELETIONS));
  }

  async listChildren(request: KeyPageRequest): Promise<KeyPage> {
    const output = await this.#list({ delimiter: "/", ...request });
    return { keys: output.objects.map(({ key }) => key).filter((key) => key !== request.prefix), directories: output.directories, next: output.next };
  }

  async *listObjects(prefix: string): AsyncGenerator<readonly ListedObject[]> {
    let next: string | undefined;
    do {
      const page = await this.#list({ prefix, limit: MAX_PAGE, ...(next === undefined ? {} : { next }) });
      if (page.objects.length > 0) yield page.objects;
      if (page.next !== undefined && page.next === next) throw new Error(`s3: the store's listing of ${JSON.stringify(prefix)} does not come to an end`);
      next = page.next;
    } while (next !== undefined);
  }

  async hasObjects(prefix: string): Promise<boolean> {
    const { objects } = await this.#list({ prefix, limit: 1 });
    return objects.length > 0;
  }

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

  async complete(upload: UploadRef, parts: readonly Part[]): Promise<string> {
    try {
      const etag = await this.#complete(upload, parts);
      // Ceph leaves it empty.
      return etag !== "" ? etag : await this.#etagOfMade(upload, parts);
    } catch (error) {
      if (!(error instanceof S3CallError)) throw error;
      if (error.isForeignParts) throw new Error(`s3: ${upload.key} was written to by somebody else, too; its bytes are given up`, { cause: error });
      // It may be that the answer got lost and it was made at the first attempt.
      const made = error.isMissingUpload ? await this.head(upload.key) : undefined;
      if (made === undefined || !isMadeOf(made, parts)) throw error;
      return made.etag;
    }
  }

  async abort(upload: UploadRef): Promise<void> {
    try {
      await this.#call("AbortMultipartUpload", upload.key, (signal) => this.#client.send(new this.#sdk.AbortMultipartUploadCommand(this.#uploadInput(upload)), signal));
    } catch (error) {
      if (!(error instanceof S3CallError && (error.isMissingUpload || error.isMissingKey))) throw error;
    }
  }

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

  async listParts(upload: UploadRef): Promise<readonly Part[]> {
    try {
      return await this.#listParts(upload);
    } catch (error) {
      // Completed or aborted since it was listed.
      if (error instanceof S3CallError && error.isMissingUpload) return [];
      throw error;
    }
  }

  whyNotRead(error: unknown): ReadFailure | undefined {
    if (!(error instanceof S3CallError)) return undefined;
    return error.isMissingKey ? "missing" : error.isChanged ? "changed" : undefined;
  }

  close(): void {
    this.#closed.abort(new Error("s3: the driver was closed"));
    this.#client.destroy();
  }

  async #open(key: string, { startByte, endByte }: Range, ifMatch: string | undefined): Promise<Content> {
    const isWhole = startByte === 0 && endByte === Number.POSITIVE_INFINITY;
    const input = {
      Bucket: this.#name,
      Key: key,
      ...(isWhole ? {} : { Range: `bytes=${startByte}-${endByte === Number.POSITIVE_INFINITY ? "" : endByte - 1}` }),
      ...(ifMatch === undefined ? {} : { IfMatch: ifMatch }),
    };
    const download: Download = {};
    const options = { abortSignal: this.#closed.signal, download };
    const output = await this.#call("GetObject", key, () => this.#client.send(new this.#sdk.GetObjectCommand(input), options));
    const { content } = required(download.opened, "content");
    if (startByte > 0 && output.ContentRange === undefined) {
      content.close();
      throw new Error(`s3: the store ignored the range that was asked of ${key}`);
    }
    return { lengthBytes: output.ContentLength ?? 0, etag: output.ETag ?? "", next: () => content.next(), close: () => content.close() };
  }

  async #complete(upload: UploadRef, parts: readonly Part[]): Promise<string> {
    const input = { ...this.#uploadInput(upload), MultipartUpload: { Parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) } };
    const output = await this.#call("CompleteMultipartUpload", upload.key, (signal) => this.#client.send(new this.#sdk.CompleteMultipartUploadCommand(input), signal));
    return output.ETag ?? "";
  }

  async #etagOfMade({ key }: UploadRef, parts: readonly Part[]): Promise<string> {
    const made = await this.head(key);
    if (made === undefined || !isMadeOf(made, parts)) throw new Error(`s3: ${key} was written to by somebody else at the same time`);
    return made.etag;
  }

  async #listParts(upload: UploadRef): Promise<readonly Part[]> {
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

  /** Deletes up to 1000 objects, in one call where the store can. */
  async #removeSome(keys: readonly string[]): Promise<void> {
    const [only] = keys;
    if (keys.length === 1 && only !== undefined) return await this.remove(only);
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

/** Content of a range that begins at or behind the end. */
const NO_CONTENT: Content = { lengthBytes: 0, etag: "", next: async () => undefined, close: () => undefined };

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
