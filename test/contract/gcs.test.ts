import { openGcsDriver } from "../../src/storage/gcs/driver.ts";
import { GCS_OPTIONS } from "../../src/storage/gcs/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startGcsServer } from "../support/gcs-server.ts";
import { storageDriverContract } from "./storage-driver.ts";

const MIB = 1024 * 1024;

// Small pages and few bytes a rewrite: what the real store does only with much data is to happen here, too.
for (const [name, rootdirectory] of [
  ["gcs", ""],
  ["gcs below a root directory", "/some/root/"],
] as const) {
  storageDriverContract(
    name,
    async () => {
      const server = await startGcsServer({ maxPage: 7, rewriteBytes: 8 * MIB });
      const options = GCS_OPTIONS.parse({ bucket: server.bucket, rootdirectory, credentials: server.keyFile, endpoint: server.url, chunksize: MIB });
      const open = () => openGcsDriver(options, { log: SILENT_LOGGER });
      return { driver: await open(), reopen: open, dispose: () => server[Symbol.asyncDispose]() };
    },
    { hasDirectories: false, showsUnfinished: false, locksBetweenProcesses: false },
  );
}
