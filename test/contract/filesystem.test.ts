import { join } from "node:path";
import { openFilesystemDriver } from "../../src/storage/filesystem/driver.ts";
import { Pace } from "../../src/storage/filesystem/pace.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { type OpenedStore, storageDriverContract } from "./storage-driver.ts";

storageDriverContract("filesystem", () => openStore());
storageDriverContract("filesystem on a slow disk", () => openStore(slowPace()));

async function openStore(pace?: Pace): Promise<OpenedStore> {
  const folder = await tempFolder();
  // A root that is yet to be made, as with a first start.
  const rootdirectory = join(folder.path, "not", "there", "yet");
  const open = (): ReturnType<typeof openFilesystemDriver> => openFilesystemDriver({ rootdirectory }, pace === undefined ? {} : { pace });
  return { driver: open(), reopen: async () => open(), dispose: () => folder[Symbol.asyncDispose]() };
}

/** A pace that has seen slow calls, and whose time stands still since: everything goes through the thread pool. */
function slowPace(): Pace {
  let nowMs = 0;
  const pace = new Pace(() => nowMs);
  for (let call = 0; call < 3; call++) {
    pace.run(() => {
      nowMs += 1_000;
    });
  }
  if (!pace.isSlow()) throw new Error("the pace does not take three slow calls for a slow disk");
  return pace;
}
