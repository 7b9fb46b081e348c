import type { Config } from "../config/schema.ts";
import type { LogFormat } from "../telemetry/log-formats.ts";
import type { LoggerOptions } from "../telemetry/logger.ts";
import { VERSION } from "../version.ts";

/** How a configuration wants its log, with the fields that every line carries. */
export function loggerOptions(config: Config, process: { readonly instanceId: string }): LoggerOptions {
  const { log } = config;
  return {
    level: log.level ?? "info",
    format: log.formatter as LogFormat,
    // Dashboards of distribution group by this field; what runs the registry is Bun.
    fields: { "go.version": `bun${Bun.version}`, "instance.id": process.instanceId, version: VERSION, ...log.fields },
    reportCaller: log.reportcaller,
  };
}
