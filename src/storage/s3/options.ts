import { z } from "zod";
import { byteSize, duration, flag, integer, secret, text } from "../../lib/fields.ts";

const MIB = 1024 * 1024;
const part = () => byteSize({ min: 5 * MIB, max: 5 * 1024 * MIB });

/** Canned access lists. */
const ACLS = ["private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control"];
const CLASSES = ["NONE", "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "OUTPOSTS", "GLACIER_IR", "EXPRESS_ONEZONE"];

/** `storage.s3` */
export const S3_OPTIONS = z
  .object({
    accesskey: text().optional().describe("With secretkey; without both the SDK's chain of credentials is asked."),
    secretkey: secret().optional().describe("Its secret."),
    sessiontoken: secret().optional().describe("Of temporary credentials."),
    region: text().prefault("").describe("Required unless regionendpoint is set."),
    regionendpoint: text().optional().describe("URL of a store that is not Amazon's."),
    forcepathstyle: flag().optional().describe("Bucket in the path, not in the host name. Default: when regionendpoint is set."),
    redirectendpoint: text().optional().describe("Scheme and host that clients reach the store at, for the URLs that they are sent to."),
    bucket: text().prefault("").describe("The bucket."),
    encrypt: flag().prefault(false).describe("Ask for encryption on the server."),
    keyid: text().optional().describe("KMS key for it."),
    secure: flag().prefault(true).describe("HTTPS."),
    skipverify: flag().prefault(false).describe("Do not verify the store's certificate."),
    v4auth: flag().prefault(true).describe("Signatures of version 4; others are not made any more."),
    chunksize: part().prefault(10 * MIB).describe("Size of the parts of an upload."),
    multipartcopychunksize: part().prefault(32 * MIB).describe("Size of the parts of a copy."),
    multipartcopymaxconcurrency: integer({ min: 1 }).prefault(100).describe("Parts copied at once."),
    multipartcopythresholdsize: byteSize({ min: 0, max: 5 * 1024 * MIB }).prefault(32 * MIB).describe("Larger objects are copied in parts."),
    rootdirectory: text().prefault("").describe("Prefix of all keys."),
    storageclass: text().transform((value) => value.toUpperCase()).refine((value) => CLASSES.includes(value), `expected one of ${CLASSES.join(", ")}`).prefault("STANDARD").describe("Storage class; NONE sends none."),
    objectacl: text().refine((value) => ACLS.includes(value), `expected one of ${ACLS.join(", ")}`).prefault("private").describe("Canned access list."),
    useragent: text().optional().describe("What requests are sent as; default the program's name and version."),
    usedualstack: flag().prefault(false).describe("IPv6 endpoints too."),
    accelerate: flag().prefault(false).describe("Transfer acceleration."),
    usefipsendpoint: flag().prefault(false).describe("FIPS endpoints."),
    loglevel: text().prefault("off").describe("off, debug, debugwithsigning, debugwithhttpbody, debugwithrequestretries, debugwithrequesterrors, debugwitheventstreambody"),
    maxretries: integer({ min: 0 }).prefault(5).describe("How often a request is tried again."),
    timeout: duration({ min: 1_000 }).prefault("60s").describe("How long the store may be silent."),
  })
  .superRefine((options, context) => {
    if (options.bucket === "") context.addIssue({ code: "custom", path: ["bucket"], message: "no bucket parameter provided" });
    if (options.region === "" && options.regionendpoint === undefined) context.addIssue({ code: "custom", path: ["region"], message: "no region parameter provided" });
    if (options.region !== "" && options.regionendpoint === undefined && !/^[a-z]{2,4}(-[a-z]+)+-\d+$/.test(options.region)) context.addIssue({ code: "custom", path: ["region"], message: `invalid region provided: ${options.region}` });
    if (!options.v4auth) context.addIssue({ code: "custom", path: ["v4auth"], message: "signatures of version 2 are not supported, expected true" });
    if (options.redirectendpoint !== undefined && !isOrigin(options.redirectendpoint)) context.addIssue({ code: "custom", path: ["redirectendpoint"], message: "expected scheme and host only, like https://s3.example" });
  });

function isOrigin(value: string): boolean {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && (url.pathname === "/" || url.pathname === "") && url.search === "";
}

/** `storage.s3`, parsed. */
export type S3Options = z.output<typeof S3_OPTIONS>;
