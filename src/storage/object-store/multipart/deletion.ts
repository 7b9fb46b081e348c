import { PathNotFoundError } from "../../errors.ts";
import type { MultipartBucket, UploadRef } from "./bucket.ts";
import { tailKey } from "./unfinished.ts";

/** What is to be deleted. */
export interface Deletion {
  readonly path: string;
  readonly key: string;
  /** What the keys of everything in it begin with, if it is a directory. */
  readonly prefix: string;
  /** Uploads that are not to be aborted: this process is creating files by them. */
  readonly isInUse: (uploadId: string) => boolean;
}

/** Deletes a file, or all that is in a directory, with what is unfinished of it. @throws PathNotFoundError when there is nothing */
export async function deleteTree(bucket: MultipartBucket, deletion: Deletion): Promise<void> {
  const { key, prefix, path } = deletion;
  const pages = bucket.listObjects(prefix)[Symbol.asyncIterator]();
  const [file, uploads, first] = await Promise.all([bucket.head(key), abortUploads(bucket, deletion), pages.next()]);
  const own = [...(file === undefined ? [] : [key]), ...(uploads.some((upload) => upload.key === key) ? [tailKey(key)] : [])];
  let count = own.length + uploads.length;
  await bucket.removeMany(own);
  for (let page = first; page.done !== true; page = await pages.next()) {
    count += page.value.length;
    await bucket.removeMany(page.value.map((object) => object.key));
  }
  if (count === 0) throw new PathNotFoundError(bucket.name, path);
}

async function abortUploads(bucket: MultipartBucket, { key, prefix, isInUse }: Deletion): Promise<readonly UploadRef[]> {
  const found: UploadRef[] = [];
  // The file and the directory have this beginning in common, and with it also others.
  for await (const upload of bucket.listUploads(key)) {
    if ((upload.key === key || upload.key.startsWith(prefix)) && !isInUse(upload.uploadId)) found.push(upload);
  }
  for (const upload of found) await bucket.abort(upload);
  return found;
}
