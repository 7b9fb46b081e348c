import { z } from "zod";
import { AUTH_OPTIONS } from "../auth/options.ts";
import { REDIS_OPTIONS } from "../cache/redis-options.ts";
import { HEALTH_OPTIONS } from "../health/options.ts";
import { HTTP_OPTIONS } from "../http/options.ts";
import { text } from "../lib/fields.ts";
import { NOTIFICATION_OPTIONS } from "../notifications/options.ts";
import { PROXY_OPTIONS } from "../proxy/options.ts";
import { CATALOG_OPTIONS, COMPATIBILITY_OPTIONS, POLICY_OPTIONS, STORAGE_COMMON_OPTIONS, TAGS_OPTIONS, VALIDATION_OPTIONS } from "../registry/options.ts";
import { AZURE_OPTIONS } from "../storage/azure/options.ts";
import { FILESYSTEM_OPTIONS } from "../storage/filesystem/options.ts";
import { GCS_OPTIONS } from "../storage/gcs/options.ts";
import { INMEMORY_OPTIONS } from "../storage/inmemory/options.ts";
import { MIDDLEWARE_OPTIONS } from "../storage/middleware/options.ts";
import { OSS_OPTIONS } from "../storage/oss/options.ts";
import { S3_OPTIONS } from "../storage/s3/options.ts";
import { LOG_OPTIONS, REPORTING_OPTIONS } from "../telemetry/options.ts";

/** The storage drivers, by their name in the configuration. */
export const STORAGE_DRIVERS = {
  filesystem: FILESYSTEM_OPTIONS,
  inmemory: INMEMORY_OPTIONS,
  s3: S3_OPTIONS,
  azure: AZURE_OPTIONS,
  gcs: GCS_OPTIONS,
  oss: OSS_OPTIONS,
} as const;

/** The name of a storage driver. */
export type StorageDriverName = keyof typeof STORAGE_DRIVERS;

/** Drivers of distribution that there is none for, and other names of drivers. */
export const STORAGE_ALIASES: Readonly<Record<string, StorageDriverName>> = { s3aws: "s3" };

const STORAGE_OPTIONS = z.object({
  filesystem: FILESYSTEM_OPTIONS.optional().describe("Files on this host."),
  inmemory: INMEMORY_OPTIONS.optional().describe("Nothing is kept."),
  s3: S3_OPTIONS.optional().describe("Amazon S3, and stores that speak its protocol."),
  azure: AZURE_OPTIONS.optional().describe("Azure Blob Storage."),
  gcs: GCS_OPTIONS.optional().describe("Google Cloud Storage."),
  oss: OSS_OPTIONS.optional().describe("Aliyun OSS."),
  ...STORAGE_COMMON_OPTIONS,
});

/** Everything that can be configured, each part by the feature that it is for. */
export const CONFIG_SCHEMA = z.object({
  version: text().describe("Version of this file's form: 0.1."),
  log: LOG_OPTIONS.prefault({}),
  loglevel: text().optional().describe("Old name of log.level."),
  storage: STORAGE_OPTIONS,
  auth: AUTH_OPTIONS.prefault({}),
  middleware: MIDDLEWARE_OPTIONS.prefault({}),
  http: HTTP_OPTIONS.prefault({}),
  notifications: NOTIFICATION_OPTIONS.prefault({}),
  redis: REDIS_OPTIONS.prefault({}),
  health: HEALTH_OPTIONS.prefault({}),
  catalog: CATALOG_OPTIONS.prefault({}),
  tags: TAGS_OPTIONS.prefault({}),
  proxy: PROXY_OPTIONS.prefault({}),
  validation: VALIDATION_OPTIONS.prefault({}),
  policy: POLICY_OPTIONS.prefault({}),
  compatibility: COMPATIBILITY_OPTIONS.optional(),
  reporting: REPORTING_OPTIONS.optional(),
});

/** The configuration, parsed and complete. */
export type Config = z.output<typeof CONFIG_SCHEMA>;
