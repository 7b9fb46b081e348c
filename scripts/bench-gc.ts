/*
 * Compares the collector with that of another registry on stores of the same content, and looks how long pulls take while it runs:
 *
 *   bun scripts/bench-gc.ts [--ours dist/registry] [--other docker-registry] [--manifests 20000] [--blobs 100000] [--rounds 3]
 *                           [--folder DIR] [--json FILE] [--only dry|real|untagged|latency]…
 *
 * Rounds alternate between the two. Dry runs look at one store; each real run collects a store of its own, made for it and removed
 * afterwards; `untagged` is both with `--delete-untagged`. Before each run both have looked at the store, so that both find it in the
 * page cache, and what was written is on the disk. Blobs are of a few bytes: what is measured is the walk and the deletion, not the
 * disk's size. Pulls are measured beside dry and real runs in turn with nothing beside them, on a store of its own in each round.
 * Other work on the machine shows in the times; the ratios suffer less. Nothing is printed that was not measured in this run.
 */
import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { stringify } from "yaml";
import { benchFolder, registryContender, type Server } from "./bench/contender.ts";
import { machine, median } from "./bench/report.ts";
import { countOption, type MadeStore, makeStore, type StoreSize } from "./make-store.ts";

const { values: options } = parseArgs({
  options: {
    ours: { type: "string", default: join(import.meta.dir, "../dist/registry") },
    other: { type: "string", default: "docker-registry" },
    manifests: { type: "string", default: "20000" },
    blobs: { type: "string", default: "100000" },
    repositories: { type: "string", default: "200" },
    rounds: { type: "string", default: "3" },
    folder: { type: "string", default: tmpdir() },
    json: { type: "string" },
    only: { type: "string", multiple: true, default: ["dry", "real", "untagged", "latency"] },
  },
});

/** One run of a collector. */
interface Run {
  readonly seconds: number;
  readonly peakMiB: number;
  readonly cpuSeconds: number;
}

/** What all runs of one kind came to. */
interface Comparison {
  readonly kind: string;
  readonly ours: readonly Run[];
  readonly other: readonly Run[];
}

/** How long pulls took, in milliseconds; of several rounds the medians. */
interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly pulls: number;
}

interface Latencies {
  readonly idle: Latency;
  readonly dryRuns: Latency;
  readonly collecting: Latency;
}

const RUN_LIMIT_MS = 10 * 60_000;
/** How long pulls are measured without a collector, and at most beside one. */
const LATENCY_MS = 8_000;
/** A pull every so often, as of a registry that is in use and not overloaded. */
const PULL_PERIOD_MS = 5;

await main();

async function main(): Promise<void> {
  const size: StoreSize = { manifests: countOption("manifests", options.manifests), blobs: countOption("blobs", options.blobs), repositories: countOption("repositories", options.repositories) };
  const rounds = countOption("rounds", options.rounds);
  await using folder = await benchFolder(options.folder);
  console.log(`${new Date().toISOString().slice(0, 10)}, ${machine()}; ${size.manifests} manifests and ${size.blobs} blobs in ${size.repositories} repositories; ${rounds} rounds\n`);
  const comparisons: Comparison[] = [];
  if (options.only.includes("dry")) comparisons.push({ kind: "dry run", ...(await compareDryRuns(folder.path, { size, rounds, flags: [] })) });
  if (options.only.includes("real")) comparisons.push({ kind: "real run", ...(await compareRealRuns(folder.path, { size, rounds, flags: [] })) });
  if (options.only.includes("untagged")) {
    const how = { size, rounds, flags: ["--delete-untagged"] };
    comparisons.push({ kind: "dry run, `--delete-untagged`", ...(await compareDryRuns(folder.path, how)) });
    comparisons.push({ kind: "real run, `--delete-untagged`", ...(await compareRealRuns(folder.path, how)) });
  }
  if (comparisons.length > 0) console.log(comparisonTable(comparisons));
  const latency = options.only.includes("latency") ? await measureLatency(folder.path, { size, rounds }) : undefined;
  if (latency !== undefined) console.log(`\n${latencyTable(latency)}`);
  if (options.json !== undefined) await Bun.write(options.json, `${JSON.stringify({ date: new Date().toISOString(), machine: machine(), size, rounds, comparisons, latency }, undefined, 2)}\n`);
}

