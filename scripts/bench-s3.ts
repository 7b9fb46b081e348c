/*
 * Compares the registry's executable with Debian's `docker-registry`, both on one Ceph with the S3 gateway, on loopback:
 *
 *   bun scripts/bench-s3.ts [--mib 1024] [--repositories 2000] [--tags 10] [--rounds 3] [--only TEXT]…
 *
 * Rounds alternate between the servers; the table shows medians. Ceph keeps its objects in memory: what is measured is the work of the
 * registries, not that of disks. Nothing is printed that was not measured in this run.
 */
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DeleteObjectCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import { mapConcurrently } from "../src/lib/concurrently.ts";
import { startCeph } from "../test/support/ceph.ts";
import { type Implementation, type RegistryProcess, startRegistry } from "../test/support/registry-process.ts";
import { s3Client, s3Section, type S3Server } from "../test/support/s3-server.ts";
import { run } from "./bench/load.ts";
import { cpuSeconds, memoryMiB, resetPeakMemory } from "./bench/process-stats.ts";
import { machine, Report, table } from "./bench/report.ts";
import { type BigFile, writeBigFile } from "./bench/seed.ts";
import { cost, type Metric, rate } from "./bench/workload.ts";

const MIB = 1024 * 1024;
const ROOT = "docker/registry/v2";
const PAGE = 100_000;
/** How long it takes until the bytes of deleted objects are gone. */
const CEPH_COLLECTS_MS = 8000;

/** A bucket for what is pushed, emptied by a new one for each push, and one that is only read. */
interface Place {
  readonly ceph: S3Server;
  readonly big: BigFile;
  readonly lists: { readonly repositories: number; readonly tags: number };
}

/** Something measured, once, on a server of its own. */
interface Work {
  readonly name: string;
  readonly bucket: "new" | "pulls" | "lists";
  measure(registry: RegistryProcess, place: Place): Promise<readonly Metric[]>;
}

const WORKS: readonly Work[] = [
  { name: "push, PATCH without a length", bucket: "new", measure: (registry, { big }) => stream(registry, big, () => pushStreamed(registry, big)) },
  { name: "push, one PUT", bucket: "new", measure: (registry, { big }) => stream(registry, big, () => pushAtOnce(registry, big)) },
  { name: "pull through the registry", bucket: "pulls", measure: (registry, { big }) => stream(registry, big, () => pull(registry, big)) },
  {
    name: "catalog",
    bucket: "lists",
    async measure(registry, { lists }) {
      const list = (): Promise<number> => listMs(`${registry.url}/v2/_catalog?n=${PAGE}`, { field: "repositories", count: lists.repositories });
      // The first one opens connections, and warms what is compiled while it runs.
      await list();
      return [cost("time, the second one", "ms", await list())];
    },
  },
  {
    name: "tags of all repositories",
    bucket: "lists",
    async measure(registry, { lists }) {
      const names = Array.from({ length: lists.repositories }, (_, index) => repositoryName(index));
      const startedAt = performance.now();
      await mapConcurrently(names, 8, (name) => listMs(`${registry.url}/v2/${name}/tags/list`, { field: "tags", count: lists.tags }));
      return [cost("time", "ms", performance.now() - startedAt)];
    },
  },
];

const { values: options } = parseArgs({
  options: {
    mib: { type: "string", default: "1024" },
    repositories: { type: "string", default: "2000" },
    tags: { type: "string", default: "10" },
    rounds: { type: "string", default: "3" },
    only: { type: "string", multiple: true, default: [] },
  },
});

await main();

async function main(): Promise<void> {
  const works = WORKS.filter(({ name }) => options.only.length === 0 || options.only.some((text) => name.includes(text)));
  process.env["REGISTRY_TEST_BINARY"] ??= join(import.meta.dir, "../dist/registry");
  await using cleanup = new AsyncDisposableStack();
  const file = join(tmpdir(), `registry-bench-s3-${process.pid}`);
  cleanup.defer(() => rm(file, { force: true }));
  const place: Place = {
    ceph: cleanup.use(await startCeph()),
    big: await writeBigFile(file, { sizeMiB: Number(options.mib), seed: 1 }),
    lists: { repositories: Number(options.repositories), tags: Number(options.tags) },
  };
  await seed(place, works);
  console.log(`${new Date().toISOString().slice(0, 10)}, ${machine()}; ${options.mib} MiB; ${options.repositories} repositories of ${options.tags} tags; ${options.rounds} rounds\n`);
  const report = new Report();
  for (const work of works) {
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const implementation of ["binary", "distribution"] as const) report.add(work.name, implementation, await measure(work, implementation, place));
    }
  }
  console.log(table(report.rows(), ["binary", "distribution"]));
}

async function measure(work: Work, implementation: Implementation, place: Place): Promise<readonly Metric[]> {
  const bucket = work.bucket === "new" ? `push-${crypto.randomUUID()}` : work.bucket;
  if (work.bucket === "new") await place.ceph.createBucket(bucket);
  await using registry = await startRegistry({ implementation, config: { ...serverConfig(place.ceph, bucket), catalog: { maxentries: PAGE } } });
  const metrics = await work.measure(registry, place);
  if (work.bucket === "new") await empty(place.ceph, bucket);
  return metrics;
}

