import { afterAll, beforeAll, expect, test } from "bun:test";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { openS3Driver } from "../../src/storage/s3/driver.ts";
import { S3_OPTIONS } from "../../src/storage/s3/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { type CephServer, startCeph } from "../support/ceph.ts";
import { s3Section } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";
import { storageDriverContract } from "./storage-driver.ts";

const BUCKET = "contract";

describeWith(["ceph"], "over TLS, on the S3 gateway of Ceph", () => {
  let ceph: CephServer;
  let stores = 0;

  beforeAll(async () => {
    ceph = await startCeph();
    await ceph.createBucket(BUCKET);
  });
  afterAll(async () => await ceph[Symbol.asyncDispose]());

  async function open(more: Readonly<Record<string, unknown>>): Promise<StorageDriver> {
    return await openS3Driver(S3_OPTIONS.parse(s3Section({ ...ceph, endpoint: ceph.secureEndpoint }, BUCKET, more)), { log: SILENT_LOGGER });
  }

  storageDriverContract(
    "s3",
    async () => {
      // Clients that follow URLs verify certificates.
      const options = { rootdirectory: `/store-${stores++}`, skipverify: true, redirectendpoint: ceph.endpoint };
      return { driver: await open(options), reopen: () => open(options), dispose: async () => undefined };
    },
    { hasDirectories: false, showsUnfinished: false, locksBetweenProcesses: false },
  );

  test("a certificate of an unknown authority is refused at once, and said to be the reason", async () => {
    await using driver = await open({});
    const error = await driver.stat("/file").catch((reason: unknown) => reason);
    expect(String(error)).toMatch(/^S3CallError: s3: HeadObject contract\/file: .*certificate/);
    // Nothing is tried twice for that.
    expect(String(error)).not.toContain("attempts");
  });
});
