import { EMPTY_CRC32C, formatCrc32c, updateCrc32c } from "../../../src/storage/gcs/crc32c.ts";
import { ApiError } from "./answers.ts";

/** An object of a bucket. */
export interface StoredObject {
  readonly name: string;
  readonly generation: bigint;
  readonly metageneration: number;
  readonly content: Uint8Array;
  readonly contentType: string;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly crc32c: string;
  /** Composed objects have none. */
  readonly md5: string | undefined;
}

/** What an object is made of. */
export interface NewObject {
  readonly name: string;
  readonly content: Uint8Array;
  readonly contentType: string;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly isComposed?: boolean;
}

/** What must hold of an object, or of its absence. */
export interface Preconditions {
  readonly generationMatch: bigint | undefined;
  readonly generationNotMatch: bigint | undefined;
  readonly metagenerationMatch: bigint | undefined;
  readonly metagenerationNotMatch: bigint | undefined;
}

/** Which objects to list. */
export interface ListRequest {
  readonly prefix: string;
  readonly delimiter: string;
  readonly startOffset: string;
  readonly endOffset: string;
  readonly limit: number;
  readonly pageToken: string;
}

/** The objects of one bucket, in memory. */
export class Objects {
  readonly bucket: string;
  readonly #objects = new Map<string, StoredObject>();
  #sortedNames: readonly string[] | undefined;
  #lastGeneration = 0n;

  constructor(bucket: string) {
    this.bucket = bucket;
  }

  get names(): readonly string[] {
    this.#sortedNames ??= [...this.#objects.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return this.#sortedNames;
  }

  find(name: string): StoredObject | undefined {
    return this.#objects.get(name);
  }

  /** @param generation Exactly this one. @throws ApiError 404 */
  get(name: string, generation: bigint | undefined): StoredObject {
    const object = this.#objects.get(name);
    if (object === undefined || (generation !== undefined && object.generation !== generation)) throw new ApiError(404, "notFound", `No such object: ${this.bucket}/${name}`);
    return object;
  }

  put({ name, content, contentType, metadata, isComposed = false }: NewObject): StoredObject {
    checkName(name);
    const now = new Date();
    const object: StoredObject = {
      name,
      generation: this.#nextGeneration(),
      metageneration: 1,
      content,
      contentType,
      metadata,
      createdAt: now,
      updatedAt: now,
      crc32c: crc32cOf(content),
      md5: isComposed ? undefined : md5Of(content),
    };
    this.#set(object);
    return object;
  }

  /** Changes what is said of an object, and not its content. */
  patch(object: StoredObject, change: { readonly contentType?: string | undefined; readonly metadata?: Readonly<Record<string, string | null>> | undefined }): StoredObject {
    const merged = { ...object.metadata, ...change.metadata };
    const metadata = Object.fromEntries(Object.entries(merged).flatMap(([key, value]) => (value === null ? [] : [[key, value]])));
    const patched = { ...object, contentType: change.contentType ?? object.contentType, metadata, metageneration: object.metageneration + 1, updatedAt: new Date() };
    this.#set(patched);
    return patched;
  }

  remove(name: string): void {
    this.#objects.delete(name);
    this.#sortedNames = undefined;
  }

  /** One page; names and prefixes together are at most as many as the limit. */
  list({ prefix, delimiter, startOffset, endOffset, limit, pageToken }: ListRequest): { readonly items: readonly StoredObject[]; readonly prefixes: readonly string[]; readonly nextPageToken: string | undefined } {
    const after = decodePageToken(pageToken);
    const items: StoredObject[] = [];
    const prefixes: string[] = [];
    let last = "";
    for (const name of this.names) {
      if (!name.startsWith(prefix) || name < startOffset || (endOffset !== "" && name >= endOffset)) continue;
      const end = delimiter === "" ? -1 : name.indexOf(delimiter, prefix.length);
      const entry = end === -1 ? name : name.slice(0, end + delimiter.length);
      // A prefix was given on an earlier page, or on this one.
      if ((after !== undefined && entry <= after) || (end !== -1 && entry === prefixes.at(-1))) continue;
      if (items.length + prefixes.length === limit) return { items, prefixes, nextPageToken: encodePageToken(last) };
      last = entry;
      const object = this.#objects.get(name);
      if (end !== -1) prefixes.push(entry);
      else if (object !== undefined) items.push(object);
    }
    return { items, prefixes, nextPageToken: undefined };
  }

