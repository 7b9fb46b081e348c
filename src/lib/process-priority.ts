import { readdirSync } from "node:fs";
import { constants, setPriority } from "node:os";

/**
 * Lets a process give way to others: every thread that it has by now. Linux knows a priority of each thread, and that of the first is
 * not that of those in which the runtime compiles and collects, for a good part of a short program's time.
 */
export function lowerProcessPriority(): void {
  setPriority(constants.priority.PRIORITY_LOW);
  if (process.platform !== "linux") return;
  for (const thread of readdirSync("/proc/self/task")) lowerThread(Number(thread));
}

function lowerThread(thread: number): void {
  try {
    setPriority(thread, constants.priority.PRIORITY_LOW);
  } catch (error) {
    // It ended meanwhile.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
