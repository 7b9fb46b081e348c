/*
 * Compares the registry's executable with another one, and both with what the machine can do at most, on loopback:
 *
 *   bun scripts/bench.ts [--ours dist/registry] [--other docker-registry] [--only NAME]… [--rounds N] [--processes N] [--quick] [--json FILE]
 *                        [--folder DIR] [--list]
 *
 * Rounds alternate between the servers; the tables show medians. nginx (sendfile) is the limit of pulls, `cat | tee | sha256sum` that
 * of pushes. With --processes, ours runs so many times on one port and one folder (`http.reuseport`). Servers log requests to a file.
 * Nothing is printed that was not measured in this run.
 */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Contender, nginxContender, registryContender } from "./bench/contender.ts";
import { openBench } from "./bench/environment.ts";
import { MIX_WORKLOADS } from "./bench/mixes.ts";
import { MIRROR } from "./bench/mirror.ts";
import { machine, Report, table } from "./bench/report.ts";
import { IMAGES, referrersWorkload, requestWorkloads } from "./bench/requests.ts";
import { IDLE, measurePushLimit, STREAMS } from "./bench/streams.ts";
import type { Bench, Scale, Workload } from "./bench/workload.ts";

const FULL: Scale = {
  bigMiB: 1024,
  seconds: 3,
  smallImages: 300,
  tags: 10_000,
  repositories: [10, 1000, 20_000],
  referrers: 1000,
  connections: [1, 16, 256],
  stormClients: 200,
  stormLayerBytes: 1024 * 1024,
  mixMiB: 1000,
};

/** To see that everything runs, not to compare. */
const QUICK: Scale = {
  bigMiB: 64,
  seconds: 1,
  smallImages: 20,
  tags: 200,
  repositories: [10, 200],
  referrers: 20,
  connections: [1, 16],
  stormClients: 20,
  stormLayerBytes: 65_536,
  mixMiB: 20,
};

/** The name of the measurement that has no server. */
const PUSH_LIMIT = "cat, tee, sha256sum";

const { values: options } = parseArgs({
  options: {
    ours: { type: "string", default: join(import.meta.dir, "../dist/registry") },
    other: { type: "string", default: "docker-registry" },
    only: { type: "string", multiple: true, default: [] },
    rounds: { type: "string", default: "3" },
    processes: { type: "string", default: "1" },
    folder: { type: "string", default: tmpdir() },
    json: { type: "string" },
    quick: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
  },
});

await main();

async function main(): Promise<void> {
  const scale = options.quick ? QUICK : FULL;
  const workloads = allWorkloads(scale).filter(({ name }) => options.only.length === 0 || options.only.some((wanted) => name.includes(wanted)));
  if (options.list) return console.log(workloads.map(({ name }) => name).join("\n"));
  const rounds = options.quick ? 1 : count("rounds");
  const processes = count("processes");
  const registries = [registryContender("ours", executable(options.ours), processes), registryContender("other", executable(options.other))];
  const limits = Bun.which("nginx") === null ? [] : [nginxContender()];

  const started = new Date();
  console.log(`${started.toISOString().slice(0, 10)}, ${machine()}; ours: ${options.ours}${processes > 1 ? `, ${processes} processes` : ""}; other: ${options.other}; ${rounds} rounds${options.quick ? ", quick" : ""}\n`);
  const report = new Report();
  await using bench = await openBench(scale, options.folder);
  for (const workload of workloads) {
    const contenders = workload.hasLimit === true ? [...registries, ...limits] : registries;
    try {
      await measure(workload, { bench, contenders, rounds, report });
    } catch (error) {
      // The others are worth measuring all the same.
      console.log(`${workload.name}: failed: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 1;
      continue;
    }
    const names = [...contenders.map(({ name }) => name), ...(isPush(workload) ? [PUSH_LIMIT] : [])];
    const rows = report.rows(workload.name);
    console.log(rows.length === 0 ? `${workload.name}: neither server can do it\n` : `${table(rows, names)}\n`);
  }
  if (options.json !== undefined) {
    const facts = { date: started.toISOString(), machine: machine(), ours: options.ours, other: options.other, rounds, processes, scale, rows: report.rows() };
    await Bun.write(options.json, `${JSON.stringify(facts, undefined, 2)}\n`);
  }
}

function allWorkloads(scale: Scale): Workload[] {
  return [IDLE, ...STREAMS, ...IMAGES, ...requestWorkloads(scale), referrersWorkload(scale), ...MIX_WORKLOADS, ...MIRROR];
}

interface Plan {
  readonly bench: Bench;
  readonly contenders: readonly Contender[];
  readonly rounds: number;
  readonly report: Report;
}

async function measure(workload: Workload, { bench, contenders, rounds, report }: Plan): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    // Whoever comes first in one round comes last in the next.
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const metrics = await workload.measure(bench, contender);
      if (metrics !== undefined) report.add(workload.name, contender.name, metrics);
    }
    if (isPush(workload)) report.add(workload.name, PUSH_LIMIT, await measurePushLimit(bench));
  }
}

function isPush(workload: Workload): boolean {
  return workload.name.startsWith("push 1 stream");
}

function count(name: "rounds" | "processes"): number {
  const value = Number(options[name]);
  if (!(Number.isInteger(value) && value > 0)) throw new Error(`--${name}: found "${options[name]}", expected a whole number above 0`);
  return value;
}

function executable(name: string): string {
  const path = name.includes("/") ? resolve(name) : Bun.which(name);
  if (path === null || !existsSync(path)) throw new Error(`${name}: no such program`);
  return path;
}
