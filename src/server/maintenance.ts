import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import { collectGarbage, type CollectListener, type CollectResult } from "../registry/gc/collector.ts";
import { hasLiveServer } from "../registry/gc/state.ts";
import { applyRetention, type RetentionOptions, type RetentionResult, untaggedAge } from "../registry/retention/retention.ts";
import { purgeUploads } from "../registry/upload-purge.ts";
import { type VerifyOptions, type VerifyResult, verifyStore } from "../registry/verify.ts";
import { type CheckResult, checkStore } from "../storage/check.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { LineWriter } from "../telemetry/line-writer.ts";
import type { Logger } from "../telemetry/log.ts";
import { openLogger } from "../telemetry/logger.ts";
import { collectorPollMs } from "./build-registry.ts";
import { loggerOptions } from "./log-options.ts";
import { MarkThreads } from "./mark-threads.ts";
import { openStorage } from "./open-storage.ts";

/** A push writes a manifest's link, and then its tag: beside a registry a younger manifest may be about to get one, whatever the grace. */
const TAGGING_MS = 5_000;

/** For one action of a check; stores that are slower are no use. */
const CHECK_TIMEOUT_MS = 30_000;

/** A collection as it is asked for on the command line or by a schedule. */
export interface CollectionRequest {
  readonly dryRun: boolean;
  readonly deleteUntagged: boolean;
  readonly keepGoing: boolean;
  /** Undefined: the configured one where a registry serves the store, else none. */
  readonly graceMs?: number;
  readonly listener?: CollectListener;
  readonly signal?: AbortSignal;
}

/** What a collection came to, uploads included. */
export interface CollectionOutcome extends CollectResult {
  /** Uploads that were deleted, or with `dryRun` would be. */
  readonly purgedUploads: number;
  /** Uploads that could not be looked at or deleted; each is in the log. */
  readonly purgeErrors: number;
}

/** What looks after a store: used by commands beside a server, and by the jobs inside one. */
export class Maintenance implements AsyncDisposable {
  readonly #config: Config;
  readonly #driver: StorageDriver;
  readonly #log: Logger;
  readonly #flushLog: () => void;

  /** `flushLog` is called at the end, where the log is this object's own. */
  constructor(config: Config, driver: StorageDriver, { log, flushLog = () => undefined }: { readonly log: Logger; readonly flushLog?: () => void }) {
    this.#config = config;
    this.#driver = driver;
    this.#log = log;
    this.#flushLog = flushLog;
  }

  get config(): Config {
    return this.#config;
  }

  /** The type of the store, as it stands in the configuration. */
  get storeName(): string {
    return this.#driver.name;
  }

  /** Collects garbage, then purges the uploads that are older than configured. */
  async collect(request: CollectionRequest): Promise<CollectionOutcome> {
    const collected = await this.#collectGarbage(request);
    const { uploadpurging } = this.#config.storage.maintenance;
    if (!uploadpurging.enabled) return { ...collected, purgedUploads: 0, purgeErrors: 0 };
    const { deleted, errors } = await purgeUploads(
      // Writers in any process are seen by the store's locks; this one has no requests of its own to ask.
      { driver: this.#driver, log: this.#log, isHeld: () => false },
      { olderThan: new Date(SYSTEM_CLOCK.now() - uploadpurging.age), dryRun: request.dryRun || uploadpurging.dryrun, ...(request.signal === undefined ? {} : { signal: request.signal }) },
    );
    return { ...collected, purgedUploads: deleted, purgeErrors: errors };
  }

  async #collectGarbage(request: CollectionRequest): Promise<CollectResult> {
    const { filesystem, maintenance } = this.#config.storage;
    const { garbagecollect, retention } = maintenance;
    const isServed = await hasLiveServer(this.#driver, SYSTEM_CLOCK.now());
    const graceMs = request.graceMs ?? (isServed ? garbagecollect.grace : 0);
    const rules = retention.enabled && !retention.dryrun ? retention.rules : [];
    const notBefore = (ageMs: number | undefined): number | undefined => (ageMs === undefined ? undefined : Math.max(ageMs, isServed ? TAGGING_MS : 0));
    return await collectGarbage(this.#driver, {
      dryRun: request.dryRun,
      untaggedAgeMs: (name) => notBefore(request.deleteUntagged ? graceMs : untaggedAge(rules, name)),
      keepGoing: request.keepGoing,
      graceMs,
      pollMs: collectorPollMs(this.#config),
      clock: SYSTEM_CLOCK,
      log: this.#log,
      ...(filesystem === undefined ? {} : { openWalker: () => new MarkThreads({ rootdirectory: filesystem.rootdirectory, inBackground: isServed }) }),
      ...(request.listener === undefined ? {} : { listener: request.listener }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
  }

  async applyRetention(request: Pick<RetentionOptions, "dryRun" | "onDecision"> & { readonly signal?: AbortSignal }): Promise<RetentionResult> {
    return await applyRetention(this.#driver, { ...request, rules: this.#config.storage.maintenance.retention.rules, now: SYSTEM_CLOCK.now(), log: this.#log });
  }

  async verify(options: VerifyOptions): Promise<VerifyResult> {
    return await verifyStore(this.#driver, options);
  }

  /** Tries the store, in a folder beside the registry's own. */
  async checkStore(listener: ((result: CheckResult) => void) | undefined): Promise<readonly CheckResult[]> {
    const folder = `/docker/storage-check-${crypto.randomUUID()}`;
    return await checkStore(this.#driver, { folder, timeoutMs: CHECK_TIMEOUT_MS, fetchUrl, ...(listener === undefined ? {} : { listener }) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver[Symbol.asyncDispose]();
    this.#flushLog();
  }
}

/** Opens the store of a configuration file for a command. @throws ConfigError */
export async function openMaintenance(file: string | undefined, env: Readonly<Record<string, string | undefined>>): Promise<Maintenance> {
  const { config } = await loadConfig({ path: file, env, strict: false });
  const log = openLogger(loggerOptions(config, { instanceId: crypto.randomUUID() }), new LineWriter(2));
  return new Maintenance(config, await openStorage(config, { log, env }), { log, flushLog: () => log.flush() });
}

/** Fetches a signed URL, which is as good as a credential for a while and is not shown. */
async function fetchUrl(url: string, method: "GET" | "HEAD"): Promise<{ readonly sizeBytes: number; readonly text: string }> {
  const response = await fetch(url, { method, redirect: "manual" });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`status ${response.status} from ${new URL(url).host}`);
  return { sizeBytes: Number(response.headers.get("content-length") ?? text.length), text };
}
