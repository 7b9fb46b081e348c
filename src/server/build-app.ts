import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { AccessController } from "../auth/controller.ts";
import { openAccessController } from "../auth/open.ts";
import type { AuthOptions } from "../auth/options.ts";
import type { DescriptorCache } from "../cache/descriptor-cache.ts";
import { MeasuredCache } from "../cache/measured.ts";
import type { Config } from "../config/schema.ts";
import { configuredChecks } from "../health/checks.ts";
import { HealthMonitor } from "../health/monitor.ts";
import { openAccessLog } from "../http/access-log.ts";
import type { AppOptions, AppParts } from "../http/context.ts";
import { TrustedProxies } from "../http/trusted-proxies.ts";
import { UploadSlots } from "../http/upload-slots.ts";
import { UploadTokens } from "../http/upload-token.ts";
import { configuredBase } from "../http/urls.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import type { EventSink } from "../notifications/event.ts";
import { type Notifications, openNotifications } from "../notifications/notifications.ts";
import { isProxyEnabled } from "../proxy/options.ts";
import { openProxyRegistry, type ProxyRegistry } from "../proxy/proxy-registry.ts";
import { PullTimes } from "../registry/retention/pull-times.ts";
import type { Registry } from "../registry/registry.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { LineWriter } from "../telemetry/line-writer.ts";
import type { Logger } from "../telemetry/log.ts";
import { type Metrics, openMetrics } from "../telemetry/metrics.ts";
import { openTracing, type Tracing } from "../telemetry/trace.ts";
import { type BuiltRegistry, buildRegistry } from "./build-registry.ts";
import { ConnectionLimit } from "./connection-limit.ts";
import { openDescriptorCache } from "./open-cache.ts";
import { openStorage, storageFields } from "./open-storage.ts";

/** The program, put together; nothing listens yet. */
export interface App {
  readonly parts: AppParts;
  readonly driver: StorageDriver;
  readonly local: BuiltRegistry;
  readonly descriptorCache: DescriptorCache | undefined;
  readonly proxy: ProxyRegistry | undefined;
  readonly health: HealthMonitor;
  readonly metrics: Metrics | undefined;
  readonly notifications: Notifications;
  readonly pullTimes: PullTimes | undefined;
  readonly connectionLimit: ConnectionLimit | undefined;
  readonly tracing: Tracing | undefined;
  readonly instanceId: string;
  /** Writes out the access log. */
  flushLogs(): void;
  /**
   * Lets a newer configuration of `auth` decide from now on.
   * @returns Whether it is another one.
   * @throws Error when it cannot be used, or not without a restart; the old one goes on deciding
   */
  reloadAccess(auth: AuthOptions): Promise<boolean>;
}

