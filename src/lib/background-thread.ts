import { constants, setPriority } from "node:os";
import { openCLibrary } from "./c-library.ts";

/** Linux: what runs only while nobody else wants the processor. */
const SCHED_IDLE = 5;

/**
 * Lets the calling thread give way to every other that wants the processor, at once and not at the end of its time slice. On Linux
 * only: elsewhere a priority belongs to the whole process, which serves requests, too.
 */
export function moveThreadToBackground(): void {
  if (process.platform !== "linux") return;
  // Of the calling thread alone, as the kernel takes it.
  setPriority(constants.priority.PRIORITY_LOW);
  try {
    const { symbols } = openCLibrary({ sched_setscheduler: { args: ["i32", "i32", "buffer"], returns: "i32" } });
    // Where it is refused, as by musl, the low priority stays.
    symbols.sched_setscheduler(0, SCHED_IDLE, new Int32Array(1));
  } catch {
    // No C library: the low priority stays.
  }
}
