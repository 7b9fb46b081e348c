import { Connection } from "./connection.ts";
import { hammer, runClient, type SmallRequest } from "./load.ts";
import type { Login } from "./logins.ts";
import { MANIFEST_TYPE } from "./seed.ts";
import { cost, type Metric, rate, type Reader, type Scale, type Seed, timed, type Workload } from "./workload.ts";

/** A small request, as it depends on what is in the store. */
interface RequestPlan {
  readonly name: string;
  readonly method?: "GET" | "HEAD";
  readonly status?: number;
  readonly path: (reader: Reader) => string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The path on nginx, where it can serve the same. */
  readonly limitPath?: string;
  /** Only with these numbers of clients. */
  readonly connections?: readonly number[];
  readonly isTls?: boolean;
  readonly login?: Login;
}

const ACCEPT = { Accept: MANIFEST_TYPE };

const PLANS: readonly RequestPlan[] = [
  { name: "manifest GET by tag", path: ({ small }) => `/v2/${small.name}/manifests/latest`, headers: ACCEPT, limitPath: "/manifest" },
  { name: "manifest GET by tag by TLS", path: ({ small }) => `/v2/${small.name}/manifests/latest`, headers: ACCEPT, connections: [16], isTls: true },
  { name: "manifest GET by tag with a password", path: ({ small }) => `/v2/${small.name}/manifests/latest`, headers: ACCEPT, connections: [16], login: "password" },
  { name: "manifest GET by tag with a token", path: ({ small }) => `/v2/${small.name}/manifests/latest`, headers: ACCEPT, connections: [16], login: "token" },
  { name: "manifest GET by digest", path: ({ small }) => `/v2/${small.name}/manifests/${small.manifestDigest}`, headers: ACCEPT },
  { name: "manifest HEAD by tag", method: "HEAD", path: ({ small }) => `/v2/${small.name}/manifests/latest`, headers: ACCEPT },
  { name: "manifest HEAD by digest", method: "HEAD", path: ({ small }) => `/v2/${small.name}/manifests/${small.manifestDigest}`, headers: ACCEPT, connections: [16] },
  { name: "manifest 404", status: 404, path: ({ small }) => `/v2/${small.name}/manifests/nothing`, headers: ACCEPT, connections: [16] },
  { name: "blob 404", status: 404, path: ({ small }) => `/v2/${small.name}/blobs/sha256:${"0".repeat(64)}`, connections: [16] },
  { name: "blob HEAD", method: "HEAD", path: ({ small }) => `/v2/${small.name}/blobs/${small.layers[0]}` },
  { name: "blob GET of 1 KiB", path: ({ small }) => `/v2/${small.name}/blobs/${small.layers[0]}`, limitPath: "/layer" },
  { name: "tags list of 10", path: () => "/v2/bench/tags-10/tags/list", connections: [16, 256] },
];

/** Small requests at several numbers of connections. */
export function requestWorkloads(scale: Scale): Workload[] {
  const plans = PLANS.flatMap((plan) => (plan.connections ?? scale.connections).map((count) => requestWorkload(plan, count)));
  return [...plans, ...tagWorkloads(scale), ...scale.repositories.map(catalogWorkload)];
}

function tagWorkloads({ tags }: Scale): Workload[] {
  const names = Array.from({ length: tags }, (_, index) => `tag-${String(index).padStart(6, "0")}`);
  const seed: Seed = async (store) => void (await store.addImage("bench/tags", { tags: names, layers: 1, layerBytes: 1000 }));
  const paths = { [`tags list of ${tags}`]: "", [`tags page of 100, of ${tags}`]: `?n=100&last=${names[Math.floor(tags / 2)]}` };
  return Object.entries(paths).map(([name, query]) => keptWorkload(name, { key: "tags", seed, path: `/v2/bench/tags/tags/list${query}` }));
}

function catalogWorkload(count: number): Workload {
  const names = Array.from({ length: count }, (_, index) => `group-${index % 100}/repository-${String(index).padStart(6, "0")}`).sort();
  const seed: Seed = async (store) => {
    for (const name of names) await store.addImage(name, { tags: ["latest"], layers: 1, layerBytes: 1000 });
  };
  const last = encodeURIComponent(names[Math.floor(count / 2)] ?? "");
  return keptWorkload(`catalog page of 100, of ${count}`, { key: `catalog-${count}`, seed, path: `/v2/_catalog?n=100&last=${last}` });
}

/** A GET by 4 clients on a store of its own. */
function keptWorkload(name: string, plan: { readonly key: string; readonly seed: Seed; readonly path: string }): Workload {
  return {
    name,
    async measure(bench, contender) {
      const server = await bench.kept(contender, plan.key, plan.seed);
      return await measureRate(server, { url: server.url + plan.path, method: "GET", status: 200, connections: 4, seconds: bench.scale.seconds });
    },
  };
}

