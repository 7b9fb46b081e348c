import { cpus, release, totalmem } from "node:os";
import type { Metric } from "./workload.ts";

/** All values of one metric of one workload, by contender. */
export interface Row {
  readonly workload: string;
  readonly metric: string;
  readonly unit: string;
  readonly isHigherBetter: boolean;
  readonly values: Readonly<Record<string, readonly number[]>>;
}

/** What was measured so far. */
export class Report {
  readonly #rows = new Map<string, { readonly metric: Metric; readonly workload: string; readonly values: Map<string, number[]> }>();

  /** Takes one round of one contender. */
  add(workload: string, contender: string, metrics: readonly Metric[]): void {
    for (const metric of metrics) {
      const key = `${workload}\n${metric.name}`;
      const row = this.#rows.get(key) ?? { metric, workload, values: new Map() };
      this.#rows.set(key, row);
      row.values.set(contender, [...(row.values.get(contender) ?? []), metric.value]);
    }
  }

  rows(workload?: string): Row[] {
    return [...this.#rows.values()]
      .filter((row) => workload === undefined || row.workload === workload)
      .map(({ metric, workload: name, values }) => ({ workload: name, metric: metric.name, unit: metric.unit, isHigherBetter: metric.isHigherBetter, values: Object.fromEntries(values) }));
  }
}

/** The middle value; of an even number, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** A table in Markdown. The last column is ours divided by the first other registry, of medians; a dash is what was not measured. */
export function table(rows: readonly Row[], contenders: readonly string[]): string {
  const [ours = "", other = ""] = contenders;
  const lines = rows.map((row) => {
    const medians = contenders.map((name) => (row.values[name] === undefined ? undefined : median(row.values[name])));
    const [mine, theirs] = medians;
    const ratio = mine === undefined || theirs === undefined || theirs === 0 ? "–" : `${format(mine / theirs)}×`;
    return [row.workload, `${row.metric} (${row.unit}, ${row.isHigherBetter ? "more" : "less"} is better)`, ...medians.map((value) => (value === undefined ? "–" : format(value))), ratio];
  });
  const head = ["workload", "metric", ...contenders, `${ours} ÷ ${other}`];
  return [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function format(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** The machine, in one line. */
export function machine(): string {
  const processors = cpus();
  return `${processors.length} × ${processors[0]?.model.trim() ?? "unknown CPU"}, ${(totalmem() / 1024 ** 3).toFixed(0)} GiB, ${process.platform} ${release()}`;
}
