import { afterAll, beforeAll } from "bun:test";
import { openOssDriver } from "../../src/storage/oss/driver.ts";
import { OSS_OPTIONS } from "../../src/storage/oss/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { type OssServer, ossSection, startOssServer } from "../support/oss-server.ts";
import { storageDriverContract } from "./storage-driver.ts";

let server: OssServer;
let stores = 0;

beforeAll(() => {
  server = startOssServer();
});

afterAll(async () => await server[Symbol.asyncDispose]());

storageDriverContract(
  "oss",
  async () => {
    const options = OSS_OPTIONS.parse(ossSection(server, { rootdirectory: `/store-${stores++}` }));
    const open = () => openOssDriver(options, { log: SILENT_LOGGER });
    return {
      driver: await open(),
      reopen: open,
      // The bucket is in memory.
      dispose: async () => {
        for (const key of server.bucket.keys) server.bucket.delete(key);
      },
    };
  },
  { hasDirectories: false, showsUnfinished: false, locksBetweenProcesses: false },
);
