import { openOssDriver } from "../../src/storage/oss/driver.ts";
import { OSS_OPTIONS } from "../../src/storage/oss/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { ossSection, startOssServer } from "../support/oss-server.ts";
import { storageDriverContract } from "./storage-driver.ts";

const MIB = 1024 * 1024;
const OBJECT_STORE = { hasDirectories: false, showsUnfinished: false, locksBetweenProcesses: false };
/** A bucket of the real store, with what belongs to it. */
const {
  REGISTRY_TEST_OSS_BUCKET: REAL_BUCKET,
  REGISTRY_TEST_OSS_REGION: region,
  REGISTRY_TEST_OSS_ACCESSKEYID: accesskeyid,
  REGISTRY_TEST_OSS_ACCESSKEYSECRET: accesskeysecret,
} = process.env;

// Small pages: what the real store does only with many objects is to happen here, too.
for (const [name, parameters, maxPage] of [
  ["oss", {}, 1000],
  ["oss in small parts and small pages, below a root directory", { rootdirectory: "/some/root/", chunksize: 5 * MIB }, 3],
  ["oss below a root directory of odd characters", { rootdirectory: "größe & <more>+1 %41'(~)" }, 1000],
] as const) {
  storageDriverContract(
    name,
    async () => {
      const server = startOssServer({ maxPage });
      const options = OSS_OPTIONS.parse(ossSection(server, parameters));
      const open = () => openOssDriver(options, { log: SILENT_LOGGER });
      return { driver: await open(), reopen: open, dispose: () => server[Symbol.asyncDispose]() };
    },
    OBJECT_STORE,
  );
}

if (REAL_BUCKET !== undefined) {
  storageDriverContract(
    "oss on the real store",
    async () => {
      const options = OSS_OPTIONS.parse({ accesskeyid, accesskeysecret, region, bucket: REAL_BUCKET, rootdirectory: `registry-tests/${crypto.randomUUID()}` });
      const open = () => openOssDriver(options, { log: SILENT_LOGGER });
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
