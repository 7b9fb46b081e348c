import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";

/** Where a store that speaks S3 is, and who may use it. Buckets are addressed by path. */
export interface S3Access {
  /** For instance `http://127.0.0.1:41234`. */
  readonly endpoint: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
}

/** A store that a test has started. */
export interface S3Server extends S3Access, AsyncDisposable {
  createBucket(name: string): Promise<void>;
}

/** A client of the vendor's, to look behind a driver's back. The caller destroys it. */
export function s3Client(access: S3Access): S3Client {
  return new S3Client({
    endpoint: access.endpoint,
    region: access.region,
    forcePathStyle: true,
    credentials: { accessKeyId: access.accessKey, secretAccessKey: access.secretKey },
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
}

/** Makes a bucket. */
export async function createBucket(access: S3Access, name: string): Promise<void> {
  const client = s3Client(access);
  try {
    await client.send(new CreateBucketCommand({ Bucket: name }));
  } finally {
    client.destroy();
  }
}

/** `storage.s3` of a configuration for a bucket of the store, as it would be in a file. */
export function s3Section(access: S3Access, bucket: string, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { regionendpoint: access.endpoint, accesskey: access.accessKey, secretkey: access.secretKey, region: access.region, forcepathstyle: true, bucket, ...more };
}
