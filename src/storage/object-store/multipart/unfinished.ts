import { createHash } from "node:crypto";
import { mapConcurrently } from "../../../lib/concurrently.ts";
import { type MultipartBucket, type ObjectFacts, type Part, type PartLimits, sizeOf, type UploadRef } from "./bucket.ts";

/** Uploads of one key that are looked at; more than one is the trace of a race or a crash. */
const MAX_UPLOADS = 16;

/*
 * A file that is being written is a multipart upload of its key, as distribution leaves it, so that either side goes on with what the
 * other began. Parts have the chunk size. What does not fill a part is stored at the end of a request as a last, shorter part. Where
 * that is shorter than the store takes before others, or the numbers of parts run short, its bytes are also put beside it, under a name
 * that no path has, as stores do not give the bytes of parts back; the next request sends the part again, filled up. Where they are
 * missing (distribution wrote the part), the upload is made an object, and the next one begins with a copy of that, as distribution
 * does it.
 */

/** Beside which object the bytes of an unfinished last part are. No path has a tilde. */
export function tailKey(key: string): string {
  return `${key}~tail`;
}

/** Whether the last part of an upload can stay as it is when more come: long enough, and numbers to spare. */
export function canStay(last: { readonly number: number; readonly sizeBytes: number }, partBytes: number, limits: PartLimits): boolean {
  return last.sizeBytes >= partBytes || (last.sizeBytes >= limits.minPartBytes && last.number <= limits.maxParts / 2);
}

/** What is stored of a file that somebody wants to write to. */
export interface Unfinished {
  /** Where the bytes are: in parts, in an object that was committed, or nowhere. */
  readonly kind: "nothing" | "parts" | "object";
  readonly sizeBytes: number;
  /** The upload with the most bytes; may have none. */
  readonly upload: UploadRef | undefined;
  /** Its parts from number 1 on, without a gap. */
  readonly parts: readonly Part[];
  /** There are parts behind a gap: a crash left them, and stores cannot delete them. */
  readonly hasStrayParts: boolean;
  readonly object: ObjectFacts | undefined;
  /** Further uploads of the key. */
  readonly others: readonly UploadRef[];
}

/** A file of which nothing is stored. */
export const NOTHING: Unfinished = { kind: "nothing", sizeBytes: 0, upload: undefined, parts: [], hasStrayParts: false, object: undefined, others: [] };

/** Finds out what is stored of a file, whether distribution wrote it or we. */
export async function readUnfinished(bucket: MultipartBucket, key: string): Promise<Unfinished> {
  const [object, refs] = await Promise.all([bucket.head(key), uploadsOf(bucket, key)]);
  if (object === undefined && refs.length === 0) return NOTHING;
  const uploads = await mapConcurrently(refs, 4, async (upload) => ({ upload, ...withoutGap(await bucket.listParts(upload)) }));
  const [best, ...rest] = uploads.sort((a, b) => sizeOf(b.parts) - sizeOf(a.parts));
  const partsBytes = sizeOf(best?.parts ?? []);
  const common = { upload: best?.upload, parts: best?.parts ?? [], hasStrayParts: best?.hasStrayParts ?? false, object, others: rest.map(({ upload }) => upload) };
  // An object with more bytes than the upload: it was to become the beginning of the upload, and somebody died over that.
  if (object !== undefined && object.sizeBytes > partsBytes) return { ...common, kind: "object", sizeBytes: object.sizeBytes };
  if (partsBytes > 0) return { ...common, kind: "parts", sizeBytes: partsBytes };
  return { ...common, kind: object === undefined ? "nothing" : "object", sizeBytes: 0 };
}

/** The multipart uploads of exactly this key. */
export async function uploadsOf(bucket: MultipartBucket, key: string): Promise<UploadRef[]> {
  const found: UploadRef[] = [];
  for await (const upload of bucket.listUploads(key)) {
    if (upload.key === key) found.push(upload);
    if (found.length === MAX_UPLOADS) break;
  }
  return found;
}

/** A text that is another one as soon as the stored bytes are others. */
export function contentTag({ uploadId, parts, objectTag }: { readonly uploadId?: string | undefined; readonly parts?: readonly Part[]; readonly objectTag?: string | undefined }): string {
  return createHash("sha256").update(JSON.stringify([uploadId ?? "", (parts ?? []).map(({ etag, sizeBytes }) => [etag, sizeBytes]), objectTag ?? ""])).digest("base64url");
}

/** Whether a part's ETag is the MD5 of these bytes. */
export function isTagOf(etag: string, bytes: Uint8Array): boolean {
  return etag.replaceAll('"', "").toLowerCase() === createHash("md5").update(bytes).digest("hex");
}

function withoutGap(parts: readonly Part[]): { readonly parts: readonly Part[]; readonly hasStrayParts: boolean } {
  const gap = parts.findIndex(({ number }, index) => number !== index + 1);
  return gap === -1 ? { parts, hasStrayParts: false } : { parts: parts.slice(0, gap), hasStrayParts: true };
}
