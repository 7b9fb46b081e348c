import { writeSync } from "node:fs";
import { lowerProcessPriority } from "./lib/process-priority.ts";

/** Writes all of a text before it returns, also into a pipe whose reader is slow: the process may end right after. */
function write(fd: number, text: string): void {
  for (let bytes = Buffer.from(text); bytes.length > 0; ) {
    try {
      bytes = bytes.subarray(writeSync(fd, bytes));
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      // Nobody reads on.
      if (code === "EPIPE") return;
      if (code !== "EAGAIN") throw error;
      Bun.sleepSync(1);
    }
  }
}

/** What is done for the store gives way to who serves it, already while it is loaded. */
const MAINTENANCE: readonly (string | undefined)[] = ["garbage-collect", "retention", "verify"];

if (MAINTENANCE.includes(process.argv[2])) lowerProcessPriority();
const { run } = await import("./cli/run.ts");
const status = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => write(1, text),
  stderr: (text) => write(2, text),
  isTerminal: process.stdout.isTTY === true,
});
process.exit(status);
