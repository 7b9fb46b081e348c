/*
 * Compares the registry's executable with Debian's `docker-registry`, both on one Ceph with the S3 gateway, on loopback:
 *
 *   bun scripts/bench-s3.ts [--mib 1024] [--repositories 2000] [--tags 10] [--many-tags 20000] [--rounds 3] [--only TEXT]…
 *
 * Rounds alternate between the servers; the table shows medians. Beside pulls stands what the store alone gives the same client (column
 * "store"): no registry between the two is faster. Ceph keeps its objects in memory: what is measured is the work of the
 * registries, not that of disks. Nothing is printed that was not measured in this run.
 */
import { rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
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
/** More than there is of anything: a list in one page. */
const ALL = 100_000;
const PAGE = 100;
const HEX = "a".repeat(64);
const MANY_TAGS_REPOSITORY = "team/many-tags";
/** How long it takes until the bytes of deleted objects are gone. */
const CEPH_COLLECTS_MS = 8000;

/** A bucket for what is pushed, emptied by a new one for each push, and those that are only read. */
interface Place {
  readonly ceph: S3Server;
  readonly big: BigFile;
  readonly lists: { readonly repositories: number; readonly tags: number; readonly manyTags: number };
}

/** Something measured, once, on a server of its own. */
interface Work {
  readonly name: string;
  readonly bucket: "new" | "pulls" | "lists" | "many-tags";
  measure(registry: RegistryProcess, place: Place): Promise<readonly Metric[]>;
}

const WORKS: readonly Work[] = [
  { name: "push, PATCH without a length", bucket: "new", measure: (registry, { big }) => stream(registry, big, () => pushStreamed(registry, big)) },
  { name: "push, one PUT", bucket: "new", measure: (registry, { big }) => stream(registry, big, () => pushAtOnce(registry, big)) },
  { name: "pull through the registry", bucket: "pulls", measure: (registry, { big }) => stream(registry, big, () => pull(registry, big)) },
  {
    name: "catalog, all in one page",
    bucket: "lists",
    measure: (registry, { lists }) => secondTime(registry, () => list(`${registry.url}/v2/_catalog?n=${ALL}`, { field: "repositories", count: lists.repositories })),
  },
  {
    name: `catalog, in pages of ${PAGE}`,
    bucket: "lists",
    measure: (registry, { lists }) => secondTime(registry, () => list(`${registry.url}/v2/_catalog?n=${PAGE}`, { field: "repositories", count: lists.repositories })),
  },
  {
    name: "tags of all repositories",
    bucket: "lists",
    async measure(registry, { lists }) {
      const names = Array.from({ length: lists.repositories }, (_, index) => repositoryName(index));
      return await secondTime(registry, async () => void (await mapConcurrently(names, 8, (name) => list(`${registry.url}/v2/${name}/tags/list`, { field: "tags", count: lists.tags }))));
    },
  },
  {
    name: "tags of one repository with many",
    bucket: "many-tags",
    measure: (registry, { lists }) => secondTime(registry, () => list(`${registry.url}/v2/${MANY_TAGS_REPOSITORY}/tags/list`, { field: "tags", count: lists.manyTags })),
  },
  {
    // Distribution 2.8 knows no pages of tags, and gives all.
    name: `tags of one repository with many, in pages of ${PAGE}`,
    bucket: "many-tags",
    measure: (registry, { lists }) => secondTime(registry, () => list(`${registry.url}/v2/${MANY_TAGS_REPOSITORY}/tags/list?n=${PAGE}`, { field: "tags", count: lists.manyTags })),
  },
];

const { values: options } = parseArgs({
  options: {
    mib: { type: "string", default: "1024" },
    repositories: { type: "string", default: "2000" },
    tags: { type: "string", default: "10" },
    "many-tags": { type: "string", default: "20000" },
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
    lists: { repositories: Number(options.repositories), tags: Number(options.tags), manyTags: Number(options["many-tags"]) },
  };
  await seed(place, works);
  console.log(`${new Date().toISOString().slice(0, 10)}, ${machine()}; ${options.mib} MiB; ${options.repositories} repositories of ${options.tags} tags, one of ${options["many-tags"]}; ${options.rounds} rounds\n`);
  const report = new Report();
  for (const work of works) {
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const implementation of ["binary", "distribution"] as const) report.add(work.name, implementation, await measure(work, implementation, place));
      if (work.bucket === "pulls") report.add(work.name, "store", [await pullFromStore(place)]);
    }
  }
  console.log(table(report.rows(), ["binary", "distribution", "store"]));
  console.log(`\nload average at the end: ${loadavg().map((load) => load.toFixed(1)).join(" ")}`);
}