/** What is compared. */
interface Trial {
  readonly size: StoreSize;
  readonly rounds: number;
  /** What follows the command of both. */
  readonly flags: readonly string[];
}

type Runs = Pick<Comparison, "ours" | "other">;

async function compareDryRuns(folder: string, { size, rounds, flags }: Trial): Promise<Runs> {
  const store = join(folder, "dry");
  makeStore(store, size);
  const runs = { ours: [] as Run[], other: [] as Run[] };
  await settle(store);
  for (let round = 0; round < rounds; round++) {
    for (const who of inTurn(round)) runs[who].push(await collect(options[who], store, { flags: ["--dry-run", ...flags] }));
  }
  await rm(store, { recursive: true });
  return runs;
}

async function compareRealRuns(folder: string, { size, rounds, flags }: Trial): Promise<Runs> {
  const runs = { ours: [] as Run[], other: [] as Run[] };
  for (let round = 0; round < rounds; round++) {
    for (const who of inTurn(round)) {
      const store = join(folder, `real-${round}-${who}`);
      makeStore(store, size);
      await settle(store);
      runs[who].push(await collect(options[who], store, { flags }));
      await rm(store, { recursive: true });
    }
  }
  return runs;
}

/** Puts a store into the page cache, as far as either looks at it, and what was written on the disk. */
async function settle(store: string): Promise<void> {
  for (const who of ["ours", "other"] as const) await collect(options[who], store, { flags: ["--dry-run"] });
  await sync();
}

async function sync(): Promise<void> {
  if ((await Bun.spawn(["sync"]).exited) !== 0) throw new Error("sync failed");
}

/** Whoever comes first in one round comes last in the next. */
function inTurn(round: number): readonly ("ours" | "other")[] {
  return round % 2 === 0 ? ["ours", "other"] : ["other", "ours"];
}

/** @param how What follows the command, and whether its output is read: who measures pulls must not have that work, too. */
async function collect(program: string, store: string, { flags, stdout = "pipe" }: { readonly flags: readonly string[]; readonly stdout?: "pipe" | "ignore" }): Promise<Run> {
  const config = `${store}.yml`;
  await Bun.write(config, stringify({ version: 0.1, log: { level: "error" }, storage: { filesystem: { rootdirectory: store }, delete: { enabled: true } }, http: { addr: "127.0.0.1:0" } }));
  const startedAt = performance.now();
  const child = Bun.spawn([executable(program), "garbage-collect", ...flags, config], { stdin: "ignore", stdout, stderr: "pipe", env: { PATH: process.env["PATH"] ?? "", OTEL_TRACES_EXPORTER: "none" }, timeout: RUN_LIMIT_MS });
  const errors = new Response(child.stderr).text();
  // The output is read, as a terminal or a pipe would, and not kept.
  if (child.stdout !== undefined) for await (const _chunk of child.stdout) continue;
  if ((await child.exited) !== 0) throw new Error(`${program} garbage-collect: status ${child.exitCode}: ${await errors}`);
  const usage = child.resourceUsage();
  if (usage === undefined) throw new Error("the system tells nothing of the process");
  return { seconds: (performance.now() - startedAt) / 1000, peakMiB: usage.maxRSS / 1024 ** 2, cpuSeconds: Number(usage.cpuTime.total) / 1e6 };
}

