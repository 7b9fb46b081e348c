import { readdirSync } from "node:fs";
import { constants, setPriority } from "node:os";

/**
 * Lets the whole process give way to others. Linux knows a priority of each thread, which the threads that it starts take over: those
 * of the runtime are there already, and compile and collect for a good part of a short program's time.
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
