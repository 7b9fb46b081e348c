import { writeSync } from "node:fs";
import { run } from "./cli/run.ts";

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

const status = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => write(1, text),
  stderr: (text) => write(2, text),
  isTerminal: process.stdout.isTTY === true,
});
process.exit(status);