/** Gives Ceph its memory back. */
async function empty(ceph: S3Server, bucket: string): Promise<void> {
  const client = s3Client(ceph);
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
  for (const { Key } of Contents) await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
  client.destroy();
  await Bun.sleep(CEPH_COLLECTS_MS);
}

function serverConfig(ceph: S3Server, bucket: string): Record<string, unknown> {
  return { storage: { filesystem: undefined, s3: s3Section(ceph, bucket), redirect: { disable: true }, maintenance: { uploadpurging: { enabled: false } } } };
}

async function seed(place: Place, works: readonly Work[]): Promise<void> {
  const isWanted = (bucket: Work["bucket"]): boolean => works.some((work) => work.bucket === bucket);
  if (isWanted("pulls")) {
    await place.ceph.createBucket("pulls");
    await using registry = await startRegistry({ implementation: "binary", config: serverConfig(place.ceph, "pulls") });
    await pushStreamed(registry, place.big);
  }
  if (isWanted("lists")) await seedLists(place);
}

/** Only the links that lists look at, and an object each that they must not fetch. */
async function seedLists({ ceph, lists }: Place): Promise<void> {
  await ceph.createBucket("lists");
  const client = s3Client(ceph);
  const digest = "a".repeat(64);
  const keys = Array.from({ length: lists.repositories }, (_, index) => `${ROOT}/repositories/${repositoryName(index)}`).flatMap((folder) => [
    `${folder}/_layers/sha256/${digest}/link`,
    `${folder}/_manifests/revisions/sha256/${digest}/link`,
    ...Array.from({ length: lists.tags }, (_, tag) => [`${folder}/_manifests/tags/tag-${tag}/current/link`, `${folder}/_manifests/tags/tag-${tag}/index/sha256/${digest}/link`]).flat(),
  ]);
  await mapConcurrently(keys, 16, async (Key) => await client.send(new PutObjectCommand({ Bucket: "lists", Key, Body: `sha256:${digest}` })));
  client.destroy();
}

function repositoryName(index: number): string {
  return `team-${index % 40}/app-${index}`;
}

async function stream({ child }: RegistryProcess, big: BigFile, work: () => Promise<void>): Promise<readonly Metric[]> {
  resetPeakMemory(child.pid);
  const cpuBefore = cpuSeconds(child.pid);
  const startedAt = performance.now();
  await work();
  const seconds = (performance.now() - startedAt) / 1000;
  const mib = big.sizeBytes / MIB;
  return [rate("throughput", "MiB/s", mib / seconds), cost("CPU", "s/GiB", ((cpuSeconds(child.pid) - cpuBefore) / mib) * 1024), cost("peak memory", "MiB", memoryMiB(child.pid, "VmHWM"))];
}

async function pushStreamed(registry: RegistryProcess, { path, digest }: BigFile): Promise<void> {
  const head = await curl("-X", "PATCH", "-T", path, "-H", "Content-Type: application/octet-stream", "-H", "Transfer-Encoding: chunked", "-D", "-", await startUpload(registry));
  const next = new URL(/^location: *(\S+)/im.exec(head)?.[1] ?? "", registry.url).href;
  await curl("-X", "PUT", "-d", "", "-H", "Content-Type: application/octet-stream", `${next}&digest=${digest}`);
}

async function pushAtOnce(registry: RegistryProcess, { path, digest }: BigFile): Promise<void> {
  await curl("-X", "PUT", "-T", path, "-H", "Content-Type: application/octet-stream", `${await startUpload(registry)}&digest=${digest}`);
}

async function startUpload({ url }: RegistryProcess): Promise<string> {
  const response = await fetch(`${url}/v2/bench/big/blobs/uploads/`, { method: "POST" });
  if (response.status !== 202) throw new Error(`POST uploads: status ${response.status}`);
  return new URL(response.headers.get("location") ?? "", url).href;
}

async function pull({ url }: RegistryProcess, { digest, sizeBytes }: BigFile): Promise<void> {
  const received = await curl("-o", "/dev/null", "-w", "%{size_download}", `${url}/v2/bench/big/blobs/${digest}`);
  if (Number(received) !== sizeBytes) throw new Error(`pulled ${received} bytes, expected ${sizeBytes}`);
}

async function listMs(url: string, expected: { readonly field: string; readonly count: number }): Promise<number> {
  const startedAt = performance.now();
  const response = await fetch(url);
  const list = (await response.json()) as Readonly<Record<string, readonly unknown[]>>;
  const ms = performance.now() - startedAt;
  const count = list[expected.field]?.length;
  if (count !== expected.count) throw new Error(`${url}: ${count} ${expected.field}, expected ${expected.count}`);
  return ms;
}

/** Runs curl, which must be answered with success; without "Expect:" it would wait for a 100. */
async function curl(...args: readonly string[]): Promise<string> {
  return await run(["curl", "-sSf", "-H", "Expect:", ...args]);
}
