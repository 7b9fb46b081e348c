import { Cron } from "croner";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import type { ProxyRegistry } from "../proxy/proxy-registry.ts";
import type { Debris } from "../registry/gc/debris.ts";
import { clearPresence, PRESENCE_INTERVAL_MS, writePresence } from "../registry/gc/state.ts";
import { LineWriter } from "../telemetry/line-writer.ts";
import { openLogger, type RootLogger } from "../telemetry/logger.ts";
import { MailHooks } from "../telemetry/mail-hooks.ts";
import { type Acme, isAcmeOn, openAcme } from "./acme.ts";
import { ApiListener } from "./api-listener.ts";
import { type App, buildApp } from "./build-app.ts";
import { startDebugListener } from "./debug-listener.ts";
import { inheritedSocket } from "./inherited-socket.ts";
import { Jobs } from "./jobs.ts";
import { runUntilSignal } from "./lifecycle.ts";
import type { Listener } from "./listen.ts";
import { loggerOptions } from "./log-options.ts";
import { Maintenance } from "./maintenance.ts";
import { notifyServiceManager } from "./service-manager.ts";
import { isTlsOn } from "./tls.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const MINUTE_MS = 60_000;
/** How often it is looked whether something has expired in a mirror since the last collection. */
const PROXY_COLLECTION_MS = 30 * MINUTE_MS;
const PROXY_UPKEEP_MS = 5_000;
const PULL_TIMES_FLUSH_MS = 10 * MINUTE_MS;
/** The first purge comes within this time (or an interval, if that is shorter), at random: instances that start together do not all walk the store at once. */
const PURGE_SPREAD_MS = 60 * MINUTE_MS;

/** Serves until a signal ends it. @throws Error that names what is wrong with configuration, store or address */
export async function serve(loaded: LoadedConfig, env: Environment): Promise<void> {
  const starting = startServer(loaded, env);
  // Before anybody is told that it listens: whoever waits for that may send a signal at once.
  const ended = runUntilSignal({
    stop: async (signal) => await (await starting).stop(signal),
    kill: () => process.exit(1),
    reload: (signal) =>
      starting.then(
        (server) => reload(server, signal),
        () => undefined,
      ),
  });
  await starting;
  await ended;
}

async function reload(server: RunningServer, signal: NodeJS.Signals): Promise<void> {
  server.log.info("reloading", { signal });
  try {
    await server.reload();
  } catch (error) {
    server.log.error("reload failed", { "err.message": error instanceof Error ? error.message : String(error) });
  }
}

/** A server that runs. */
export interface RunningServer {
  readonly log: RootLogger;
  readonly address: string;
  stop(reason: string): Promise<void>;
  reload(): Promise<void>;
}

/** Starts everything: the registry, its listeners, its jobs. */
export async function startServer(loaded: LoadedConfig, env: Environment): Promise<RunningServer> {
  const { config } = loaded;
  const instanceId = crypto.randomUUID();
  const sink = new LineWriter(2);
  const log = openLogger(loggerOptions(config, { instanceId }), sink);
  const mails = new MailHooks(config.log.hooks, { log, clock: SYSTEM_CLOCK });
  for (const warning of loaded.warnings) log.warn(formatProblem(warning));
  if (loaded.file === undefined) log.info("no configuration file given: using the embedded default", { rootdirectory: config.storage.filesystem?.rootdirectory });
  const app = await buildApp({ config, env, log, instanceId });
  let ready = false;
  const isReady = (): boolean => ready;
  const debug = await openDebug(loaded, app, { log, isReady });
  const acme = isAcmeOn(config.http.tls.letsencrypt) ? await openAcme(config.http.tls.letsencrypt, { log, clock: SYSTEM_CLOCK }) : undefined;
  const inherited = inheritedSocket(env);
  if (inherited !== undefined) log.info("listening on the socket that was handed over, and not on http.addr", { address: inherited.address });
  if (inherited !== undefined && inherited.others > 0) log.warn("further sockets were handed over, and are not used", { count: inherited.others });
  const api = await ApiListener.start(config.http, { app: app.parts, log, isReady, inherited, connectionLimit: app.connectionLimit, ...(acme === undefined ? {} : { acme }) });
  const jobs = startJobs(loaded, app, log);
  ready = true;
  announce(`listening on ${api.address}${isTlsOn(config.http.tls) ? ", tls" : ""}`, log, sink);
  notifyServiceManager(env["NOTIFY_SOCKET"], "READY=1");
  const server = new Server({ loaded, env, app, log, mails, api, acme, debug, jobs, setReady: (value) => void (ready = value) });
  return { log, address: api.address, stop: async (reason) => await server.stop(reason), reload: async () => await server.reload() };
}

// What waits for this line, and learns a free port from it, waits at every level of the log.
function announce(message: string, log: RootLogger, sink: LineWriter): void {
  if (log.isEnabled("info")) log.info(message);
  else sink.write(`${message}\n`);
  log.flush();
}

