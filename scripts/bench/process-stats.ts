import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** Clock ticks a second in /proc; 100 on every Linux that Bun runs on. */
const TICKS = 100;

/** CPU seconds, user and system, that a process and its children have used so far; all threads count. */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const each of [pid, ...childrenOf(pid)]) {
    const stat = readFileSync(`/proc/${each}/stat`, "utf8");
    // The name in parentheses may hold spaces; what follows it does not.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS;
}

/** Resident memory in MiB, now or at its peak, of a process and its children. */
export function memoryMiB(pid: number, what: "VmRSS" | "VmHWM"): number {
  let kibibytes = 0;
  for (const each of [pid, ...childrenOf(pid)]) {
    kibibytes += Number(new RegExp(`^${what}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${each}/status`, "utf8"))?.[1] ?? 0);
  }
  return kibibytes / 1024;
}

/** Lets the peak of a process and its children begin anew. @see proc(5), clear_refs */
export function resetPeakMemory(pid: number): void {
  for (const each of [pid, ...childrenOf(pid)]) writeFileSync(`/proc/${each}/clear_refs`, "5");
}

function childrenOf(pid: number): number[] {
  const children: number[] = [];
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    children.push(...readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter((text) => text !== "").map(Number));
  }
  return children;
}