function requestWorkload(plan: RequestPlan, connections: number): Workload {
  return {
    name: `${plan.name}, ${connections} client${connections > 1 ? "s" : ""}`,
    hasLimit: plan.limitPath !== undefined,
    async measure(bench, contender) {
      const reader = await bench.reader(contender, { isTls: plan.isTls === true, login: plan.login });
      const headers = { ...plan.headers, ...(reader.authorization === undefined ? {} : { Authorization: reader.authorization }) };
      const path = contender.isRegistry ? plan.path(reader) : (plan.limitPath ?? "/");
      return await measureRate(reader.server, { url: reader.server.url + path, method: plan.method ?? "GET", status: plan.status ?? 200, headers, connections, seconds: bench.scale.seconds });
    },
  };
}

async function measureRate(server: Reader["server"], request: SmallRequest): Promise<Metric[]> {
  let result: Awaited<ReturnType<typeof hammer>> | undefined;
  const { cpuSeconds } = await timed(server, async () => {
    result = await hammer(request);
  });
  if (result === undefined) throw new Error("nothing was measured");
  return [
    rate("requests", "1/s", result.requestsPerSecond),
    cost("p50", "ms", result.p50Ms),
    cost("p99", "ms", result.p99Ms),
    cost("CPU", "µs/request", (cpuSeconds / result.requests) * 1e6),
  ];
}

/** The referrers of one manifest. */
export function referrersWorkload({ referrers, seconds }: Scale): Workload {
  return {
    name: `referrers of ${referrers}`,
    async measure(bench, contender) {
      const { server, small } = await bench.reader(contender);
      const path = `/v2/${small.name}/referrers/${small.manifestDigest}`;
      if ((await fetch(server.url + path)).status !== 200) return undefined;
      await pushReferrers(server.port, { count: referrers, name: small.name, subject: small.manifestDigest });
      return await measureRate(server, { url: server.url + path, method: "GET", status: 200, connections: 4, seconds });
    },
  };
}

/** Pushes manifests that refer to a subject; those that are there already cost little. */
async function pushReferrers(port: number, plan: { readonly count: number; readonly name: string; readonly subject: string }): Promise<void> {
  const connection = await Connection.open(port);
  const send = async (method: string, path: string, content: { type: string; body: string }): Promise<string> => {
    const length = Buffer.byteLength(content.body);
    const answer = await connection.request(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${content.type}\r\nContent-Length: ${length}\r\n\r\n`, Buffer.from(content.body));
    if (answer.status >= 300) throw new Error(`${method} ${path}: status ${answer.status}`);
    return answer.head;
  };
  const empty = { mediaType: "application/vnd.oci.empty.v1+json", digest: `sha256:${new Bun.CryptoHasher("sha256").update("{}").digest("hex")}`, size: 2 };
  const location = /\r\nlocation: *(\S+)/i.exec(await send("POST", `/v2/${plan.name}/blobs/uploads/`, { type: "application/octet-stream", body: "" }))?.[1] ?? "";
  const url = new URL(location, "http://localhost");
  await send("PUT", `${url.pathname}${url.search}&digest=${empty.digest}`, { type: "application/octet-stream", body: "{}" });
  const type = "application/vnd.oci.image.manifest.v1+json";
  for (let index = 0; index < plan.count; index++) {
    const subject = { mediaType: MANIFEST_TYPE, digest: plan.subject, size: 1 };
    const body = JSON.stringify({ schemaVersion: 2, mediaType: type, artifactType: "application/vnd.bench", config: empty, layers: [empty], subject, annotations: { index: String(index) } });
    await send("PUT", `/v2/${plan.name}/manifests/sha256:${new Bun.CryptoHasher("sha256").update(body).digest("hex")}`, { type, body });
  }
  connection.close();
}

/** Whole small images, and one image for a crowd. */
export const IMAGES: readonly Workload[] = [
  ...[8, 16].map(
    (clients): Workload => ({
      name: `push small images by ${clients} clients`,
      async measure(bench, contender) {
        await using server = await bench.fresh(contender);
        const images = bench.scale.smallImages;
        let seconds = 0;
        const { cpuSeconds } = await timed(server, async () => {
          ({ seconds } = await runClient({ kind: "push-images", port: server.port, clients, images, layers: 3, layerBytes: 10_000, seed: clients }));
        });
        return [rate("images", "1/s", images / seconds), cost("CPU", "ms/image", (cpuSeconds / images) * 1000)];
      },
    }),
  ),
  {
    name: "pull storm of a 20-layer image",
    async measure(bench, contender) {
      const { server, storm } = await bench.reader(contender);
      const clients = bench.scale.stormClients;
      let result: Awaited<ReturnType<typeof runClient>> | undefined;
      const { cpuSeconds } = await timed(server, async () => {
        result = await runClient({ kind: "pull-image", port: server.port, clients, name: storm.name, layers: storm.layers });
      });
      if (result === undefined) throw new Error("nothing was measured");
      return [rate("images", "1/s", clients / result.seconds), cost("p99 of a pull", "ms", result.p99Ms), cost("CPU", "ms/image", (cpuSeconds / clients) * 1000)];
    },
  },
];
