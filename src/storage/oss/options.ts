import { z } from "zod";
import { byteSize, flag, secret, text } from "../../lib/fields.ts";

/** `storage.oss` */
export const OSS_OPTIONS = z
  .object({
    accesskeyid: text().prefault("").describe("Access key."),
    accesskeysecret: secret().prefault("").describe("Its secret."),
    region: text().prefault("").describe("Region, like oss-cn-hangzhou."),
    bucket: text().transform((value) => value.toLowerCase()).prefault("").describe("The bucket."),
    endpoint: text().optional().describe("The bucket's own host, or URL: its name in the service's domain, or a domain bound to it. Default: from bucket and region."),
    internal: flag().prefault(false).describe("The internal network of the region, for the server, and for clients that are redirected."),
    encrypt: flag().prefault(false).describe("Ask for encryption on the server."),
    encryptionkeyid: text().optional().describe("KMS key for it, beside encrypt."),
    secure: flag().prefault(true).describe("HTTPS."),
    chunksize: byteSize({ min: 5 * 1024 * 1024, max: 5 * 1024 * 1024 * 1024 }).prefault(10 * 1024 * 1024).describe("Size of the parts of an upload."),
    rootdirectory: text().prefault("").describe("Prefix of all names."),
  })
  .superRefine((options, context) => {
    for (const key of ["accesskeyid", "accesskeysecret", "region", "bucket"] as const) {
      if (options[key] === "") context.addIssue({ code: "custom", path: [key], message: `no ${key} parameter provided` });
    }
    const { bucket, region, endpoint, rootdirectory } = options;
    const refuse = (key: keyof typeof options, message: string): void => void context.addIssue({ code: "custom", path: [key], message });
    if (bucket !== "" && !/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket)) refuse("bucket", `found "${bucket}", expected 3 to 63 letters, digits and dashes`);
    if (region !== "" && !/^[a-z0-9-]+$/.test(region)) refuse("region", `found "${region}", expected a region like oss-cn-hangzhou`);
    if (endpoint !== undefined && endpoint !== "" && !isOrigin(endpoint)) refuse("endpoint", `found "${endpoint}", expected a host, or scheme and host, like bucket.oss-cn-hangzhou.aliyuncs.com`);
    // HTTP clients would take them out of the names that were signed.
    if (rootdirectory.split("/").some((part) => part === "." || part === "..")) refuse("rootdirectory", `found "${rootdirectory}", expected no . and no .. in it`);
  });

function isOrigin(value: string): boolean {
  const text = /^[a-z]+:\/\//i.test(value) ? value : `https://${value}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.search === "" && url.username === "";
}

/** `storage.oss`, parsed. */
export type OssOptions = z.output<typeof OSS_OPTIONS>;
