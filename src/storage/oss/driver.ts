import type { StorageDriver } from "../driver.ts";
import { DEFAULT_REDIRECT_EXPIRY_MS } from "../object-store/deps.ts";
import type { HasObjectKeys } from "../object-store/keys.ts";
import { MultipartDriver } from "../object-store/multipart/driver.ts";
import { OssBucket } from "./bucket.ts";
import { OssConnection, type OssDeps } from "./connection.ts";
import type { OssOptions } from "./options.ts";

/** As distribution copies; the store would take objects of up to 5 GiB at once, but advises against more than 1 GiB. */
const COPYING = { thresholdBytes: 128 * 1024 * 1024, partBytes: 128 * 1024 * 1024, concurrency: 10 };
/** The store takes no URLs that are good for longer. */
const MAX_EXPIRY_SECONDS = 7 * 24 * 60 * 60;

/**
 * Opens a bucket, and looks into it: who may not, and where there is none, is told at once.
 *
 * The objects are those of distribution 2.x, and so are unfinished uploads, so that either side goes on with what the other began; but
 * for uploads of ours that have no byte yet, of which distribution finds nothing, and those whose last part has less than 5 MiB after
 * other parts, over which it fails: it would copy them, and misnames the bucket.
 * @throws OssCallError when the bucket cannot be listed
 */
export async function openOssDriver(options: OssOptions, deps: OssDeps): Promise<StorageDriver & HasObjectKeys> {
  if (options.encryptionkeyid && !options.encrypt) deps.log.warn("storage.oss.encryptionkeyid has no effect without storage.oss.encrypt");
  const connection = await OssConnection.open(options, deps);
  const bucket = new OssBucket(connection, options);
  const expirySeconds = Math.min(MAX_EXPIRY_SECONDS, Math.max(1, Math.round((deps.redirectExpiryMs ?? DEFAULT_REDIRECT_EXPIRY_MS) / 1000)));
  try {
    await bucket.check();
  } catch (error) {
    bucket.close();
    throw error;
  }
  return new MultipartDriver({
    bucket,
    rootdirectory: options.rootdirectory,
    chunkBytes: options.chunksize,
    copying: COPYING,
    urlOf: async (key, method) => connection.signedUrl(key, method, expirySeconds),
  });
}
