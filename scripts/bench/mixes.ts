import type { Work } from "./client.ts";
import { runClient } from "./load.ts";
import type { Contender } from "./contender.ts";
import type { BigFile } from "./seed.ts";
import { settle } from "./streams.ts";
import { type Bench, cost, type Metric, rate, timed, type Workload } from "./workload.ts";

const MIB = 1024 * 1024;
const CLIENTS = 4;

/** A mix: which sizes (MiB: share), and which share of the works are pushes. */
interface Mix {
  readonly name: string;
  readonly sizes: Readonly<Record<number, number>>;
  readonly pushes: number;
  readonly isChunked?: boolean;
}

const SINGLE = [1, 10, 100];
const THIRDS = { 1: 1, 10: 1, 100: 1 };
const MOSTLY_TEN = { 1: 2, 10: 7, 100: 1 };

/** The kinds of load that zot's benchmark `zb` puts on a registry. */
const MIXES: readonly Mix[] = [
  ...SINGLE.map((size) => ({ name: `push, ${size} MiB`, sizes: { [size]: 1 }, pushes: 1 })),
  ...SINGLE.map((size) => ({ name: `push by PATCH, ${size} MiB`, sizes: { [size]: 1 }, pushes: 1, isChunked: true })),
  ...SINGLE.map((size) => ({ name: `pull, ${size} MiB`, sizes: { [size]: 1 }, pushes: 0 })),
  { name: "pull, 20% 1, 70% 10, 10% 100 MiB", sizes: MOSTLY_TEN, pushes: 0 },
  { name: "pull, thirds of 1, 10, 100 MiB", sizes: THIRDS, pushes: 0 },
  { name: "push, 20% 1, 70% 10, 10% 100 MiB", sizes: MOSTLY_TEN, pushes: 1 },
  { name: "push, thirds of 1, 10, 100 MiB", sizes: THIRDS, pushes: 1 },
  { name: "push by PATCH, 20% 1, 70% 10, 10% 100 MiB", sizes: MOSTLY_TEN, pushes: 1, isChunked: true },
  { name: "push by PATCH, thirds of 1, 10, 100 MiB", sizes: THIRDS, pushes: 1, isChunked: true },
  ...SINGLE.map((size) => ({ name: `75% pull, 25% push, ${size} MiB`, sizes: { [size]: 1 }, pushes: 0.25 })),
];

/** One workload for each mix. */
export const MIX_WORKLOADS: readonly Workload[] = MIXES.map((mix) => ({
  name: `mix: ${mix.name}`,
  measure: (bench, contender) => measureMix(bench, contender, mix),
}));

async function measureMix(bench: Bench, contender: Contender, mix: Mix): Promise<Metric[]> {
  const files = await bench.mixFiles();
  const works = makeWorks(mix, { totalMiB: bench.scale.mixMiB, files });
  const totalMiB = works.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0);
  await using server = await bench.fresh(contender, { seed: async (store) => {
    for (const file of files) await store.addFile("bench/mix", file);
  } });
  if (mix.pushes > 0) await settle(mix.pushes * totalMiB);
  let seconds = 0;
  const { cpuSeconds } = await timed(server, async () => {
    ({ seconds } = await runClient({ kind: "mix", port: server.port, clients: CLIENTS, works: works.map(({ work }) => work) }));
  });
  return [rate("throughput", "MiB/s", totalMiB / seconds), cost("CPU", "s/GiB", (cpuSeconds / totalMiB) * 1024)];
}

/** So many that about `totalMiB` are moved, in a fixed order; every push has bytes of its own. */
function makeWorks(mix: Mix, plan: { readonly totalMiB: number; readonly files: readonly BigFile[] }): { work: Work; sizeMiB: number }[] {
  const cycle = Object.entries(mix.sizes).flatMap(([size, share]) => Array<number>(share).fill(Number(size)));
  const cycleMiB = cycle.reduce((sum, size) => sum + size, 0);
  const count = Math.max(cycle.length, Math.round((plan.totalMiB / cycleMiB) * cycle.length));
  return Array.from({ length: count }, (_, index) => {
    const sizeMiB = cycle[index % cycle.length] ?? 1;
    const isPush = Math.floor((index + 1) * mix.pushes) > Math.floor(index * mix.pushes);
    if (!isPush) return { sizeMiB, work: pullOf(sizeMiB, plan.files) };
    return { sizeMiB, work: { kind: "push", name: "bench/mix-push", sizeBytes: sizeMiB * MIB, seed: index + 1, isChunked: mix.isChunked === true } };
  });
}

function pullOf(sizeMiB: number, files: readonly BigFile[]): Work {
  const file = files.find(({ sizeBytes }) => sizeBytes === sizeMiB * MIB);
  if (file === undefined) throw new Error(`no file of ${sizeMiB} MiB`);
  return { kind: "pull", path: `/v2/bench/mix/blobs/${file.digest}` };
}