/** What the program is made from. */
export interface BuildRequest {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly instanceId: string;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

const UNHEALTHY = "health check failed: please see /debug/health";

/** Turns a configuration into objects: the only place where anything is chosen. @throws Error that names what cannot be had */
export async function buildApp(request: BuildRequest): Promise<App> {
  const { config, env, log, instanceId } = request;
  const slots = new UploadSlots(config.http.limits.uploads);
  const connectionLimit = ConnectionLimit.of({ configured: config.http.limits.connections, descriptorsEach: descriptorsEach(config), log });
  const hasMetrics = config.http.debug.addr !== "" && config.http.debug.prometheus.enabled;
  const metrics = hasMetrics ? openMetrics({ uploadsInFlight: () => slots.taken, ...(connectionLimit === undefined ? {} : { connections: connectionLimit }) }) : undefined;
  const tracing = await openTracing(env, log);
  const driver = await openStorage(config, { log, env, metrics: metrics?.storage, tracing });
  log.info("storage is open", storageFields(config));
  const cache = await openDescriptorCache(config, { log });
  const descriptorCache = cache === undefined || metrics === undefined ? cache : new MeasuredCache(cache, metrics.cache);
  const local = buildRegistry(config, { driver, log, descriptorCache });
  const proxy = await openProxy(config, { local, driver, log, metrics });
  const registry: Registry = proxy ?? local.registry;
  const notifications = openNotifications(config.notifications, { log, clock: SYSTEM_CLOCK, sourceAddress: sourceAddress(config), instanceId, ...(metrics === undefined ? {} : { metrics: metrics.notifications }) });
  const pullTimes = config.storage.maintenance.retention.enabled ? new PullTimes(driver, { instance: instanceId, clock: SYSTEM_CLOCK }) : undefined;
  const health = new HealthMonitor(configuredChecks(config.health, driver), { log, clock: SYSTEM_CLOCK });
  const accessSink = new LineWriter(1);
  const openAccess = async (auth: AuthOptions): Promise<AccessController | undefined> =>
    await openAccessController(auth, { log, clock: SYSTEM_CLOCK, secret: config.http.secret, baseUrl: ({ scheme, host }) => publicBase(config, `${scheme}://${host}`) });
  const parts: Writable<AppParts> = {
    registry,
    access: await openAccess(config.auth),
    events: eventSink(config, notifications, pullTimes),
    log,
    accessLog: config.log.accesslog.disabled ? undefined : openAccessLog(config.log.accesslog.formatter, accessSink),
    metrics: metrics?.http,
    tracing,
    tokens: new UploadTokens(httpSecret(config, log)),
    uploadSlots: slots,
    unhealthy: () => (health.isHealthy ? undefined : UNHEALTHY),
    ...(connectionLimit === undefined ? {} : { isCrowded: () => connectionLimit.isCrowded }),
    ...(proxy === undefined ? {} : { resolveNamespace: (namespace, name) => proxy.resolveNamespace(namespace, name) }),
    options: appOptions(config),
  };
  let inForce = config.auth;
  const reloadAccess = async (auth: AuthOptions): Promise<boolean> => {
    if (Bun.deepEquals(auth, inForce)) return false;
    if (kindOfAuth(auth) !== kindOfAuth(inForce)) throw new Error("auth: another kind of authorization needs a restart");
    parts.access = await openAccess(auth);
    inForce = auth;
    return true;
  };
  return { parts, driver, local, descriptorCache, proxy, health, metrics, notifications, pullTimes, connectionLimit, tracing, instanceId, flushLogs: () => accessSink.flush(), reloadAccess };
}

// A connection, and the file or the store's connection that its bytes come from; two more where TLS ends in a front of its own.
function descriptorsEach({ http }: Config): number {
  return http.tls.clientcas.length > 0 ? 4 : 2;
}

async function openProxy(config: Config, parts: { readonly local: BuiltRegistry; readonly driver: StorageDriver; readonly log: Logger; readonly metrics: Metrics | undefined }): Promise<ProxyRegistry | undefined> {
  if (!isProxyEnabled(config.proxy)) return undefined;
  return await openProxyRegistry(config.proxy, {
    local: parts.local.registry,
    driver: parts.driver,
    gate: parts.local.gate,
    deleteEnabled: config.storage.delete.enabled,
    maxManifestBytes: config.http.limits.manifestbytes,
    clock: SYSTEM_CLOCK,
    log: parts.log,
    ...(parts.metrics === undefined ? {} : { metrics: parts.metrics.proxy }),
  });
}

// Where nobody listens nothing is made of requests: no event object for every pull.
function eventSink(config: Config, notifications: Notifications, pullTimes: PullTimes | undefined): EventSink | undefined {
  const listened = config.notifications.endpoints.some((endpoint) => !endpoint.disabled);
  if (pullTimes === undefined) return listened ? notifications : undefined;
  return {
    emit(event, origin) {
      if (event.action === "pull" && event.digest !== undefined) pullTimes.note(event.repository as Parameters<PullTimes["note"]>[0], event.tag === undefined ? [event.digest] : [event.tag, event.digest]);
      if (listened) notifications.emit(event, origin);
    },
  };
}

function httpSecret(config: Config, log: Logger): Uint8Array {
  if (config.http.secret !== undefined && config.http.secret !== "") return Buffer.from(config.http.secret);
  log.warn("No HTTP secret provided - generated random secret. This may cause problems with uploads if multiple registries are behind a load-balancer. To provide a shared secret, set the http.secret configuration key or REGISTRY_HTTP_SECRET.");
  return randomBytes(32);
}

// Whether client certificates are asked for is settled when the listener starts.
function kindOfAuth({ silly, htpasswd, token, certificate }: AuthOptions): string {
  return JSON.stringify([silly !== undefined, htpasswd !== undefined, token !== undefined, certificate ?? null]);
}

function appOptions(config: Config): AppOptions {
  const { http } = config;
  return {
    urls: { host: publicHost(http.host), relative: http.relativeurls, prefix: http.prefix.replace(/\/+$/, "") },
    headers: Object.fromEntries(Object.entries(http.headers).map(([name, values]) => [canonicalName(name), values.join(", ")])),
    trustedProxies: new TrustedProxies(http.trustedproxies),
    readOnly: config.storage.maintenance.readonly.enabled,
    catalogMaxEntries: config.catalog.maxentries,
    tagsMaxTags: config.tags.maxtags,
    maxManifestBytes: http.limits.manifestbytes,
    maxHeaderBytes: http.limits.headerbytes,
    stallTimeoutMs: http.limits.stalltimeout,
  };
}

/** Everything before `/v2/` of the URLs that clients are given. */
function publicBase(config: Config, origin: string): string {
  const host = publicHost(config.http.host);
  return host === undefined ? `${origin}${config.http.prefix.replace(/\/+$/, "")}` : configuredBase(host);
}

// Like distribution: what has no scheme and host is not used.
function publicHost(text: string | undefined): URL | undefined {
  if (text === undefined || !/^[a-z][a-z0-9+.-]*:\/\/./i.test(text) || !URL.canParse(text)) return undefined;
  return new URL(text);
}

function canonicalName(name: string): string {
  return name.toLowerCase().replace(/(^|-)([a-z])/g, (_, dash: string, letter: string) => dash + letter.toUpperCase());
}

function sourceAddress(config: Config): string {
  const port = /:(\d+)$/.exec(config.http.addr)?.[1];
  return port === undefined ? hostname() : `${hostname()}:${port}`;
}
