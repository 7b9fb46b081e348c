import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { refusedStart } from "../config/refusal.ts";
import { freePort } from "../support/free-port.ts";
import { ACCEPT_ALL, expectStatus, pushBlob, pushImage, seededBytes, startUpload } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

/** Where a registry's debug listener is. */
function debugUrl(registry: RegistryProcess): string {
  const address = /debug server listening (127\.0\.0\.1:\d+)/.exec(registry.child.output())?.[1];
  if (address === undefined) throw new Error(`no debug listener:\n${registry.child.output()}`);
  return `http://${address}`;
}

/** Values by `name{labels}`, labels sorted as they are written. */
async function readMetrics(registry: RegistryProcess, path = "/metrics"): Promise<ReadonlyMap<string, number>> {
  const text = await (await expectStatus(200, `${debugUrl(registry)}${path}`)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

/** The sum over all labels. */
function sumOf(metrics: ReadonlyMap<string, number>, name: string, having = ""): number {
  return [...metrics].filter(([key]) => (key === name || key.startsWith(`${name}{`)) && key.includes(having)).reduce((sum, [, value]) => sum + value, 0);
}

describe("http.debug", () => {
  test("http.debug.addr: a listener of its own, without which nothing of it is to be had", async () => {
    const port = freePort();
    await using registry = await startRegistry({ config: { http: { debug: { addr: `127.0.0.1:${port}` } } } });
    expect(debugUrl(registry)).toBe(`http://127.0.0.1:${port}`);
    await expectStatus(200, `http://127.0.0.1:${port}/debug/health`);
    for (const path of ["/", "/metrics", "/v2/"]) await expectStatus(404, `http://127.0.0.1:${port}${path}`);
    for (const path of ["/debug/health", "/debug/vars", "/metrics"]) await expectStatus(404, `${registry.url}${path}`);
    await using without = await startRegistry();
    expect(without.child.output()).not.toContain("debug server listening");
    const { exitCode, stderr } = await refusedStart({ http: { addr: "127.0.0.1:0", debug: { addr: `127.0.0.1:${port}` } } });
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`cannot listen on 127.0.0.1:${port}`);
  });

  test("http.debug.prometheus.enabled and path: metrics, where they are told to be", async () => {
    await using registry = await startRegistry({ config: { http: { debug: { addr: "127.0.0.1:0", prometheus: { enabled: true, path: "/my/metrics" } } } } });
    expect(registry.child.output()).toContain("providing prometheus metrics on /my/metrics");
    const response = await expectStatus(200, `${debugUrl(registry)}/my/metrics`);
    expect(response.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
    await expectStatus(404, `${debugUrl(registry)}/metrics`);
  });

  test("/debug/vars tells of endpoints and of the process", async () => {
    const notifications = { endpoints: [{ name: "a", url: "http://127.0.0.1:1", headers: { Authorization: ["Bearer hidden"] } }] };
    await using registry = await startRegistry({ config: { notifications, http: { debug: { addr: "127.0.0.1:0" } } } });
    await pushBlob({ url: registry.url, name: "a" }, "x");
    const vars = (await (await expectStatus(200, `${debugUrl(registry)}/debug/vars`)).json()) as { cmdline: string[]; memstats: object; registry: { notifications: { endpoints: object[] } } };
    expect(vars.cmdline).toContain("serve");
    expect(vars.registry.notifications.endpoints[0]).toMatchObject({ name: "a", Metrics: { Events: 1 } });
    expect(JSON.stringify(vars)).not.toContain("Bearer hidden");
  });
});

describe("metrics", () => {
  let registry: RegistryProcess;
  const cleanup = new AsyncDisposableStack();
  const body = seededBytes(300_000, 9);
  beforeAll(async () => {
    const storage = { maintenance: { garbagecollect: { enabled: true, interval: "1s", grace: "1s" } } };
    const notifications = { endpoints: [{ name: "a", url: "http://127.0.0.1:1" }] };
    registry = cleanup.use(await startRegistry({ config: { storage, notifications, http: { debug: { addr: "127.0.0.1:0", prometheus: { enabled: true } } } } }));
    const repository = { url: registry.url, name: "team/app" };
    const image = await pushImage(repository, "v1", { layers: [body] });
    await (await expectStatus(200, `${registry.url}/v2/team/app/manifests/v1`, { headers: { accept: ACCEPT_ALL } })).bytes();
    await (await expectStatus(200, `${registry.url}/v2/team/app/blobs/${image.layers[0]?.digest}`)).bytes();
    await expectStatus(404, `${registry.url}/v2/team/app/manifests/none`);
    // One may be under way that began before.
    const finished = registry.child.output().split("garbage collection finished").length + 1;
    await registry.child.waitForOutput(new RegExp(`(garbage collection finished[^]*){${finished}}`));
  });
  afterAll(async () => await cleanup.disposeAsync());

  test("of requests have distribution's names and labels", async () => {
    const metrics = await readMetrics(registry);
    expect(metrics.get('registry_http_requests_total{code="200",handler="blob",method="get"}')).toBe(1);
    expect(metrics.get('registry_http_requests_total{code="404",handler="manifest",method="get"}')).toBe(1);
    expect(metrics.get('registry_http_requests_total{code="201",handler="blob_upload_chunk",method="put"}')).toBe(2);
    expect(metrics.get('registry_http_requests_total{code="202",handler="blob_upload",method="post"}')).toBe(2);
    expect(metrics.get('registry_http_in_flight_requests{handler="blob"}')).toBe(0);
    expect(metrics.get('registry_http_request_duration_seconds_count{handler="manifest",method="put"}')).toBe(1);
    expect([...metrics.keys()].filter((key) => key.startsWith("registry_http_request_duration_seconds_bucket") && key.includes('handler="blob",') && key.includes("get"))).toHaveLength(14);
  });
  test("of bytes count what came in and went out", async () => {
    const metrics = await readMetrics(registry);
    expect(metrics.get('registry_http_request_size_bytes_sum{handler="blob_upload_chunk"}')).toBeGreaterThanOrEqual(body.length);
    expect(metrics.get('registry_http_response_size_bytes_sum{handler="blob"}')).toBe(body.length);
  });
  test("of the store are by action and driver", async () => {
    const metrics = await readMetrics(registry);
    for (const action of ["GetContent", "PutContent", "Stat", "List"]) expect([action, sumOf(metrics, "registry_storage_action_seconds_count", `action="${action}",driver="filesystem"`) > 0]).toEqual([action, true]);
  });
  test("of notifications count by endpoint", async () => {
    const metrics = await readMetrics(registry);
    expect(sumOf(metrics, "registry_notifications_events_total", 'type="Events"')).toBe(5);
    expect(metrics.get('registry_notifications_pending_total{endpoint="a"}')).toBe(5);
  });
  test("of collections tell of runs and of what they freed", async () => {
    const metrics = await readMetrics(registry);
    expect(metrics.get('registry_gc_runs_total{outcome="ok"}')).toBeGreaterThan(0);
    // Manifest, config and layer.
    expect(metrics.get("registry_gc_needed_blobs")).toBe(3);
    for (const name of ["registry_gc_deleted_blobs_total", "registry_gc_freed_bytes_total", "registry_gc_last_duration_seconds"]) expect(metrics.has(name)).toBe(true);
  });
  test("of the process are there: memory and the event loop's delay", async () => {
    const metrics = await readMetrics(registry);
    expect(metrics.get("process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(metrics.has("nodejs_eventloop_lag_seconds")).toBe(true);
  });
  test("of caches and mirrors are there from the start, as in distribution", async () => {
    const metrics = await readMetrics(registry);
    for (const name of ["registry_storage_cache_requests_total", "registry_storage_cache_hits_total", "registry_storage_cache_errors_total", 'registry_proxy_requests_total{type="blob"}', 'registry_proxy_hits_total{type="manifest"}', 'registry_proxy_pulled_bytes_total{type="blob"}']) expect([name, metrics.has(name)]).toEqual([name, true]);
  });
  test("of uploads show those that are being written", async () => {
    const location = await startUpload({ url: registry.url, name: "a" });
    const release = Promise.withResolvers<void>();
    const stream = new ReadableStream<Uint8Array>({
      async pull(controller) {
        controller.enqueue(new Uint8Array(10));
        await release.promise;
        controller.close();
      },
    });
    const answer = fetch(location, { method: "PATCH", body: stream, headers: { "content-type": "application/octet-stream" } });
    const deadline = Date.now() + 5000;
    while ((await readMetrics(registry)).get("registry_uploads_in_flight") !== 1 && Date.now() < deadline) await Bun.sleep(20);
    expect((await readMetrics(registry)).get("registry_uploads_in_flight")).toBe(1);
    release.resolve();
    await answer;
    expect((await readMetrics(registry)).get("registry_uploads_in_flight")).toBe(0);
  });
});
