import type { StorageDriver } from "../driver.ts";
import { DEFAULT_REDIRECT_EXPIRY_MS, type ObjectStoreDeps } from "../object-store/deps.ts";
import type { HasObjectKeys } from "../object-store/keys.ts";
import { MultipartDriver } from "../object-store/multipart/driver.ts";
import { S3Bucket } from "./bucket.ts";
import { openConnection } from "./client.ts";
import type { S3Options } from "./options.ts";
import { Presigner } from "./presigner.ts";

/**
 * Opens a bucket. Nothing is asked of it yet.
 *
 * The objects are distribution's, and so are unfinished uploads: either goes on with what the other began, but for uploads of ours
 * that have no byte yet, of which distribution finds nothing.
 */
export async function openS3Driver(options: S3Options, deps: ObjectStoreDeps): Promise<StorageDriver & HasObjectKeys> {
  const connection = await openConnection(options, deps);
  const presigner = await Presigner.open(connection, { ...options, expiryMs: deps.redirectExpiryMs ?? DEFAULT_REDIRECT_EXPIRY_MS });
  return new MultipartDriver({
    bucket: new S3Bucket(connection, options),
    rootdirectory: options.rootdirectory,
    chunkBytes: options.chunksize,
    copying: { thresholdBytes: options.multipartcopythresholdsize, partBytes: options.multipartcopychunksize, concurrency: options.multipartcopymaxconcurrency },
    urlOf: (key, method) => presigner.url(key, method),
  });
}
