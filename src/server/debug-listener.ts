import type { HealthMonitor } from "../health/monitor.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { listen, type Listener, parseAddress } from "./listen.ts";
import { pathOf } from "./request-path.ts";

/** What the debug listener shows. */
export interface DebugParts {
  readonly health: HealthMonitor;
  /** Undefined: no metrics are served. */
  readonly metrics: { readonly of: Metrics; readonly path: string } | undefined;
  /** The `registry` object of `/debug/vars`. */
  readonly vars: () => Readonly<Record<string, unknown>>;
  /** Whether requests are served: started, and not stopping. */
  readonly isReady: () => boolean;
}

/**
 * Serves health, variables and metrics, without authentication: it belongs on an address that only operators reach.
 * @throws Error when it cannot listen
 */
export async function startDebugListener(address: string, parts: DebugParts): Promise<Listener> {
  return await listen({
    address: parseAddress(address),
    tls: undefined,
    http2: false,
    idleTimeoutSeconds: 60,
    handle: async (request) => await answer(request, parts),
    failed: () => new Response("internal error\n", { status: 500 }),
  });
}

async function answer(request: Request, parts: DebugParts): Promise<Response> {
  const pathname = pathOf(request.url);
  if (request.method !== "GET" && request.method !== "HEAD") return notFound();
  switch (pathname) {
    case "/debug/health":
      return Response.json(parts.health.failures(), { status: parts.health.isHealthy ? 200 : 503 });
    case "/debug/vars":
      return Response.json({ cmdline: process.argv, memstats: process.memoryUsage(), registry: parts.vars() });
    case "/livez":
      return new Response("ok\n");
    case "/readyz":
      return readiness(parts.isReady() && parts.health.isHealthy);
    default:
      if (parts.metrics !== undefined && pathname === parts.metrics.path) return await metricsPage(parts.metrics.of);
      return notFound();
  }
}

/** The answer of `/readyz`. */
export function readiness(ready: boolean): Response {
  return ready ? new Response("ok\n") : new Response("not ready\n", { status: 503, headers: { "Retry-After": "5" } });
}

async function metricsPage(metrics: Metrics): Promise<Response> {
  const { text, contentType } = await metrics.render();
  return new Response(text, { headers: { "Content-Type": contentType } });
}

function notFound(): Response {
  return new Response("404 page not found\n", { status: 404 });
}
