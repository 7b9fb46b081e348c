import type { Config, StorageDriverName } from "../config/schema.ts";
import { STORAGE_DRIVERS } from "../config/schema.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { instrumentDriver } from "../storage/instrumented.ts";
import type { StorageMetrics } from "../telemetry/metrics.ts";
import type { Tracing } from "../telemetry/trace.ts";

/** The one driver that a configuration names. */
export function configuredDriver(config: Config): StorageDriverName {
  const names = Object.keys(STORAGE_DRIVERS) as StorageDriverName[];
  const name = names.find((candidate) => config.storage[candidate] !== undefined);
  if (name === undefined) throw new Error("no storage configuration provided");
  return name;
}

/** What watches a store's actions. */
export interface StorageWatch {
  readonly metrics?: StorageMetrics | undefined;
  readonly tracing?: Tracing | undefined;
}

/** Opens the store of a configuration, measured and traced. @throws Error for a driver that this build has not */
export async function openStorage(config: Config, watch: StorageWatch = {}): Promise<StorageDriver> {
  return instrumentDriver(openDriver(config), { ...(watch.metrics === undefined ? {} : { metrics: watch.metrics }), ...(watch.tracing === undefined ? {} : { tracing: watch.tracing }) });
}

function openDriver(config: Config): StorageDriver {
  const { filesystem, inmemory } = config.storage;
  if (filesystem !== undefined) return openFilesystemDriver(filesystem);
  if (inmemory !== undefined) return openInMemoryDriver();
  throw new Error(`storage.${configuredDriver(config)}: this driver is not part of this build`);
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
