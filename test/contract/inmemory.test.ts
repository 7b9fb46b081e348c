import { openInMemoryDriver } from "../../src/storage/inmemory/driver.ts";
import { storageDriverContract } from "./storage-driver.ts";

storageDriverContract("inmemory", async () => ({ driver: openInMemoryDriver(), dispose: async () => undefined }));
