import { readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Claims a folder for this process. A claim of a process that has ended, however it ended, counts for nothing; processes that
 * cannot see each other (two containers over one volume) do not see each other's claims either.
 * @returns Gives the folder back.
 * @throws Error when a living process holds it.
 */
export function lockFolder(folder: string): () => void {
  const file = join(folder, "lock");
  const holder = readHolder(file);
  if (holder !== undefined && isAlive(holder)) throw new Error(`${folder} is in use by process ${holder.pid}: give every running registry a folder of its own`);
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${process.pid} ${startTicks(process.pid) ?? ""}\n`);
  renameSync(draft, file);
  return () => unlinkSync(file);
}

interface Holder {
  readonly pid: number;
  readonly startTicks: string;
}

function readHolder(file: string): Holder | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const match = /^(\d+) (\d*)\n$/.exec(text);
  return match === null ? undefined : { pid: Number(match[1]), startTicks: match[2] ?? "" };
}

function isAlive(holder: Holder): boolean {
  // A container's process is number 1 again after every start: only the start time tells the old one from the new.
  const ticks = startTicks(holder.pid);
  if (ticks !== undefined) return ticks === holder.startTicks;
  if (holder.pid === process.pid) return false;
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** When a process began, in the kernel's ticks; undefined where that cannot be read. */
function startTicks(pid: number): string | undefined {
  try {
    // The second field is the program's name in parentheses and may hold anything: count from its end.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
