import { ListMultipartUploadsCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { openS3Driver } from "../../src/storage/s3/driver.ts";
import { S3_OPTIONS } from "../../src/storage/s3/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startCeph } from "../support/ceph.ts";
import { s3Client, s3Section } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";
import { faultyContract, type FaultySubject, type Refusal, storeFaults } from "./store-faults.ts";

const BUCKET = "faults";
const PART_BYTES = 5 * 1024 * 1024;
const MAX_RETRIES = 5;

function refusal(status: number, code: string, maxTries: number): Refusal {
  const attempts = maxTries === 1 ? "" : `, ${maxTries} attempts`;
  return {
    fault: { kind: "answer", status, body: `<Error><Code>${code}</Code><Message>it is ${code}</Message></Error>` },
    text: new RegExp(`: ${code}: it is ${code} \\(status ${status}|gives no reason \\(status ${status}${attempts}\\)`),
    maxTries,
  };
}

async function startSubject(): Promise<FaultySubject> {
  const ceph = await startCeph();
  await ceph.createBucket(BUCKET);
  const client = s3Client(ceph);
  return {
    endpoint: ceph.endpoint,
    partBytes: PART_BYTES,
    minSilenceMs: 1000,
    maxTries: MAX_RETRIES + 1,
    refusals: {
      internal: refusal(500, "InternalError", MAX_RETRIES + 1),
      overload: refusal(503, "SlowDown", MAX_RETRIES + 1),
      expired: refusal(400, "ExpiredToken", 1),
      denied: refusal(403, "AccessDenied", 1),
    },
    async open(endpoint, silenceMs, root = "") {
      const options = s3Section({ ...ceph, endpoint }, BUCKET, { chunksize: PART_BYTES, multipartcopythresholdsize: PART_BYTES, multipartcopychunksize: PART_BYTES, maxretries: MAX_RETRIES, timeout: `${silenceMs}ms`, rootdirectory: root });
      return await openS3Driver(S3_OPTIONS.parse(options), { log: SILENT_LOGGER });
    },
    async names(prefix) {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix }));
      return Contents.map(({ Key = "" }) => Key);
    },
    async unfinished(prefix) {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET, Prefix: prefix }));
      return Uploads.length;
    },
    begins: ({ method, url }) => method === "POST" && /[?&]uploads\b/.test(url),
    readsContent: ({ url }) => url.includes("x-id=GetObject"),
    sendsSecondPart: ({ url }) => url.includes("partNumber=2"),
    keptBytes: PART_BYTES,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await ceph[Symbol.asyncDispose]();
    },
  };
}

describeWith(["ceph"], "on the S3 gateway of Ceph", () => {
  storeFaults("S3", startSubject);
  faultyContract("s3", startSubject, { showsUnfinished: false });
});