interface ServerParts {
  readonly loaded: LoadedConfig;
  readonly env: Environment;
  readonly app: App;
  readonly log: RootLogger;
  readonly mails: MailHooks;
  readonly api: ApiListener;
  readonly acme: Acme | undefined;
  readonly debug: Listener | undefined;
  readonly jobs: Jobs;
  readonly setReady: (ready: boolean) => void;
}

class Server {
  readonly #parts: ServerParts;

  constructor(parts: ServerParts) {
    this.#parts = parts;
  }

  /** No new connections, then time for what is under way, then everything else in the order of its use. */
  async stop(reason: string): Promise<void> {
    const { loaded, env, app, log, mails, api, debug, jobs, setReady } = this.#parts;
    const drainMs = loaded.config.http.draintimeout;
    setReady(false);
    notifyServiceManager(env["NOTIFY_SOCKET"], "STOPPING=1");
    log.info(drainMs > 0 ? `stopping server gracefully. Draining connections for ${drainMs / 1000}s` : "stopping server", { signal: reason });
    const startedAt = performance.now();
    const left = (): number => Math.max(0, drainMs - (performance.now() - startedAt));
    if (drainMs > 0) {
      const drained = await Promise.race([api.stop(true).then(() => true), Bun.sleep(drainMs).then(() => false)]);
      if (!drained) log.warn("requests were still under way at the end of http.draintimeout", { pending: api.pending });
    }
    await api.stop(false);
    app.connectionLimit?.[Symbol.dispose]();
    await app.notifications.flush(left());
    await jobs[Symbol.asyncDispose]();
    await this.#close();
    await debug?.stop(false);
    app.flushLogs();
    await mails.close(left());
    log.info("stopped");
    log.flush();
  }

  /** Reads again what can change: the certificate, the log's level, who may do what. */
  async reload(): Promise<void> {
    const { loaded, env, app, log, api } = this.#parts;
    notifyServiceManager(env["NOTIFY_SOCKET"], "RELOADING=1");
    const done: string[] = [];
    if (await api.reloadCertificate()) done.push("certificate");
    done.push(...((await app.parts.access?.reload?.()) ?? []));
    const { config } = await loadConfig({ path: loaded.file, env, strict: false });
    if (await app.reloadAccess(config.auth)) done.push("auth");
    const level = config.log.level ?? "info";
    if (level !== log.level()) done.push(`log level ${level}`);
    // The more talkative of both levels says what was done.
    const isHeard = log.isEnabled("info");
    if (!isHeard) log.setLevel(level);
    log.info("reloaded", { changed: done.length === 0 ? "nothing" : done.join(", ") });
    if (isHeard) log.setLevel(level);
    notifyServiceManager(env["NOTIFY_SOCKET"], "READY=1");
  }

  async #close(): Promise<void> {
    const { acme, app, log } = this.#parts;
    const closing: (() => Promise<unknown>)[] = [
      async () => await acme?.[Symbol.asyncDispose](),
      async () => await app.pullTimes?.flush(),
      async () => await app.notifications.close(),
      async () => await app.proxy?.close(),
      async () => await app.health[Symbol.asyncDispose](),
      async () => await clearPresence(app.driver, app.instanceId),
      async () => await app.local.registry[Symbol.asyncDispose](),
      async () => await app.descriptorCache?.[Symbol.asyncDispose](),
      async () => await app.driver[Symbol.asyncDispose](),
      async () => await app.tracing?.shutdown(),
    ];
    for (const close of closing) {
      try {
        await close();
      } catch (error) {
        log.error("closing failed", { "err.message": error instanceof Error ? error.message : String(error) });
      }
    }
  }
}

async function openDebug(loaded: LoadedConfig, app: App, state: { readonly log: RootLogger; readonly isReady: () => boolean }): Promise<Listener | undefined> {
  const { debug } = loaded.config.http;
  if (debug.addr === "") return undefined;
  const listener = await startDebugListener(debug.addr, {
    health: app.health,
    metrics: app.metrics === undefined ? undefined : { of: app.metrics, path: debug.prometheus.path },
    vars: () => ({ notifications: { endpoints: app.notifications.vars() }, ...(app.proxy === undefined ? {} : { proxy: app.proxy.vars() }) }),
    isReady: state.isReady,
  });
  state.log.info(`debug server listening ${listener.address}`);
  if (app.metrics !== undefined) state.log.info(`providing prometheus metrics on ${debug.prometheus.path}`);
  return listener;
}

