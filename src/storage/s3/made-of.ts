import { createHash } from "node:crypto";
import { type Part, sizeOf } from "../object-store/multipart/bucket.ts";

/** Whether an object is made of these parts, as far as tags and sizes tell. */
export function isMadeOf(object: { readonly sizeBytes: number; readonly etag: string }, parts: readonly Part[]): boolean {
  const expected = etagOf(parts);
  if (object.sizeBytes !== sizeOf(parts)) return false;
  return expected === undefined || unquoted(object.etag) === expected;
}

/** The ETag of an object made of parts: the MD5 of the parts' MD5s. Undefined where tags are something else (objects encrypted by KMS). */
function etagOf(parts: readonly Part[]): string | undefined {
  const hash = createHash("md5");
  for (const { etag } of parts) {
    const tag = unquoted(etag);
    if (!/^[0-9a-f]{32}$/.test(tag)) return undefined;
    hash.update(Buffer.from(tag, "hex"));
  }
  return `${hash.digest("hex")}-${parts.length}`;
}

function unquoted(etag: string): string {
  return etag.replace(/^"|"$/g, "").toLowerCase();
}
