import type { Command } from "commander";
import { openMaintenance } from "../server/maintenance.ts";
import type { CheckResult } from "../storage/check.ts";
import { type CliContext, CliError } from "./context.ts";

/** Adds `registry storage-check`. */
export function addStorageCheck(program: Command, context: CliContext): void {
  program
    .command("storage-check")
    .argument("[config]", "configuration file")
    .description("try everything that a registry does on the configured store, with its real permissions; exit status 1 when something fails")
    .option("--json", "print one JSON document instead of lines")
    .action(async (file: string | undefined, flags: { readonly json?: boolean }) => await storageCheck(file, flags.json === true, context));
}

async function storageCheck(file: string | undefined, json: boolean, context: CliContext): Promise<void> {
  await using maintenance = await openMaintenance(file, context.env);
  const results = await maintenance.checkStore(json ? undefined : (result) => context.stdout(lineOf(result)));
  if (json) context.stdout(`${JSON.stringify(results)}\n`);
  const failed = results.filter(({ outcome }) => outcome === "failed").length;
  if (failed > 0) throw new CliError(json ? "" : `${failed} of ${results.length} actions failed: a registry cannot use this store as it is`);
}

function lineOf({ action, outcome, durationMs, error, hint }: CheckResult): string {
  if (outcome === "skipped") return `skipped  ${action}\n`;
  if (outcome === "ok") return `ok       ${action} (${durationMs.toFixed(0)} ms)\n`;
  return `failed   ${action}: ${error ?? ""}\n         look at: ${hint ?? ""}\n`;
}
