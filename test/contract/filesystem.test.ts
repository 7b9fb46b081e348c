import { join } from "node:path";
import { openFilesystemDriver } from "../../src/storage/filesystem/driver.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { storageDriverContract } from "./storage-driver.ts";

storageDriverContract("filesystem", async () => {
  const folder = await tempFolder();
  // A root that is yet to be made, as with a first start.
  const rootdirectory = join(folder.path, "not", "there", "yet");
  return {
    driver: openFilesystemDriver({ rootdirectory }),
    reopen: async () => openFilesystemDriver({ rootdirectory }),
    dispose: () => folder[Symbol.asyncDispose](),
  };
});
