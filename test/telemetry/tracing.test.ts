import { describe, expect, test } from "bun:test";
import { expectStatus, pushBlob } from "../support/http.ts";
import { startRegistry } from "../support/registry-process.ts";
import { refusedStart } from "../config/refusal.ts";

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}

/** Takes spans as a collector of OpenTelemetry does. */
interface Collector extends AsyncDisposable {
  readonly url: string;
  readonly requests: readonly { readonly path: string; readonly headers: Headers; readonly body: Uint8Array }[];
  /** Of requests in JSON. */
  spans(): readonly Span[];
  /** The `service.name` that the first one came from. */
  service(): unknown;
}

interface Payload {
  readonly resourceSpans: readonly { readonly resource: { readonly attributes: Span["attributes"] }; readonly scopeSpans: readonly { readonly spans: readonly Span[] }[] }[];
}

function startCollector(): Collector {
  const requests: { path: string; headers: Headers; body: Uint8Array }[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      requests.push({ path: new URL(request.url).pathname, headers: request.headers, body: await request.bytes() });
      return Response.json({});
    },
  });
  const payloads = (): Payload[] => requests.map(({ body }) => JSON.parse(new TextDecoder().decode(body)) as Payload);
  return {
    url: server.url.origin,
    requests,
    spans: () => payloads().flatMap(({ resourceSpans }) => resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))),
    service: () => payloads()[0]?.resourceSpans[0]?.resource.attributes.find(({ key }) => key === "service.name")?.value["stringValue"],
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
}

function attribute(span: Span | undefined, name: string): unknown {
  const value = span?.attributes.find(({ key }) => key === name)?.value;
  return value?.["stringValue"] ?? value?.["intValue"];
}

const PARENT = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };

describe("tracing", () => {
  test("sends a span for every request and every storage action, in the trace that the client began", async () => {
    await using collector = startCollector();
    await using registry = await startRegistry({ env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", OTEL_SERVICE_NAME: "my-registry", OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=ops" } });
    await pushBlob({ url: registry.url, name: "a" }, "content");
    await expectStatus(404, `${registry.url}/v2/a/manifests/none`, { headers: { traceparent: `00-${PARENT.traceId}-${PARENT.spanId}-01` } });
    await registry.child.stop();

    const spans = collector.spans();
    expect(collector.service()).toBe("my-registry");
    expect(collector.requests[0]?.path).toBe("/v1/traces");
    expect(collector.requests[0]?.headers.get("x-tenant")).toBe("ops");
    const request = spans.find(({ name }) => name === "GET /v2/a/manifests/none");
    expect(request).toMatchObject({ traceId: PARENT.traceId, parentSpanId: PARENT.spanId, kind: 2 });
    expect(attribute(request, "http.response.status_code")).toBe(404);
    const actions = spans.filter(({ parentSpanId }) => parentSpanId === request?.spanId);
    expect(actions.length).toBeGreaterThan(0);
    expect(attribute(actions[0], "io.cncf.distribution.storage.driver.name")).toBe("filesystem");
    expect(String(attribute(actions[0], "io.cncf.distribution.storage.path"))).toStartWith("/docker/registry/v2/");
    const post = spans.find(({ name }) => name === "POST /v2/a/blobs/uploads/");
    expect(post?.parentSpanId ?? "").toBe("");
    expect(new Set(spans.map(({ name }) => name))).toContain("PutContent");
  });

  test("sends protobuf unless told otherwise, and sends it while it runs", async () => {
    await using collector = startCollector();
    await using registry = await startRegistry({ env: { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/custom`, OTEL_BSP_SCHEDULE_DELAY: "50" } });
    await expectStatus(200, `${registry.url}/v2/`);
    const deadline = Date.now() + 5000;
    while (collector.requests.length === 0 && Date.now() < deadline) await Bun.sleep(20);
    expect(collector.requests[0]?.path).toBe("/custom");
    expect(collector.requests[0]?.headers.get("content-type")).toBe("application/x-protobuf");
    expect(new TextDecoder().decode(collector.requests[0]?.body)).toContain("GET /v2/");
  });

  test("sends nothing when nobody asks for it", async () => {
    await using collector = startCollector();
    for (const env of [{}, { OTEL_TRACES_EXPORTER: "none", OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }, { OTEL_SDK_DISABLED: "true", OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }]) {
      await using registry = await startRegistry({ env });
      await expectStatus(200, `${registry.url}/v2/`);
      await registry.child.stop();
    }
    expect(collector.requests).toEqual([]);
  });

  test("writes spans to the output with the console exporter", async () => {
    await using registry = await startRegistry({ env: { OTEL_TRACES_EXPORTER: "console" } });
    await expectStatus(200, `${registry.url}/v2/`);
    await registry.child.stop();
    expect(registry.child.output()).toContain('name: "GET /v2/"');
  });

  test("a collector that is away is spoken of in the log, and serving goes on", async () => {
    await using registry = await startRegistry({ env: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_BSP_SCHEDULE_DELAY: "50", OTEL_EXPORTER_OTLP_TIMEOUT: "300" } });
    for (let request = 0; request < 3; request++) await expectStatus(200, `${registry.url}/v2/`);
    await registry.child.waitForOutput(/level=error msg="tracing failed"/);
    expect(await registry.child.stop()).toBe(0);
  });
});

test("an exporter that there is none of ends the start", async () => {
  const { exitCode, stderr } = await refusedStart({}, { env: { OTEL_TRACES_EXPORTER: "zipkin" } });
  expect(exitCode).toBe(1);
  expect(stderr).toContain('OTEL_TRACES_EXPORTER: found "zipkin", expected otlp, console or none');
});
