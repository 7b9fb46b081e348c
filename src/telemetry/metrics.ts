import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry as PromRegistry } from "prom-client";

const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60];
const SIZES = Array.from({ length: 22 }, (_, power) => 1024 * 2 ** power);
const METHODS = new Set(["get", "head", "put", "post", "patch", "delete", "options"]);

/** What is measured of one answered request. */
export interface RequestMeasure {
  readonly status: number;
  readonly durationSeconds: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
}

/** What the HTTP layer tells. */
export interface HttpMetrics {
  begin(handler: string): void;
  end(handler: string, method: string, measure: RequestMeasure): void;
}

/** What the wrapper around storage drivers tells. */
export interface StorageMetrics {
  action(driver: string, action: string, seconds: number): void;
}

/** What descriptor caches tell. */
export interface CacheMetrics {
  request(outcome: "hit" | "miss" | "error"): void;
  redis(operation: string, seconds: number): void;
}

/** What notification endpoints tell. */
export interface NotificationMetrics {
  count(endpoint: string, counter: string): void;
  pending(endpoint: string, change: number): void;
  status(endpoint: string, text: string): void;
  dropped(endpoint: string, events: number): void;
}

/** What the pull-through cache tells. */
export interface ProxyMetrics {
  count(kind: "blob" | "manifest", counter: "Requests" | "Hits" | "Misses" | "BytesPulled" | "BytesPushed", amount: number): void;
  rateLimitRemaining(remote: string, remaining: number): void;
}

/** What is measured of one collection. */
export interface CollectionMeasure {
  /** Blobs that something needs; undefined when the collection did not get so far. */
  readonly markedBlobs?: number;
  readonly deletedBlobs: number;
  readonly freedBytes: number;
  readonly durationSeconds: number;
}

/** What collections tell. */
export interface CollectionMetrics {
  finished(outcome: "ok" | "failed", measure: CollectionMeasure): void;
}

/** Numbers that are asked for when metrics are read. */
export interface MetricSources {
  readonly uploadsInFlight?: () => number;
  /** The API's connections. */
  readonly connections?: { /** Undefined: they cannot be counted. */ connections(): number | undefined; readonly limit: number };
}

/** All metrics of the program, under distribution's names where it has them. */
export interface Metrics {
  readonly http: HttpMetrics;
  readonly storage: StorageMetrics;
  readonly cache: CacheMetrics;
  readonly notifications: NotificationMetrics;
  readonly proxy: ProxyMetrics;
  readonly collections: CollectionMetrics;
  /** In the text format of Prometheus. */
  render(): Promise<{ readonly text: string; readonly contentType: string }>;
}

/** Makes the metrics; costs nothing until something is counted, so only call it when somebody will read them. */
export function openMetrics(sources: MetricSources = {}): Metrics {
  const registers = [new PromRegistry()];
  const [register] = registers as [PromRegistry];
  collectDefaultMetrics({ register });
  if (sources.uploadsInFlight !== undefined) {
    const { uploadsInFlight } = sources;
    new Gauge({ name: "registry_uploads_in_flight", help: "Request bodies being written to the store", registers, collect() { this.set(uploadsInFlight()); } });
  }
  if (sources.connections !== undefined) connectionMetrics(sources.connections, registers);
  return {
    http: httpMetrics(registers),
    storage: storageMetrics(registers),
    cache: cacheMetrics(registers),
    notifications: notificationMetrics(registers),
    proxy: proxyMetrics(registers),
    collections: collectionMetrics(registers),
    render: async () => ({ text: await register.metrics(), contentType: register.contentType }),
  };
}

type Registers = PromRegistry[];

function connectionMetrics(source: NonNullable<MetricSources["connections"]>, registers: Registers): void {
  new Gauge({ name: "registry_http_connections_limit", help: "Connections that the API takes at once", registers }).set(source.limit);
  new Gauge({ name: "registry_http_connections", help: "Connections of the API's clients", registers, collect() { this.set(source.connections() ?? Number.NaN); } });
}

function httpMetrics(registers: Registers): HttpMetrics {
  const inFlight = new Gauge({ name: "registry_http_in_flight_requests", help: "The in-flight HTTP requests", labelNames: ["handler"], registers });
  const seconds = new Histogram({ name: "registry_http_request_duration_seconds", help: "The HTTP request latencies in seconds.", labelNames: ["handler", "method"], buckets: REQUEST_SECONDS, registers });
  const total = new Counter({ name: "registry_http_requests_total", help: "Total number of HTTP requests made.", labelNames: ["code", "handler", "method"], registers });
  const requestSize = new Histogram({ name: "registry_http_request_size_bytes", help: "The HTTP request sizes in bytes.", labelNames: ["handler"], buckets: SIZES, registers });
  const responseSize = new Histogram({ name: "registry_http_response_size_bytes", help: "The HTTP response sizes in bytes.", labelNames: ["handler"], buckets: SIZES, registers });
  // Children with their labels resolved: finding them by label objects would cost more than counting.
  const gauges = new Map<string, ReturnType<typeof inFlight.labels>>();
  const children = new Map<string, { readonly seconds: ReturnType<typeof seconds.labels>; readonly total: ReturnType<typeof total.labels>; readonly requestSize: ReturnType<typeof requestSize.labels>; readonly responseSize: ReturnType<typeof responseSize.labels> }>();
  const gauge = (handler: string): ReturnType<typeof inFlight.labels> => remembered(gauges, handler, () => inFlight.labels({ handler }));
  return {
    begin: (handler) => gauge(handler).inc(),
    end(handler, method, measure) {
      gauge(handler).dec();
      const child = remembered(children, `${handler} ${method} ${measure.status}`, () => {
        const lower = method.toLowerCase();
        const name = METHODS.has(lower) ? lower : "unknown";
        return { seconds: seconds.labels({ handler, method: name }), total: total.labels({ code: String(measure.status), handler, method: name }), requestSize: requestSize.labels({ handler }), responseSize: responseSize.labels({ handler }) };
      });
      child.total.inc();
      child.seconds.observe(measure.durationSeconds);
      child.requestSize.observe(measure.requestBytes);
      child.responseSize.observe(measure.responseBytes);
    },
  };
}