  /** @throws ApiError 412, or 304 for what is only read */
  check(name: string, preconditions: Preconditions, isRead = false): void {
    const object = this.#objects.get(name);
    const { generationMatch, generationNotMatch, metagenerationMatch, metagenerationNotMatch } = preconditions;
    const generation = object?.generation ?? 0n;
    const metageneration = BigInt(object?.metageneration ?? 0);
    const isMet = (generationMatch === undefined || generationMatch === generation) && (metagenerationMatch === undefined || (object !== undefined && metagenerationMatch === metageneration));
    if (!isMet) throw new ApiError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
    if (generationNotMatch === generation || metagenerationNotMatch === metageneration) throw isRead ? new ApiError(304, "notModified", "") : new ApiError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
  }

  #set(object: StoredObject): void {
    if (!this.#objects.has(object.name)) this.#sortedNames = undefined;
    this.#objects.set(object.name, object);
  }

  /** Microseconds, as the real one's look, and never the same twice. */
  #nextGeneration(): bigint {
    const now = BigInt(Date.now()) * 1000n;
    this.#lastGeneration = now > this.#lastGeneration ? now : this.#lastGeneration + 1n;
    return this.#lastGeneration;
  }
}

/** An object as the JSON API shows it. */
export function resourceOf(object: StoredObject, bucket: string): Record<string, unknown> {
  return {
    kind: "storage#object",
    id: `${bucket}/${object.name}/${object.generation}`,
    name: object.name,
    bucket,
    generation: String(object.generation),
    metageneration: String(object.metageneration),
    contentType: object.contentType,
    storageClass: "STANDARD",
    size: String(object.content.length),
    crc32c: object.crc32c,
    ...(object.md5 === undefined ? {} : { md5Hash: object.md5 }),
    etag: etagOf(object),
    timeCreated: object.createdAt.toISOString(),
    updated: object.updatedAt.toISOString(),
    ...(object.metadata === undefined || Object.keys(object.metadata).length === 0 ? {} : { metadata: object.metadata }),
  };
}

/** The headers of an object's content. */
export function mediaHeaders(object: StoredObject): Record<string, string> {
  return {
    "content-type": object.contentType,
    etag: etagOf(object),
    "last-modified": object.updatedAt.toUTCString(),
    "accept-ranges": "bytes",
    "x-goog-generation": String(object.generation),
    "x-goog-metageneration": String(object.metageneration),
    "x-goog-stored-content-encoding": "identity",
    "x-goog-stored-content-length": String(object.content.length),
    ...Object.fromEntries(Object.entries(object.metadata ?? {}).map(([key, value]) => [`x-goog-meta-${key.toLowerCase()}`, value])),
    "x-goog-hash": `crc32c=${object.crc32c}${object.md5 === undefined ? "" : `,md5=${object.md5}`}`,
  };
}

/** In the store's form. By our own function, which a test of its own proves: the SDK's takes five times as long. */
export function crc32cOf(content: Uint8Array): string {
  return formatCrc32c(updateCrc32c(EMPTY_CRC32C, content));
}

/** In the store's form. */
export function md5Of(content: Uint8Array): string {
  return new Bun.CryptoHasher("md5").update(content).digest("base64");
}

/** @throws ApiError 400 */
export function checkName(name: string): void {
  const isValid = name.length > 0 && Buffer.byteLength(name) <= 1024 && !/[\r\n]/.test(name) && name !== "." && name !== ".." && !name.startsWith(".well-known/acme-challenge/");
  if (!isValid) throw new ApiError(400, "invalid", "Disallowed unicode characters present in object name, or its length is wrong");
}

function etagOf({ generation, metageneration }: StoredObject): string {
  return `"${Buffer.from(`${generation}/${metageneration}`).toString("base64")}"`;
}

function encodePageToken(last: string): string {
  return Buffer.from(`after:${last}`).toString("base64url");
}

function decodePageToken(token: string): string | undefined {
  if (token === "") return undefined;
  const text = Buffer.from(token, "base64url").toString();
  if (!text.startsWith("after:")) throw new ApiError(400, "invalid", "Invalid page token");
  return text.slice("after:".length);
}
