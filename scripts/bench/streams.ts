import { freemem } from "node:os";
import { join } from "node:path";
import type { Server } from "./contender.ts";
import { run, runClient } from "./load.ts";
import type { BigFile } from "./seed.ts";
import { type Bench, cost, type Metric, rate, timed, type Workload } from "./workload.ts";

const MIB = 1024 * 1024;
const CHUNK_BYTES = 8 * MIB;

/** Start, and memory of a server that does nothing. */
export const IDLE: Workload = {
  name: "start",
  async measure(bench, contender) {
    await using server = await bench.fresh(contender);
    await Bun.sleep(1000);
    return [cost("first answer", "ms", server.startupMs), cost("idle memory", "MiB", server.memoryMiB("VmRSS"))];
  },
};

/** Big blobs in and out, by one client and by several. */
export const STREAMS: readonly Workload[] = [
  ...[1, 4, 16].map(pushWorkload),
  { name: "push 1 stream, PATCH without a length", measure: (bench, contender) => measurePush(bench, contender, { clients: 1, push: pushStreamed }) },
  { name: "push 1 stream, chunks of 8 MiB", measure: (bench, contender) => measurePush(bench, contender, { clients: 1, push: pushInChunks }) },
  ...[1, 4, 8, 16].map((clients) => pullWorkload(clients, { isTls: false })),
  pullWorkload(1, { isTls: true }),
];

function pushWorkload(clients: number): Workload {
  return { name: `push ${clients} stream${clients > 1 ? "s" : ""}`, measure: (bench, contender) => measurePush(bench, contender, { clients, push: pushMonolithic }) };
}

type Push = (server: Server, name: string, file: BigFile) => Promise<void>;

/**
 * Brings the machine into the state in which every push is measured, whoever's it is: what earlier rounds left to be written is written, and
 * the kernel owns memory for what is to come. A virtual machine gives free memory back to its host, and getting it page by page takes longer
 * than the push.
 * @param mib What will be written.
 */
export async function settle(mib: number): Promise<void> {
  await run(["sync"]);
  const wanted = Math.min(3 * mib, Math.floor(freemem() / 1024 ** 2 / 2));
  const child = Bun.spawn([process.execPath, "-e", `const blocks = []; for (let i = 0; i < ${Math.ceil(wanted / 64)}; i++) blocks.push(new Uint8Array(64 * 1024 * 1024).fill(1));`], { stdout: "ignore", stderr: "ignore" });
  await child.exited;
}

async function measurePush(bench: Bench, contender: Parameters<Workload["measure"]>[1], plan: { clients: number; push: Push }): Promise<Metric[]> {
  // Sixteen whole blobs would measure the disk's patience.
  const sizeMiB = plan.clients > 4 ? Math.ceil(bench.scale.bigMiB / 4) : bench.scale.bigMiB;
  const files: BigFile[] = [];
  for (let index = 0; index < plan.clients; index++) files.push(await bench.bigFile(index, sizeMiB));
  await using server = await bench.fresh(contender);
  await settle(plan.clients * sizeMiB);
  const { seconds, cpuSeconds } = await timed(server, async () => {
    await Promise.all(files.map((file, index) => plan.push(server, `bench/push-${index}`, file)));
  });
  return streamMetrics(sizeMiB * plan.clients, { seconds, cpuSeconds, peakMiB: server.memoryMiB("VmHWM") });
}

function streamMetrics(totalMiB: number, measured: { seconds: number; cpuSeconds: number; peakMiB: number }): Metric[] {
  return [
    rate("throughput", "MiB/s", totalMiB / measured.seconds),
    cost("CPU", "s/GiB", (measured.cpuSeconds / totalMiB) * 1024),
    cost("peak memory", "MiB", measured.peakMiB),
  ];
}

async function pushMonolithic(server: Server, name: string, file: BigFile): Promise<void> {
  const location = await startUpload(server, name);
  await curl("-X", "PUT", "-T", file.path, "-H", "Content-Type: application/octet-stream", `${location}&digest=${file.digest}`);
}

async function pushStreamed(server: Server, name: string, file: BigFile): Promise<void> {
  const location = await startUpload(server, name);
  const head = await curl("-X", "PATCH", "-T", file.path, "-H", "Content-Type: application/octet-stream", "-H", "Transfer-Encoding: chunked", "-D", "-", location);
  const next = new URL(/^location: *(\S+)/im.exec(head)?.[1] ?? "", server.url).href;
  await curl("-X", "PUT", "-d", "", "-H", "Content-Type: application/octet-stream", `${next}&digest=${file.digest}`);
}

async function pushInChunks(server: Server, name: string, file: BigFile): Promise<void> {
  await runClient({ kind: "push-chunks", port: server.port, file: file.path, digest: file.digest, chunkBytes: CHUNK_BYTES, name });
}

async function startUpload(server: Server, name: string): Promise<string> {
  const response = await fetch(`${server.url}/v2/${name}/blobs/uploads/`, { method: "POST" });
  if (response.status !== 202) throw new Error(`POST uploads: status ${response.status}`);
  return new URL(response.headers.get("location") ?? "", server.url).href;
}

function pullWorkload(clients: number, options: { readonly isTls: boolean }): Workload {
  return {
    name: `pull ${clients} stream${clients > 1 ? "s" : ""}${options.isTls ? " by TLS" : ""}`,
    hasLimit: !options.isTls,
    async measure(bench, contender) {
      const { server, big } = await bench.reader(contender, options);
      const url = contender.isRegistry ? `${server.url}/v2/bench/big/blobs/${big.digest}` : `${server.url}/big`;
      const { seconds, cpuSeconds } = await timed(server, async () => {
        await Promise.all(Array.from({ length: clients }, () => pull(url, big.sizeBytes)));
      });
      return streamMetrics((big.sizeBytes / MIB) * clients, { seconds, cpuSeconds, peakMiB: server.memoryMiB("VmHWM") });
    },
  };
}

/** Reads a URL to its end and checks the size. */
async function pull(url: string, sizeBytes: number): Promise<void> {
  const received = await curl("-o", "/dev/null", "-w", "%{size_download}", url);
  if (Number(received) !== sizeBytes) throw new Error(`${url}: ${received} bytes, expected ${sizeBytes}`);
}

/** Runs curl, which must be answered with success. @returns What it wrote. */
async function curl(...args: readonly string[]): Promise<string> {
  // Without "Expect:" curl would wait for a 100, and the servers answer it differently.
  return await run(["curl", "-sSf", "-k", "-H", "Expect:", ...args]);
}

/** What the machine can do at most when bytes are received, stored and hashed: `cat | tee file | sha256sum`. */
export async function measurePushLimit(bench: Bench): Promise<Metric[]> {
  const file = await bench.bigFile(0, bench.scale.bigMiB);
  const copy = join(bench.scratch, "limit");
  await settle(bench.scale.bigMiB);
  const started = performance.now();
  await run(["sh", "-c", `cat "$0" | tee "$1" | sha256sum`, file.path, copy]);
  const seconds = (performance.now() - started) / 1000;
  await Bun.file(copy).delete();
  return [rate("throughput", "MiB/s", bench.scale.bigMiB / seconds)];
}
