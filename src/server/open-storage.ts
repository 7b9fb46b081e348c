import type { Config, StorageDriverName } from "../config/schema.ts";
import { STORAGE_DRIVERS } from "../config/schema.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { openFilesystemDriver } from "../storage/filesystem/driver.ts";
import { openInMemoryDriver } from "../storage/inmemory/driver.ts";
import { withMiddlewares } from "../storage/middleware/middlewares.ts";
import { parseMiddleware } from "../storage/middleware/options.ts";
import { instrumentDriver } from "../storage/instrumented.ts";
import type { Logger } from "../telemetry/log.ts";
import type { StorageMetrics } from "../telemetry/metrics.ts";
import type { Tracing } from "../telemetry/trace.ts";
import { VERSION } from "../version.ts";

/** The one driver that a configuration names. */
export function configuredDriver(config: Config): StorageDriverName {
  const names = Object.keys(STORAGE_DRIVERS) as StorageDriverName[];
  const name = names.find((candidate) => config.storage[candidate] !== undefined);
  if (name === undefined) throw new Error("no storage configuration provided");
  return name;
}

/** What a store is opened with besides its options. */
export interface StorageDeps {
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly metrics?: StorageMetrics | undefined;
  readonly tracing?: Tracing | undefined;
}

/** Opens the store of a configuration, measured and traced. The SDK of a cloud is loaded here, and only if it is configured. */
export async function openStorage(config: Config, deps: StorageDeps): Promise<StorageDriver> {
  const middlewares = config.middleware.storage.filter(({ disabled }) => !disabled).map(parseMiddleware);
  const driver = await withMiddlewares(await openDriver(config, deps), middlewares.filter((parsed) => "name" in parsed), { log: deps.log, clock: SYSTEM_CLOCK });
  return instrumentDriver(driver, { log: deps.log, ...(deps.metrics === undefined ? {} : { metrics: deps.metrics }), ...(deps.tracing === undefined ? {} : { tracing: deps.tracing }) });
}

async function openDriver(config: Config, { log, env }: StorageDeps): Promise<StorageDriver> {
  const { filesystem, inmemory, s3, azure, gcs, oss } = config.storage;
  const cloud = { log, env, userAgent: `registry/${VERSION}`, redirectExpiryMs: config.storage.redirect.expiry };
  if (filesystem !== undefined) return openFilesystemDriver(filesystem);
  if (inmemory !== undefined) return openInMemoryDriver();
  if (s3 !== undefined) return await (await import("../storage/s3/driver.ts")).openS3Driver(s3, cloud);
  if (azure !== undefined) return await (await import("../storage/azure/driver.ts")).openAzureDriver(azure, cloud);
  if (gcs !== undefined) return await (await import("../storage/gcs/driver.ts")).openGcsDriver(gcs, cloud);
  if (oss !== undefined) return await (await import("../storage/oss/driver.ts")).openOssDriver(oss, cloud);
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
