import { z } from "zod";
import { byteSize, integer, text } from "../../lib/fields.ts";

const STEP = 256 * 1024;

/** `storage.gcs` */
export const GCS_OPTIONS = z
  .object({
    bucket: text().prefault("").describe("The bucket."),
    keyfile: text().optional().describe("Service account key file; without it and credentials the application default is asked."),
    credentials: z.record(z.string(), z.unknown()).optional().meta({ secret: true }).describe("The fields of such a file."),
    rootdirectory: text().prefault("").describe("Prefix of all names."),
    chunksize: byteSize({ min: STEP }).refine((value) => value % STEP === 0, `expected a multiple of ${STEP}`).prefault(16 * 1024 * 1024).describe("Bytes sent at once; a multiple of 256 KiB."),
    maxconcurrency: integer().transform((value) => Math.max(25, value)).prefault(50).describe("Requests at once; at least 25."),
    useragent: text().optional().describe("What requests are sent as; default the program's name and version."),
    endpoint: text().optional().describe("URL of the service where it is not storage.googleapis.com; it is asked with the same credentials."),
  })
  .superRefine((options, context) => {
    if (options.bucket === "") context.addIssue({ code: "custom", path: ["bucket"], message: "no bucket parameter provided" });
    if (options.endpoint !== undefined && !isHttpUrl(options.endpoint)) context.addIssue({ code: "custom", path: ["endpoint"], message: "expected a URL, like https://storage.example" });
  });

function isHttpUrl(value: string): boolean {
  return URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);
}

/** `storage.gcs`, parsed. */
export type GcsOptions = z.output<typeof GCS_OPTIONS>;
