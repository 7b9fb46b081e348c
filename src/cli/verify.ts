import type { Command } from "commander";
import { openMaintenance } from "../server/maintenance.ts";
import { type CliContext, CliError } from "./context.ts";

/** Adds `registry verify`. */
export function addVerify(program: Command, context: CliContext): void {
  program
    .command("verify")
    .argument("[config]", "configuration file")
    .description("hash every blob and check every link; exit status 1 when something is wrong and was not repaired")
    .option("--repair", "move corrupt blobs aside so that a new push heals them, and write links that can be derived")
    .option("--resume", "go on where an interrupted run stopped")
    .action(async (file: string | undefined, flags: { readonly repair?: boolean; readonly resume?: boolean }) => await verify(file, flags, context));
}

async function verify(file: string | undefined, flags: { readonly repair?: boolean; readonly resume?: boolean }, context: CliContext): Promise<void> {
  await using maintenance = await openMaintenance(file, context.env);
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort(new CliError("interrupted; '--resume' goes on from here", 130)));
  const startedAt = performance.now();
  const result = await maintenance.verify({
    repair: flags.repair === true,
    resume: flags.resume === true,
    signal: interrupted.signal,
    listener: {
      found: (finding) => context.stdout(`${finding.kind}: ${finding.path}: ${finding.problem}${finding.repaired === undefined ? "" : ` (${finding.repaired})`}\n`),
      hashed: (blobs, bytes) => {
        if (!context.isTerminal) return;
        const seconds = Math.max(0.001, (performance.now() - startedAt) / 1000);
        context.stderr(`\r${blobs} blobs, ${(bytes / 1e9).toFixed(2)} GB, ${(bytes / 1e6 / seconds).toFixed(0)} MB/s `);
      },
      repository: () => undefined,
    },
  });
  if (context.isTerminal) context.stderr("\n");
  const left = result.findings - result.repaired;
  context.stdout(`${result.blobs} blobs with ${result.bytes} bytes in ${result.repositories} repositories: ${result.findings} findings, ${result.repaired} repaired\n`);
  if (left > 0) throw new CliError("", 1);
}
