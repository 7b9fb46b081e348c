import type { Config, StorageDriverName } from "../config/schema.ts";
import { STORAGE_DRIVERS } from "../config/schema.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import type { Logger } from "../telemetry/log.ts";

/** The one driver that a configuration names. */
export function configuredDriver(config: Config): StorageDriverName {
  const names = Object.keys(STORAGE_DRIVERS) as StorageDriverName[];
  const name = names.find((candidate) => config.storage[candidate] !== undefined);
  if (name === undefined) throw new Error("no storage configuration provided");
  return name;
}

/** Opens the store of a configuration. Cloud SDKs are loaded here, and only the one that is needed. */
export async function openStorage(config: Config, _log: Logger): Promise<StorageDriver> {
  const { filesystem, inmemory } = config.storage;
  if (filesystem !== undefined) return openFilesystemDriver(filesystem);
  if (inmemory !== undefined) return openInMemoryDriver();
  throw new Error(`storage driver ${configuredDriver(config)} is not part of this build`);
}

/** Where a store keeps its bytes, for the log; without credentials. */
export function storageFields(config: Config): Readonly<Record<string, unknown>> {
  const { filesystem, s3, azure, gcs, oss } = config.storage;
  return {
    driver: configuredDriver(config),
    ...(filesystem === undefined ? {} : { rootdirectory: filesystem.rootdirectory }),
    ...(s3 === undefined ? {} : { bucket: s3.bucket }),
    ...(azure === undefined ? {} : { container: azure.container }),
    ...(gcs === undefined ? {} : { bucket: gcs.bucket }),
    ...(oss === undefined ? {} : { bucket: oss.bucket }),
  };
}