async function measureLatency(folder: string, { size, rounds }: Pick<Trial, "size" | "rounds">): Promise<Latencies> {
  const times = { idle: [] as Latency[], dryRuns: [] as Latency[], collecting: [] as Latency[] };
  for (let round = 0; round < rounds; round++) {
    const server = join(folder, `served-${round}`);
    const store = join(server, "data");
    mkdirSync(server);
    const made = makeStore(store, size);
    await settle(store);
    await using running = await registryContender("ours", executable(options.ours)).start({ folder: server });
    await pullFor(running, made, { untilMs: 2_000 });
    times.idle.push(await pullFor(running, made, { untilMs: LATENCY_MS }));
    for (const [kind, flags] of [["dryRuns", ["--dry-run"]], ["collecting", []]] as const) {
      times[kind].push(await pullFor(running, made, { untilMs: LATENCY_MS, beside: async () => void (await collect(options.ours, store, { flags: [...flags, "--grace", "0s"], stdout: "ignore" })) }));
    }
  }
  const middle = (all: readonly Latency[]): Latency => ({ p50Ms: median(all.map(({ p50Ms }) => p50Ms)), p99Ms: median(all.map(({ p99Ms }) => p99Ms)), pulls: all.reduce((sum, { pulls }) => sum + pulls, 0) });
  return { idle: middle(times.idle), dryRuns: middle(times.dryRuns), collecting: middle(times.collecting) };
}

/** Pulls images at a steady pace: a manifest and its config each. With work beside it, for as long as that takes, again and again. */
async function pullFor(server: Server, made: MadeStore, options: { readonly untilMs: number; readonly beside?: () => Promise<void> }): Promise<Latency> {
  const times: number[] = [];
  const deadline = performance.now() + options.untilMs;
  let isOver = false;
  const beside = (async () => {
    if (options.beside === undefined) return await Bun.sleep(options.untilMs);
    while (performance.now() < deadline) await options.beside();
  })().finally(() => (isOver = true));
  for (let number = 0; !isOver; number++) {
    const image = made.images[(number * 7919) % made.images.length];
    if (image === undefined) throw new Error("the store has no image");
    const startedAt = performance.now();
    await pull(server, image);
    times.push(performance.now() - startedAt);
    await Bun.sleep(PULL_PERIOD_MS);
  }
  await beside;
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN;
  return { p50Ms: at(0.5), p99Ms: at(0.99), pulls: times.length };
}

async function pull(server: Server, image: { readonly name: string; readonly tag: string }): Promise<void> {
  const manifest = await fetch(`${server.url}/v2/${image.name}/manifests/${image.tag}`, { headers: { accept: "application/vnd.docker.distribution.manifest.v2+json" } });
  const { config } = (await manifest.json()) as { config: { digest: string } };
  const blob = await fetch(`${server.url}/v2/${image.name}/blobs/${config.digest}`);
  await blob.bytes();
  if (manifest.status !== 200 || blob.status !== 200) throw new Error(`${image.name}:${image.tag}: ${manifest.status}, its config ${blob.status}`);
}

function comparisonTable(comparisons: readonly Comparison[]): string {
  const lines = comparisons.map(({ kind, ours, other }) => {
    const of = (runs: readonly Run[], key: keyof Run): number => median(runs.map((run) => run[key]));
    const seconds = [of(ours, "seconds"), of(other, "seconds")] as const;
    return [kind, ...seconds.map((value) => `${value.toFixed(2)} s`), `${(seconds[1] / seconds[0]).toFixed(1)}×`, `${of(ours, "cpuSeconds").toFixed(2)} s`, `${of(other, "cpuSeconds").toFixed(2)} s`, `${of(ours, "peakMiB").toFixed(0)} MiB`, `${of(other, "peakMiB").toFixed(0)} MiB`];
  });
  return table(["", "ours", "other", "other ÷ ours", "CPU ours", "CPU other", "peak memory ours", "peak memory other"], lines);
}

function latencyTable(latency: Latencies): string {
  const { idle } = latency;
  const rows = [["idle", idle], ["dry runs beside", latency.dryRuns], ["collecting beside", latency.collecting]] as const;
  return table(["pulls", "number", "p50", "p99", "p99 ÷ idle"], rows.map(([name, each]) => [name, String(each.pulls), `${each.p50Ms.toFixed(2)} ms`, `${each.p99Ms.toFixed(2)} ms`, `${(each.p99Ms / idle.p99Ms).toFixed(1)}×`]));
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function executable(name: string): string {
  const path = name.includes("/") ? resolve(name) : Bun.which(name);
  if (path === null) throw new Error(`${name}: no such program`);
  return path;
}
