import { z } from "zod";
import { byteSize, flag, secret, text } from "../../lib/fields.ts";

/** `storage.oss` */
export const OSS_OPTIONS = z
  .object({
    accesskeyid: text().prefault("").describe("Access key."),
    accesskeysecret: secret().prefault("").describe("Its secret."),
    region: text().prefault("").describe("Region, like oss-cn-hangzhou."),
    bucket: text().prefault("").describe("The bucket."),
    endpoint: text().optional().describe("Host, or URL, of the service; default from the region."),
    internal: flag().prefault(false).describe("The internal network of the region."),
    encrypt: flag().prefault(false).describe("Ask for encryption on the server."),
    encryptionkeyid: text().optional().describe("KMS key for it."),
    secure: flag().prefault(true).describe("HTTPS."),
    chunksize: byteSize({ min: 5 * 1024 * 1024, max: 5 * 1024 * 1024 * 1024 }).prefault(10 * 1024 * 1024).describe("Size of the parts of an upload."),
    rootdirectory: text().prefault("").describe("Prefix of all names."),
  })
  .superRefine((options, context) => {
    for (const key of ["accesskeyid", "accesskeysecret", "region", "bucket"] as const) {
      if (options[key] === "") context.addIssue({ code: "custom", path: [key], message: `no ${key} parameter provided` });
    }
  });

/** `storage.oss`, parsed. */
export type OssOptions = z.output<typeof OSS_OPTIONS>;
