import { afterAll, beforeAll } from "bun:test";
import { openS3Driver } from "../../src/storage/s3/driver.ts";
import { S3_OPTIONS } from "../../src/storage/s3/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startSwift } from "../support/swift.ts";
import type { S3Server } from "../support/s3-server.ts";
import { s3Section } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";
import { storageDriverContract } from "./storage-driver.ts";

const BUCKET = "contract";

describeWith(["swift"], "on the S3 interface of Swift", () => {
  let swift: S3Server;
  let stores = 0;

  beforeAll(async () => {
    swift = await startSwift();
    await swift.createBucket(BUCKET);
  }, 120_000);

  afterAll(async () => await swift[Symbol.asyncDispose](), 60_000);

  storageDriverContract(
    "s3",
    async () => {
      const options = S3_OPTIONS.parse(s3Section(swift, BUCKET, { rootdirectory: `/store-${stores++}` }));
      const open = () => openS3Driver(options, { log: SILENT_LOGGER });
      return { driver: await open(), reopen: open, dispose: async () => undefined };
    },
    { hasDirectories: false, showsUnfinished: false, locksBetweenProcesses: false },
  );
});
