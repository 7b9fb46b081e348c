import { openGcsDriver } from "../../src/storage/gcs/driver.ts";
import { GCS_OPTIONS } from "../../src/storage/gcs/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startGcsServer } from "../support/gcs-server.ts";
import { storageDriverContract } from "./storage-driver.ts";

const MIB = 1024 * 1024;
const OBJECT_STORE = { hasDirectories: false, showsUnfinished: false, locksBetweenProcesses: false };
/** A bucket of the real store, to be used with the application's default credentials, or with the key file that is named beside it. */
const REAL_BUCKET = process.env["REGISTRY_TEST_GCS_BUCKET"];

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
    OBJECT_STORE,
  );
}

if (REAL_BUCKET !== undefined) {
  storageDriverContract(
    "gcs on the real store",
    async () => {
      const keyfile = process.env["REGISTRY_TEST_GCS_KEYFILE"];
      const options = GCS_OPTIONS.parse({ bucket: REAL_BUCKET, rootdirectory: `registry-tests/${crypto.randomUUID()}`, ...(keyfile === undefined ? {} : { keyfile }) });
      const open = () => openGcsDriver(options, { log: SILENT_LOGGER });
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
