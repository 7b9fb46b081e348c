import { createHash, randomBytes } from "node:crypto";
import { crc64 } from "./crc64.ts";
import { OssRefusal, refusals } from "./error.ts";

const MIN_PART_BYTES = 100 * 1024;
const MAX_PARTS = 10_000;
const MAX_COPY_BYTES = 5 * 1024 ** 3;

/** An object. */
export interface StoredObject {
  readonly key: string;
  /** Its bytes, in pieces that nobody changes. */
  readonly pieces: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** With its quotation marks. */
  readonly etag: string;
  readonly crc64: string;
  readonly modifiedAt: Date;
  readonly type: "Normal" | "Multipart" | "Appendable";
  /** Headers that are given back with it: content-type, x-oss-meta-…, x-oss-server-side-encryption. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** A part of an upload. */
export interface StoredPart extends Pick<StoredObject, "pieces" | "sizeBytes" | "etag" | "crc64" | "modifiedAt"> {
  readonly number: number;
}

/** A multipart upload that was not completed. */
export interface StoredUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly initiatedAt: Date;
  readonly attributes: Readonly<Record<string, string>>;
  readonly parts: Map<number, StoredPart>;
}

/** A bucket in memory, with the rules of the service. */
export class BucketStore {
  readonly name: string;
  readonly #objects = new Map<string, StoredObject>();
  readonly #uploads = new Map<string, StoredUpload>();

  constructor(name: string) {
    this.name = name;
  }

  /** Names in the order of the service: by their bytes. */
  get keys(): readonly string[] {
    return [...this.#objects.keys()].sort(compareBytes);
  }

  get uploads(): readonly StoredUpload[] {
    return [...this.#uploads.values()].sort((a, b) => compareBytes(a.key, b.key) || compareBytes(a.uploadId, b.uploadId));
  }

  find(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  get(key: string): StoredObject {
    const object = this.#objects.get(key);
    if (object === undefined) throw refusals.noSuchKey();
    return object;
  }

  put(key: string, bytes: Uint8Array, attributes: Readonly<Record<string, string>>): StoredObject {
    return this.#store({ key, pieces: [bytes], etag: `"${md5Of([bytes])}"`, type: "Normal", attributes });
  }

  delete(key: string): void {
    this.#objects.delete(key);
  }

  copy(source: StoredObject, key: string, attributes: Readonly<Record<string, string>>): StoredObject {
    if (source.sizeBytes > MAX_COPY_BYTES) throw new OssRefusal(400, "InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source.");
    const { "x-oss-server-side-encryption": _, "x-oss-server-side-encryption-key-id": __, ...kept } = source.attributes;
    return this.#store({ key, pieces: source.pieces, etag: source.etag, type: source.type, attributes: { ...kept, ...attributes } });
  }

  /** @param position Where the caller believes the end to be. */
  append(key: string, position: number, { bytes, attributes }: { readonly bytes: Uint8Array; readonly attributes: Readonly<Record<string, string>> }): StoredObject {
    const before = this.#objects.get(key);
    if (before !== undefined && before.type !== "Appendable") throw new OssRefusal(409, "ObjectNotAppendable", "The object is not appendable");
    const sizeBytes = before?.sizeBytes ?? 0;
    if (position !== sizeBytes) throw new OssRefusal(409, "PositionNotEqualToLength", "Position is not equal to file length", { "x-oss-next-append-position": String(sizeBytes) });
    const pieces = [...(before?.pieces ?? []), bytes];
    return this.#store({ key, pieces, etag: `"${md5Of(pieces)}"`, type: "Appendable", attributes: before?.attributes ?? attributes });
  }

  initiate(key: string, attributes: Readonly<Record<string, string>>, initiatedAt = new Date()): StoredUpload {
    const upload: StoredUpload = { key, uploadId: randomBytes(16).toString("hex").toUpperCase(), initiatedAt, attributes, parts: new Map() };
    this.#uploads.set(upload.uploadId, upload);
    return upload;
  }

  upload(key: string, uploadId: string): StoredUpload {
    const upload = this.#uploads.get(uploadId);
    if (upload === undefined || upload.key !== key) throw refusals.noSuchUpload();
    return upload;
  }

  putPart(upload: StoredUpload, partNumber: string, pieces: readonly Uint8Array[]): StoredPart {
    const number = Number(partNumber);
    if (!Number.isInteger(number) || number < 1 || number > MAX_PARTS) throw refusals.invalidArgument("Part number must be an integer between 1 and 10000, inclusive.");
    const part: StoredPart = { number, pieces, sizeBytes: sizeOf(pieces), etag: `"${md5Of(pieces)}"`, crc64: crc64(pieces), modifiedAt: new Date() };
    upload.parts.set(number, part);
    return part;
  }

  complete(upload: StoredUpload, listed: readonly { readonly number: number; readonly etag: string }[]): StoredObject {
    if (listed.length === 0) throw refusals.malformedXml();
    const parts = listed.map(({ number, etag }, index) => {
      if (number <= (listed[index - 1]?.number ?? 0)) throw new OssRefusal(400, "InvalidPartOrder", "The list of parts was not in ascending order. Parts list must be specified in order by part number.");
      const part = upload.parts.get(number);
      if (part === undefined || unquoted(part.etag) !== unquoted(etag)) {
        throw new OssRefusal(400, "InvalidPart", "One or more of the specified parts could not be found or the specified entity tag might not have matched the part's entity tag.");
      }
      return part;
    });
    if (parts.slice(0, -1).some(({ sizeBytes }) => sizeBytes < MIN_PART_BYTES)) throw new OssRefusal(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.");
    this.#uploads.delete(upload.uploadId);
    // The service does not say how it makes these tags: nobody may count on more than that they differ.
    const etag = `"${md5Of(parts.map((part) => Buffer.from(part.etag)))}-${parts.length}"`;
    return this.#store({ key: upload.key, pieces: parts.flatMap(({ pieces }) => pieces), etag, type: "Multipart", attributes: upload.attributes });
  }

  abort(upload: StoredUpload): void {
    this.#uploads.delete(upload.uploadId);
  }

  #store(object: Omit<StoredObject, "sizeBytes" | "crc64" | "modifiedAt">): StoredObject {
    checkObjectName(object.key);
    const stored = { ...object, sizeBytes: sizeOf(object.pieces), crc64: crc64(object.pieces), modifiedAt: new Date() };
    this.#objects.set(object.key, stored);
    return stored;
  }
}

/** @throws OssRefusal for names that the service does not take */
export function checkObjectName(key: string): void {
  if (key === "" || Buffer.byteLength(key) > 1023 || /^[/\\]/.test(key)) throw new OssRefusal(400, "InvalidObjectName", "The specified object is not valid.");
}

/** Bytes of an object from `start` up to, but not with, `end`; what is in one piece is not copied. */
export function bytesBetween(pieces: readonly Uint8Array[], start: number, end: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  let offset = 0;
  for (const piece of pieces) {
    const part = piece.subarray(Math.max(0, start - offset), Math.max(0, end - offset));
    if (part.length > 0) found.push(part);
    offset += piece.length;
  }
  return found;
}

/** Compares as the service orders names. */
export function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function sizeOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

function md5Of(pieces: readonly Uint8Array[]): string {
  const hash = createHash("md5");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex").toUpperCase();
}

function unquoted(etag: string): string {
  return etag.replace(/^"|"$/g, "").toUpperCase();
}
