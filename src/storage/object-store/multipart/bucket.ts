import type { KeyPage, KeyPageRequest } from "../children.ts";
import type { ByteSource } from "../resumed-stream.ts";
import type { RetryPolicy } from "../retry.ts";

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
  /** The store's own checksum of its bytes, where there is one besides the tag. */
  readonly checksum?: string | undefined;
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

/** What a store demands of multipart uploads. */
export interface PartLimits {
  /** The least that every part but the last must have. */
  readonly minPartBytes: number;
  /** Parts of one upload. */
  readonly maxParts: number;
}

/** What is wrong with the object that a failed call was to read. */
export type ReadFailure = "missing" | "changed";

/**
 * A bucket of a store that knows multipart uploads as S3 does, in terms of keys and bytes. Its calls have their time limits and their
 * retries in them. Nothing but "there is no such object" comes as undefined; a missing bucket is an error.
 */
export interface MultipartBucket {
  /** The driver's name, for error texts. */
  readonly name: string;
  readonly limits: PartLimits;
  /** For content that breaks off on its way. */
  readonly policy: RetryPolicy;

  /** Whether the bucket is there. @throws when it is not, or may not be looked at */
  check(): Promise<void>;

  /** @returns undefined when there is no such object; it may be that there is no such bucket */
  head(key: string): Promise<ObjectFacts | undefined>;

  /**
   * Opens an object's content. A range that begins at or behind the end is empty.
   * @param conditions `ifMatch`: only while it is still this one.
   * @returns undefined when there is no such object
   */
  open(key: string, range: Range, conditions?: { readonly ifMatch?: string }): Promise<Content | undefined>;

  /** @returns The ETag of what was stored. */
  put(key: string, bytes: Uint8Array): Promise<string>;

  /** Deletes an object; one that is not there is no failure. */
  remove(key: string): Promise<void>;

  /** Deletes objects, however many. */
  removeMany(keys: readonly string[]): Promise<void>;

  /** Lists one page of what lies below a prefix, up to a delimiter. */
  listChildren(request: KeyPageRequest): Promise<KeyPage>;

  /** Lists every object whose name begins so, page by page, in bytewise order. */
  listObjects(prefix: string): AsyncIterable<readonly ListedObject[]>;

  /** Whether any object's name begins so. */
  hasObjects(prefix: string): Promise<boolean>;

  /** Copies an object within the store. @param ifMatch The ETag that the source must have. @throws what `whyNotRead` knows when it has not */
  copy(source: string, destination: string, ifMatch: string): Promise<void>;

  createUpload(key: string): Promise<UploadRef>;

  uploadPart(upload: UploadRef, number: number, bytes: Uint8Array): Promise<Part>;

  /** Makes a part of bytes that the store has. */
  copyPart(upload: UploadRef, number: number, source: { readonly key: string; readonly range: Range; readonly ifMatch: string }): Promise<Part>;

  /**
   * Makes an object of parts, exactly of these. An answer that got lost is no failure, as long as the object can be proven to be theirs.
   * @returns The object's ETag.
   * @throws Error when somebody else wrote to the upload meanwhile
   */
  complete(upload: UploadRef, parts: readonly Part[]): Promise<string>;

  /** Gives a multipart upload up; one that is not there is no failure. */
  abort(upload: UploadRef): Promise<void>;

  /** Lists the multipart uploads whose keys begin so. */
  listUploads(prefix: string): AsyncIterable<ListedUpload>;

  /** The parts of a multipart upload in order of their numbers; none when there is no such upload. */
  listParts(upload: UploadRef): Promise<readonly Part[]>;

  /** What a failure of `copy` or `copyPart` says of their source; undefined when it is about something else. */
  whyNotRead(error: unknown): ReadFailure | undefined;

  /** Gives up what is under way and closes all connections. */
  close(): void;
}

/** All bytes of some parts. */
export function sizeOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
