import { afterAll, beforeAll } from "bun:test";
import { openS3Driver } from "../../src/storage/s3/driver.ts";
import { S3_OPTIONS } from "../../src/storage/s3/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startCeph } from "../support/ceph.ts";
import { s3Section, type S3Server } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";
import { storageDriverContract } from "./storage-driver.ts";

const MIB = 1024 * 1024;
const BUCKET = "contract";
const OBJECT_STORE = { hasDirectories: false, showsUnfinished: false, locksBetweenProcesses: false };
/** A bucket of a real store, with what belongs to it; without keys, the SDK's chain of credentials is asked. */
const {
  REGISTRY_TEST_S3_BUCKET: REAL_BUCKET,
  REGISTRY_TEST_S3_REGION: region,
  REGISTRY_TEST_S3_ENDPOINT: regionendpoint,
  REGISTRY_TEST_S3_ACCESSKEY: accesskey,
  REGISTRY_TEST_S3_SECRETKEY: secretkey,
} = process.env;

describeWith(["ceph"], "on the S3 gateway of Ceph", () => {
  let ceph: S3Server;
  let stores = 0;

  beforeAll(async () => {
    ceph = await startCeph();
    await ceph.createBucket(BUCKET);
  });
  afterAll(async () => await ceph[Symbol.asyncDispose]());

  // No percent sign: Ceph decodes names twice when it copies parts.
  for (const [name, parameters] of [
    ["s3", {}],
    ["s3 in small parts, below a root directory of odd characters", { rootdirectory: "größe & <more>+1 '(~)", chunksize: 5 * MIB, multipartcopythresholdsize: 5 * MIB, multipartcopychunksize: 5 * MIB }],
  ] as const) {
    storageDriverContract(
      name,
      async () => {
        const rootdirectory = `${"rootdirectory" in parameters ? parameters.rootdirectory : ""}/store-${stores++}`;
        const options = S3_OPTIONS.parse(s3Section(ceph, BUCKET, { ...parameters, rootdirectory }));
        const open = () => openS3Driver(options, { log: SILENT_LOGGER });
        return { driver: await open(), reopen: open, dispose: async () => undefined };
      },
      OBJECT_STORE,
    );
  }
});

if (REAL_BUCKET !== undefined) {
  storageDriverContract(
    "s3 on a real store",
    async () => {
      const options = S3_OPTIONS.parse({ accesskey, secretkey, region, regionendpoint, bucket: REAL_BUCKET, rootdirectory: `registry-tests/${crypto.randomUUID()}` });
      const open = () => openS3Driver(options, { log: SILENT_LOGGER });
      const dispose = async (): Promise<void> => {
        await using driver = await open();
        const { entries } = await driver.list("/");
        for (const { name } of entries) await driver.delete(`/${name}`);
      };
      return { driver: await open(), reopen: open, dispose };
    },
    { ...OBJECT_STORE, slowTestMs: 600_000 },
  );
}