async function measure(work: Work, implementation: Implementation, place: Place): Promise<readonly Metric[]> {
  const bucket = work.bucket === "new" ? `push-${crypto.randomUUID()}` : work.bucket;
  if (work.bucket === "new") await place.ceph.createBucket(bucket);
  await using registry = await startRegistry({ implementation, config: { ...serverConfig(place.ceph, bucket), catalog: { maxentries: ALL } } });
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
  if (isWanted("many-tags")) await seedManyTags(place);
}

/** Only the links that lists look at, and an object each that they must not fetch. */
async function seedLists({ ceph, lists }: Place): Promise<void> {
  const names = Array.from({ length: lists.repositories }, (_, index) => repositoryName(index));
  await putLinks(ceph, "lists", names.flatMap((name) => [`${name}/_layers/sha256/${HEX}`, `${name}/_manifests/revisions/sha256/${HEX}`, ...tagFolders(name, lists.tags)]));
}

async function seedManyTags({ ceph, lists }: Place): Promise<void> {
  await putLinks(ceph, "many-tags", tagFolders(MANY_TAGS_REPOSITORY, lists.manyTags));
}

function tagFolders(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, tag) => [`${name}/_manifests/tags/tag-${tag}/current`, `${name}/_manifests/tags/tag-${tag}/index/sha256/${HEX}`]).flat();
}

async function putLinks(ceph: S3Server, bucket: string, folders: readonly string[]): Promise<void> {
  await ceph.createBucket(bucket);
  const client = s3Client(ceph);
  await mapConcurrently(folders, 16, async (folder) => await client.send(new PutObjectCommand({ Bucket: bucket, Key: `${ROOT}/repositories/${folder}/link`, Body: `sha256:${HEX}` })));
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
  await download(`${url}/v2/bench/big/blobs/${digest}`, sizeBytes);
}

/** Fetches the same bytes from the store itself, as a client does that was sent there. */
async function pullFromStore({ ceph, big }: Place): Promise<Metric> {
  const client = s3Client(ceph);
  const hex = big.digest.slice("sha256:".length);
  const url = await getSignedUrl(client, new GetObjectCommand({ Bucket: "pulls", Key: `${ROOT}/blobs/sha256/${hex.slice(0, 2)}/${hex}/data` }));
  client.destroy();
  const startedAt = performance.now();
  await download(url, big.sizeBytes);
  return rate("throughput", "MiB/s", big.sizeBytes / MIB / ((performance.now() - startedAt) / 1000));
}

async function download(url: string, sizeBytes: number): Promise<void> {
  const received = await curl("-o", "/dev/null", "-w", "%{size_download}", url);
  if (Number(received) !== sizeBytes) throw new Error(`pulled ${received} bytes, expected ${sizeBytes}`);
}

/** The first time opens connections, and warms what is compiled while it runs. */
async function secondTime({ child }: RegistryProcess, work: () => Promise<void>): Promise<readonly Metric[]> {
  await work();
  const cpuBefore = cpuSeconds(child.pid);
  const startedAt = performance.now();
  await work();
  return [cost("time", "ms", performance.now() - startedAt), cost("CPU", "ms", (cpuSeconds(child.pid) - cpuBefore) * 1000)];
}

/** Reads a list page by page. */
async function list(url: string, expected: { readonly field: string; readonly count: number }): Promise<void> {
  let count = 0;
  for (let next: string | undefined = url; next !== undefined; ) {
    const response: Response = await fetch(next);
    const page = (await response.json()) as Readonly<Record<string, readonly unknown[]>>;
    count += page[expected.field]?.length ?? 0;
    const link = /^<([^>]+)>/.exec(response.headers.get("link") ?? "")?.[1];
    next = link === undefined ? undefined : new URL(link, url).href;
  }
  if (count !== expected.count) throw new Error(`${url}: ${count} ${expected.field}, expected ${expected.count}`);
}

/** Runs curl, which must be answered with success; without "Expect:" it would wait for a 100. */
async function curl(...args: readonly string[]): Promise<string> {
  return await run(["curl", "-sSf", "-H", "Expect:", ...args]);
}
