import { createHash } from "node:crypto";
import type { Bucket, Part, UploadRef } from "./bucket.ts";
import { S3CallError } from "./errors.ts";

/** What S3 says when a part is not the one that was sent, or not there. */
const FOREIGN_PARTS: ReadonlySet<string> = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall"]);

/**
 * Makes an object of the parts of a multipart upload. When the store says that it does not know the upload, it may be that an answer
 * got lost and it was made at the first attempt: then the object is there and is the right one.
 * @returns The object's ETag.
 * @throws Error when somebody else wrote to the upload meanwhile, S3CallError for everything else
 */
export async function completeUpload(bucket: Bucket, upload: UploadRef, parts: readonly Part[]): Promise<string> {
  try {
    const etag = await bucket.complete(upload, parts);
    // Ceph leaves it empty.
    return etag !== "" ? etag : await etagOfMade(bucket, upload, parts);
  } catch (error) {
    if (!(error instanceof S3CallError)) throw error;
    if (FOREIGN_PARTS.has(error.code)) throw new Error(`s3: ${upload.key} was written to by somebody else, too; its bytes are given up`, { cause: error });
    const made = error.isMissingUpload ? await bucket.head(upload.key) : undefined;
    if (made === undefined || !isMadeOf(made, parts)) throw error;
    return made.etag;
  }
}

async function etagOfMade(bucket: Bucket, upload: UploadRef, parts: readonly Part[]): Promise<string> {
  const made = await bucket.head(upload.key);
  if (made === undefined || !isMadeOf(made, parts)) throw new Error(`s3: ${upload.key} was written to by somebody else at the same time`);
  return made.etag;
}

function isMadeOf(object: { readonly sizeBytes: number; readonly etag: string }, parts: readonly Part[]): boolean {
  const expected = etagOf(parts);
  if (object.sizeBytes !== sizeOf(parts)) return false;
  return expected === undefined || unquoted(object.etag) === expected;
}

/** The ETag of an object made of parts: the MD5 of the parts' MD5s. Undefined where tags are something else (objects encrypted by KMS). */
function etagOf(parts: readonly Part[]): string | undefined {
  const hash = createHash("md5");
  for (const { etag } of parts) {
    if (!isMd5(etag)) return undefined;
    hash.update(Buffer.from(unquoted(etag), "hex"));
  }
  return `${hash.digest("hex")}-${parts.length}`;
}

/** Whether a part's ETag is the MD5 of these bytes. */
export function isTagOf(etag: string, bytes: Uint8Array): boolean {
  return isMd5(etag) && unquoted(etag) === createHash("md5").update(bytes).digest("hex");
}

/** All bytes of some parts. */
export function sizeOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function isMd5(etag: string): boolean {
  return /^[0-9a-f]{32}$/.test(unquoted(etag));
}

function unquoted(etag: string): string {
  return etag.replace(/^"|"$/g, "").toLowerCase();
}
