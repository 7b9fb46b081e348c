import { readdirSync } from "node:fs";
import { constants, setPriority } from "node:os";

/**
 * Lets a process give way to others: every thread that it has by now, and those that these begin. Linux knows a priority of each thread,
 * and that of the first is not that of those in which the runtime compiles and collects, for a good part of a short program's time.
 * Where the system does not let it, the priority stays as it was.
 */
export function lowerProcessPriority(): void {
  lower(process.pid);
  if (process.platform !== "linux") return;
  for (const thread of threads()) lower(thread);
}

function threads(): readonly number[] {
  try {
    return readdirSync("/proc/self/task").map(Number);
  } catch {
    // There is no /proc.
    return [];
  }
}

function lower(thread: number): void {
  try {
    setPriority(thread, constants.priority.PRIORITY_LOW);
  } catch {
    // It ended meanwhile, or it may not be done here.
  }
}
