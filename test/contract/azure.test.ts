import { afterAll, beforeAll } from "bun:test";
import { openAzureDriver } from "../../src/storage/azure/driver.ts";
import { AZURE_OPTIONS } from "../../src/storage/azure/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { type Azurite, startAzurite } from "../support/azurite.ts";
import { storageDriverContract } from "./storage-driver.ts";

const MIB = 1024 * 1024;

let azurite: Azurite;
let containers = 0;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => await azurite[Symbol.asyncDispose]());

for (const [name, rootdirectory] of [
  ["azure", ""],
  ["azure below a root directory", "/some/root/"],
] as const) {
  storageDriverContract(
    name,
    async () => {
      const container = `test-${containers++}`;
      await azurite.createContainer(container);
      const options = AZURE_OPTIONS.parse(azurite.section(container, { rootdirectory }));
      const open = () => openAzureDriver(options, { log: SILENT_LOGGER });
      return { driver: await open(), reopen: open, dispose: async () => void (await azurite.container(container).delete()) };
    },
    { hasDirectories: false, locksBetweenProcesses: false, largeStreamBytes: 40 * MIB },
  );
}
