import { writeSync } from "node:fs";
import { run } from "./cli/run.ts";

const status = await run(process.argv.slice(2), {
  env: process.env,
  // Synchronous: what was written is out before the process ends, also into a pipe.
  stdout: (text) => void writeSync(1, text),
  stderr: (text) => void writeSync(2, text),
  isTerminal: process.stdout.isTTY === true,
});
process.exit(status);
