/*
 * The load generator's own process, so that its work is not counted as a server's. Reads one job as JSON on standard input, writes one
 * result as JSON on standard output.
 */
import { Connection } from "./connection.ts";

/** What a client process is to do. */
export type Job =
  /** One small request, again and again. */
  | { readonly kind: "hammer"; readonly port: number; readonly head: string; readonly connections: number; readonly seconds: number; readonly status: number }
  /** Small images, each to a repository of its own. */
  | { readonly kind: "push-images"; readonly port: number; readonly clients: number; readonly images: number; readonly layers: number; readonly layerBytes: number; readonly seed: number }
  /** Every client pulls the same image. */
  | { readonly kind: "pull-image"; readonly port: number; readonly clients: number; readonly name: string; readonly layers: readonly string[] }
  /** A file in PATCHes of a fixed size. */
  | { readonly kind: "push-chunks"; readonly port: number; readonly file: string; readonly digest: string; readonly chunkBytes: number; readonly name: string }
  /** Blobs pushed and pulled in the given order by several clients. */
  | { readonly kind: "mix"; readonly port: number; readonly clients: number; readonly works: readonly Work[] };

/** One push or pull of a blob in a mix. */
export type Work =
  | { readonly kind: "push"; readonly name: string; readonly sizeBytes: number; readonly seed: number; readonly isChunked: boolean }
  | { readonly kind: "pull"; readonly path: string };

/** What came of a job. */
export interface JobResult {
  readonly seconds: number;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function run(job: Job): Promise<JobResult> {
  switch (job.kind) {
    case "hammer":
      return await hammer(job);
    case "push-images":
      return await overClients(job, range(job.images).map((index) => makeImage(job, index)), pushImage);
    case "pull-image":
      return await overClients(job, range(job.clients), (connection) => pullImage(connection, job));
    case "push-chunks":
      return await overClients({ port: job.port, clients: 1 }, [job], pushChunks);
    case "mix":
      return await overClients(job, job.works.map(prepare), (connection, work) => work(connection));
  }
}

type Hammer = Extract<Job, { kind: "hammer" }>;

async function hammer(job: Hammer): Promise<JobResult> {
  const latencies: number[] = [];
  const started = performance.now();
  const deadline = started + job.seconds * 1000;
  const one = job.head.startsWith("HEAD ") ? hammerHead : hammerAny;
  await Promise.all(range(job.connections).map(() => one(job, { deadline, latencies })));
  return result((performance.now() - started) / 1000, latencies);
}

interface HammerState {
  readonly deadline: number;
  readonly latencies: number[];
}

async function hammerAny(job: Hammer, { deadline, latencies }: HammerState): Promise<void> {
  const connection = await Connection.open(job.port);
  for (let before = performance.now(); before < deadline; ) {
    const { status } = await connection.request(job.head);
    if (status !== job.status) throw new Error(`status ${status}, expected ${job.status}`);
    const after = performance.now();
    latencies.push(after - before);
    before = after;
  }
  connection.close();
}

/** An answer without a body ends with an empty line: no more is looked at than its status and last bytes, so as not to be the bottleneck. */
async function hammerHead(job: Hammer, { deadline, latencies }: HammerState): Promise<void> {
  const request = Buffer.from(job.head);
  const ended = Promise.withResolvers<void>();
  let before = 0;
  let isNew = true;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: job.port,
    socket: {
      data(self, chunk) {
        if (isNew && Number(chunk.toString("latin1", 9, 12)) !== job.status) return ended.reject(new Error(`not the status ${job.status}: ${chunk.toString("latin1", 0, 40)}`));
        isNew = chunk.at(-1) === 10 && chunk.at(-2) === 13 && chunk.at(-3) === 10;
        if (!isNew) return;
        const now = performance.now();
        latencies.push(now - before);
        if (now >= deadline) return ended.resolve();
        before = now;
        self.write(request);
      },
      close: () => ended.reject(new Error("the server closed the connection")),
      error: (_, error) => ended.reject(error),
    },
  });
  socket.setNoDelay(true);
  before = performance.now();
  socket.write(request);
  await ended.promise;
  socket.end();
}