function storageMetrics(registers: Registers): StorageMetrics {
  const seconds = new Histogram({ name: "registry_storage_action_seconds", help: "The number of seconds that the storage action takes", labelNames: ["action", "driver"], registers });
  const children = new Map<string, ReturnType<typeof seconds.labels>>();
  return { action: (driver, action, value) => remembered(children, `${driver} ${action}`, () => seconds.labels({ action, driver })).observe(value) };
}

function cacheMetrics(registers: Registers): CacheMetrics {
  const requests = new Counter({ name: "registry_storage_cache_requests_total", help: "The number of cache request received", registers });
  const hits = new Counter({ name: "registry_storage_cache_hits_total", help: "The number of cache request received", registers });
  const errors = new Counter({ name: "registry_storage_cache_errors_total", help: "The number of cache request errors", registers });
  const redis = new Histogram({ name: "registry_storage_cache_redis_seconds", help: "Latency of redis operations", labelNames: ["operation"], registers });
  return {
    request(outcome) {
      requests.inc();
      if (outcome === "hit") hits.inc();
      if (outcome === "error") errors.inc();
    },
    redis: (operation, value) => redis.observe({ operation }, value),
  };
}

function notificationMetrics(registers: Registers): NotificationMetrics {
  const events = new Counter({ name: "registry_notifications_events_total", help: "The number of total events", labelNames: ["endpoint", "type"], registers });
  const pending = new Gauge({ name: "registry_notifications_pending_total", help: "The gauge of pending events in queue", labelNames: ["endpoint"], registers });
  const statuses = new Counter({ name: "registry_notifications_status_total", help: "The number of status code", labelNames: ["code", "endpoint"], registers });
  const dropped = new Counter({ name: "registry_notifications_dropped_total", help: "Events given up because the queue was full", labelNames: ["endpoint"], registers });
  return {
    count: (endpoint, type) => events.inc({ endpoint, type }),
    pending: (endpoint, change) => pending.inc({ endpoint }, change),
    status: (endpoint, code) => statuses.inc({ code, endpoint }),
    dropped: (endpoint, count) => dropped.inc({ endpoint }, count),
  };
}

function proxyMetrics(registers: Registers): ProxyMetrics {
  const counter = (name: string, help: string): Counter<"type"> => {
    const made = new Counter({ name, help, labelNames: ["type"], registers });
    for (const type of ["blob", "manifest"]) made.inc({ type }, 0);
    return made;
  };
  const counters = {
    Requests: counter("registry_proxy_requests_total", "The number of total incoming proxy request received"),
    Hits: counter("registry_proxy_hits_total", "The number of total proxy request hits"),
    Misses: counter("registry_proxy_misses_total", "The number of total proxy request misses"),
    BytesPulled: counter("registry_proxy_pulled_bytes_total", "The size of total bytes pulled from the upstream"),
    BytesPushed: counter("registry_proxy_pushed_bytes_total", "The size of total bytes pushed to the client"),
  };
  const remaining = new Gauge({ name: "registry_proxy_ratelimit_remaining", help: "Pulls that the upstream still grants", labelNames: ["remote"], registers });
  return { count: (type, name, amount) => counters[name].inc({ type }, amount), rateLimitRemaining: (remote, value) => remaining.set({ remote }, value) };
}

function collectionMetrics(registers: Registers): CollectionMetrics {
  const runs = new Counter({ name: "registry_gc_runs_total", help: "Garbage collections by outcome", labelNames: ["outcome"], registers });
  const blobs = new Counter({ name: "registry_gc_deleted_blobs_total", help: "Blobs deleted by garbage collection", registers });
  const bytes = new Counter({ name: "registry_gc_freed_bytes_total", help: "Bytes freed by garbage collection", registers });
  const needed = new Gauge({ name: "registry_gc_needed_blobs", help: "Blobs that images need, as the last garbage collection found", registers });
  const seconds = new Gauge({ name: "registry_gc_last_duration_seconds", help: "Duration of the last garbage collection", registers });
  return {
    finished(outcome, measure) {
      runs.inc({ outcome });
      blobs.inc(measure.deletedBlobs);
      bytes.inc(measure.freedBytes);
      seconds.set(measure.durationSeconds);
      if (measure.markedBlobs !== undefined) needed.set(measure.markedBlobs);
    },
  };
}

function remembered<T>(children: Map<string, T>, key: string, make: () => T): T {
  let child = children.get(key);
  if (child === undefined) {
    child = make();
    children.set(key, child);
  }
  return child;
}
