import type { Span, Tracer } from "@opentelemetry/api";
import type { Logger } from "./log.ts";

/** The span of one request. */
export interface RequestSpan {
  /** Runs work inside the span: what it starts becomes its children. */
  run<T>(work: () => Promise<T>): Promise<T>;
  end(status: number): void;
}

/** Spans of requests and of storage actions. */
export interface Tracing {
  startRequest(request: Request, path: string): RequestSpan;
  /** Runs a storage action in a span of its own. */
  storage<T>(action: string, about: { readonly driver: string; readonly path: string }, work: () => Promise<T>): Promise<T>;
  /** Sends what is waiting, and ends. */
  shutdown(): Promise<void>;
}

type Environment = Readonly<Record<string, string | undefined>>;

const SHUTDOWN_MS = 5_000;

/** Whether the environment asks for tracing. Unlike distribution, which sends spans unless told not to, silence means none. */
export function isTracingWanted(env: Environment): boolean {
  const exporter = env["OTEL_TRACES_EXPORTER"];
  if (env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true") return false;
  if (exporter !== undefined && exporter !== "") return exporter !== "none";
  return (env["OTEL_EXPORTER_OTLP_ENDPOINT"] ?? env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] ?? "") !== "";
}

/**
 * Opens tracing by the `OTEL_*` variables; the SDK is only loaded then.
 * @returns Undefined when the environment does not ask for it.
 * @throws Error for an exporter or protocol that there is none of.
 */
export async function openTracing(env: Environment, log: Logger): Promise<Tracing | undefined> {
  if (!isTracingWanted(env)) return undefined;
  const [api, sdk, core, resources, hooks] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/sdk-trace-base"),
    import("@opentelemetry/core"),
    import("@opentelemetry/resources"),
    import("@opentelemetry/context-async-hooks"),
  ]);
  const exporter = await openExporter(env, sdk);
  const resource = resources.detectResources({ detectors: [resources.envDetector] }).merge(resources.resourceFromAttributes({ "service.name": env["OTEL_SERVICE_NAME"] ?? "distribution" }));
  const provider = new sdk.BasicTracerProvider({ resource, sampler: new sdk.AlwaysOnSampler(), spanProcessors: [new sdk.BatchSpanProcessor(exporter)] });
  const contexts = new hooks.AsyncLocalStorageContextManager().enable();
  api.context.setGlobalContextManager(contexts);
  api.diag.setLogger({ error: (message) => log.error("tracing failed", { "err.message": message }), warn() {}, info() {}, debug() {}, verbose() {} }, api.DiagLogLevel.ERROR);
  const propagator = new core.CompositePropagator({ propagators: [new core.W3CTraceContextPropagator(), new core.W3CBaggagePropagator()] });
  return tracingOn(provider.getTracer("registry"), { api, propagator, shutdown: async () => await provider.shutdown() });
}

async function openExporter(env: Environment, sdk: typeof import("@opentelemetry/sdk-trace-base")): Promise<import("@opentelemetry/sdk-trace-base").SpanExporter> {
  const kind = env["OTEL_TRACES_EXPORTER"] ?? "otlp";
  if (kind === "console") return new sdk.ConsoleSpanExporter();
  if (kind !== "otlp") throw new Error(`OTEL_TRACES_EXPORTER: found ${JSON.stringify(kind)}, expected otlp, console or none`);
  const protocol = env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] ?? env["OTEL_EXPORTER_OTLP_PROTOCOL"] ?? "http/protobuf";
  // The exporters read endpoint, headers, timeout, compression and certificate from the environment themselves.
  if (protocol === "http/protobuf") return new (await import("@opentelemetry/exporter-trace-otlp-proto")).OTLPTraceExporter();
  if (protocol === "http/json") return new (await import("@opentelemetry/exporter-trace-otlp-http")).OTLPTraceExporter();
  throw new Error(`OTEL_EXPORTER_OTLP_PROTOCOL: found ${JSON.stringify(protocol)}, expected http/protobuf or http/json`);
}

interface TracingParts {
  readonly api: typeof import("@opentelemetry/api");
  readonly propagator: import("@opentelemetry/api").TextMapPropagator;
  readonly shutdown: () => Promise<void>;
}

function tracingOn(tracer: Tracer, { api, propagator, shutdown }: TracingParts): Tracing {
  const headerGetter = { get: (headers: Headers, key: string) => headers.get(key) ?? undefined, keys: (headers: Headers) => [...headers.keys()] };
  return {
    startRequest(request, path) {
      const parent = propagator.extract(api.ROOT_CONTEXT, request.headers, headerGetter);
      const attributes = { "http.request.method": request.method, "url.path": path, "user_agent.original": request.headers.get("user-agent") ?? "" };
      const span = tracer.startSpan(`${request.method} ${path}`, { kind: api.SpanKind.SERVER, attributes }, parent);
      const inside = api.trace.setSpan(parent, span);
      return {
        run: async (work) => await api.context.with(inside, work),
        end(status) {
          span.setAttribute("http.response.status_code", status);
          if (status >= 500) span.setStatus({ code: api.SpanStatusCode.ERROR });
          span.end();
        },
      };
    },
    storage: async (action, about, work) =>
      await tracer.startActiveSpan(action, { attributes: { "io.cncf.distribution.storage.driver.name": about.driver, "io.cncf.distribution.storage.path": about.path } }, async (span: Span) => {
        try {
          return await work();
        } catch (error) {
          span.recordException(error instanceof Error ? error : String(error));
          span.setStatus({ code: api.SpanStatusCode.ERROR });
          throw error;
        } finally {
          span.end();
        }
      }),
    shutdown: async () => await Promise.race([shutdown(), Bun.sleep(SHUTDOWN_MS)]),
  };
}