/** Shares a list of works among clients with a connection each; the time counts from the first to the last request. */
async function overClients<T>(job: { readonly clients: number; readonly port: number }, works: readonly T[], work: (connection: Connection, each: T) => Promise<number>): Promise<JobResult> {
  const connections = await Promise.all(range(job.clients).map(() => Connection.open(job.port)));
  const latencies: number[] = [];
  let requests = 0;
  let next = 0;
  const started = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      for (;;) {
        const index = next++;
        const each = works[index];
        if (index >= works.length || each === undefined) return;
        const before = performance.now();
        requests += await work(connection, each);
        latencies.push(performance.now() - before);
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  for (const connection of connections) connection.close();
  return { ...result(seconds, latencies), requests };
}

/** A blob ready to be pushed: nothing is made or hashed while the clock runs. */
interface PreparedBlob {
  readonly bytes: Uint8Array;
  readonly digest: string;
}

interface Image {
  readonly name: string;
  readonly blobs: readonly PreparedBlob[];
  readonly manifest: Uint8Array;
}

const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";
const OCTETS = { "Content-Type": "application/octet-stream" };

function makeBlob(bytes: Uint8Array): PreparedBlob {
  return { bytes, digest: `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}` };
}

function makeImage(job: Extract<Job, { kind: "push-images" }>, index: number): Image {
  const config = makeBlob(new TextEncoder().encode(JSON.stringify({ architecture: "amd64", os: "linux", seed: job.seed, index })));
  const layers = range(job.layers).map((layer) => makeBlob(seededBytes(job.layerBytes, (job.seed * 100_000 + index) * 10 + layer + 1)));
  const descriptor = (blob: PreparedBlob, mediaType: string): object => ({ mediaType, digest: blob.digest, size: blob.bytes.length });
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: descriptor(config, "application/vnd.docker.container.image.v1+json"),
    layers: layers.map((layer) => descriptor(layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")),
  };
  return { name: `bench/image-${index}`, blobs: [config, ...layers], manifest: new TextEncoder().encode(JSON.stringify(manifest)) };
}

async function pushImage(connection: Connection, image: Image): Promise<number> {
  for (const blob of image.blobs) await pushBlob(connection, image.name, blob);
  await expect(connection, 201, head("PUT", `/v2/${image.name}/manifests/latest`, { "Content-Type": MANIFEST_TYPE, "Content-Length": image.manifest.length }), image.manifest);
  return image.blobs.length * 2 + 1;
}

async function pullImage(connection: Connection, job: Extract<Job, { kind: "pull-image" }>): Promise<number> {
  await expect(connection, 200, head("GET", `/v2/${job.name}/manifests/latest`, { Accept: MANIFEST_TYPE }));
  for (const digest of job.layers) await expect(connection, 200, head("GET", `/v2/${job.name}/blobs/${digest}`, {}));
  return job.layers.length + 1;
}

function prepare(work: Work): (connection: Connection) => Promise<number> {
  if (work.kind === "pull") {
    return async (connection) => {
      await expect(connection, 200, head("GET", work.path, {}));
      return 1;
    };
  }
  const blob = makeBlob(seededBytes(work.sizeBytes, work.seed));
  return work.isChunked ? (connection) => pushStreamed(connection, work.name, blob) : (connection) => pushBlob(connection, work.name, blob);
}

/** POST and PUT. */
async function pushBlob(connection: Connection, name: string, blob: PreparedBlob): Promise<number> {
  const location = await startUpload(connection, name);
  await expect(connection, 201, head("PUT", `${location}&digest=${blob.digest}`, { ...OCTETS, "Content-Length": blob.bytes.length }), blob.bytes);
  return 2;
}

/** POST, one PATCH with everything, PUT: what docker does. */
async function pushStreamed(connection: Connection, name: string, blob: PreparedBlob): Promise<number> {
  const location = locationOf(await expect(connection, 202, head("PATCH", await startUpload(connection, name), { ...OCTETS, "Content-Length": blob.bytes.length }), blob.bytes));
  await expect(connection, 201, head("PUT", `${location}&digest=${blob.digest}`, { ...OCTETS, "Content-Length": 0 }));
  return 3;
}

async function pushChunks(connection: Connection, job: Extract<Job, { kind: "push-chunks" }>): Promise<number> {
  const file = Bun.file(job.file);
  let location = await startUpload(connection, job.name);
  let requests = 2;
  for (let offset = 0; offset < file.size; offset += job.chunkBytes) {
    const chunk = await file.slice(offset, offset + job.chunkBytes).bytes();
    const extent = { "Content-Length": chunk.length, "Content-Range": `${offset}-${offset + chunk.length - 1}` };
    location = locationOf(await expect(connection, 202, head("PATCH", location, { ...OCTETS, ...extent }), chunk));
    requests++;
  }
  await expect(connection, 201, head("PUT", `${location}&digest=${job.digest}`, { ...OCTETS, "Content-Length": 0 }));
  return requests;
}

async function startUpload(connection: Connection, name: string): Promise<string> {
  return locationOf(await expect(connection, 202, head("POST", `/v2/${name}/blobs/uploads/`, { "Content-Length": 0 })));
}

async function expect(connection: Connection, status: number, requestHead: string, body?: Uint8Array): Promise<string> {
  const answer = await connection.request(requestHead, body);
  if (answer.status !== status) throw new Error(`${requestHead.split("\r\n")[0]}: status ${answer.status}, expected ${status}`);
  return answer.head;
}

function head(method: string, path: string, headers: Readonly<Record<string, string | number>>): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines.join("")}\r\n`;
}

function locationOf(responseHead: string): string {
  const url = new URL(/\r\nlocation: *(\S+)/i.exec(responseHead)?.[1] ?? "", "http://127.0.0.1");
  return url.pathname + url.search;
}

function result(seconds: number, latencies: number[]): JobResult {
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
  return { seconds, requests: latencies.length, p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** Bytes that look random and are the same for the same seed. */
export function seededBytes(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

if (import.meta.main) console.log(JSON.stringify(await run((await Bun.stdin.json()) as Job)));