function startJobs(loaded: LoadedConfig, app: App, log: RootLogger): Jobs {
  const jobs = new Jobs(log, SYSTEM_CLOCK);
  const { maintenance } = loaded.config.storage;
  const { uploadpurging, garbagecollect, readonly } = maintenance;
  if (uploadpurging.enabled) {
    const delayMs = Math.floor(Math.random() * Math.min(PURGE_SPREAD_MS, uploadpurging.interval));
    log.info(`Starting upload purge in ${Math.round(delayMs / MINUTE_MS)}m0s`);
    jobs.start("upload purge", { delayMs, intervalMs: uploadpurging.interval }, async (signal) => {
      await app.local.registry.purgeUploads({ olderThan: new Date(SYSTEM_CLOCK.now() - uploadpurging.age), dryRun: uploadpurging.dryrun, signal });
    });
  }
  if (!readonly.enabled) jobs.start("presence", { delayMs: 0, intervalMs: PRESENCE_INTERVAL_MS }, async () => await writePresence(app.driver, app.instanceId));
  const { proxy, pullTimes } = app;
  if (proxy !== undefined) startMirrorUpkeep(proxy, loaded, { app, jobs, log });
  if (pullTimes !== undefined) jobs.start("pull times", { delayMs: PULL_TIMES_FLUSH_MS, intervalMs: PULL_TIMES_FLUSH_MS }, async () => await pullTimes.flush());
  if (garbagecollect.enabled) startCollector(loaded, app, { jobs, log });
  return jobs;
}

// What expires leaves its repositories at once, and the store with a collection: whether or not others are scheduled.
function startMirrorUpkeep(proxy: ProxyRegistry, loaded: LoadedConfig, parts: { readonly app: App; readonly jobs: Jobs; readonly log: RootLogger }): void {
  let isDue = false;
  parts.jobs.start("proxy upkeep", { delayMs: PROXY_UPKEEP_MS, intervalMs: PROXY_UPKEEP_MS }, async (signal) => {
    const { blobs, manifests } = await proxy.maintain(signal);
    isDue ||= blobs + manifests > 0;
  });
  const collect = collection(loaded, parts.app, parts.log);
  parts.jobs.start("proxy collection", { delayMs: PROXY_COLLECTION_MS, intervalMs: PROXY_COLLECTION_MS }, async (signal) => {
    if (!isDue) return;
    await collect(signal);
    isDue = false;
  });
}

function startCollector(loaded: LoadedConfig, app: App, parts: { readonly jobs: Jobs; readonly log: RootLogger }): void {
  const { garbagecollect, retention } = loaded.config.storage.maintenance;
  const maintenance = new Maintenance(loaded.config, app.driver, parts);
  const collect = collection(loaded, app, parts.log);
  const next = nextRun(garbagecollect);
  parts.jobs.start("garbage collection", { delayMs: next(), intervalMs: next }, async (signal) => {
    if (!isInWindow(garbagecollect.window, new Date())) return;
    // What was pulled a moment ago counts, too.
    await app.pullTimes?.flush();
    if (retention.enabled) await maintenance.applyRetention({ dryRun: retention.dryrun || garbagecollect.dryrun, signal });
    await collect(signal);
  });
}

/** One collection as it is configured, with its outcome in the log and the metrics. */
function collection(loaded: LoadedConfig, app: App, log: RootLogger): (signal: AbortSignal) => Promise<void> {
  const { garbagecollect } = loaded.config.storage.maintenance;
  const maintenance = new Maintenance(loaded.config, app.driver, { log });
  return async (signal) => {
    const startedAt = performance.now();
    try {
      const result = await maintenance.collect({ dryRun: garbagecollect.dryrun, deleteUntagged: garbagecollect.deleteuntagged, keepGoing: false, graceMs: garbagecollect.grace, signal });
      const { debris, doubts, ...counts } = result;
      log.info("garbage collection finished", { ...counts, ...debrisFields(debris), doubts: doubts.length });
      app.metrics?.collections.finished("ok", { ...result, durationSeconds: result.durationMs / 1000 });
    } catch (error) {
      app.metrics?.collections.finished("failed", { deletedBlobs: 0, freedBytes: 0, durationSeconds: (performance.now() - startedAt) / 1000 });
      throw error;
    }
  };
}

function debrisFields(debris: Debris): Readonly<Record<string, number>> {
  return { deletedTags: debris.tags, deletedReferrerLinks: debris.referrerLinks, deletedLeftovers: debris.leftovers, deletedRepositories: debris.repositories };
}

function nextRun(options: { readonly interval: number; readonly cron?: string | undefined }): () => number {
  if (options.cron === undefined) return () => options.interval;
  const cron = new Cron(options.cron, { paused: true });
  return () => Math.max(1000, cron.msToNext() ?? options.interval);
}

/** Whether a moment is in a time of day like `22:00-04:00`; always, when there is none. */
export function isInWindow(window: string | undefined, now: Date): boolean {
  if (window === undefined) return true;
  const [from = "", to = ""] = window.split("-");
  const time = `${String(now.getHours()).padStart(2, "0")}:${String(now.getMinutes()).padStart(2, "0")}`;
  return from <= to ? time >= from && time < to : time >= from || time < to;
}
