import type { Command } from "commander";
import { openMaintenance } from "../server/maintenance.ts";
import { type CliContext, CliError } from "./context.ts";

/** Adds `registry retention`. */
export function addRetention(program: Command, context: CliContext): void {
  program
    .command("retention")
    .argument("[config]", "configuration file")
    .description("delete the tags that no rule of storage.maintenance.retention keeps; their bytes go with the next garbage collection")
    .option("-d, --dry-run", "only print what would be deleted")
    .action(async (file: string | undefined, flags: { readonly dryRun?: boolean }) => {
      await using maintenance = await openMaintenance(file, context.env);
      if (maintenance.config.storage.maintenance.retention.rules.length === 0) throw new CliError("storage.maintenance.retention.rules is empty: there is nothing to apply");
      const result = await maintenance.applyRetention({
        dryRun: flags.dryRun === true,
        onDecision: (name, { tag, keep, reason }) => context.stdout(`${keep ? "keep" : "delete"} ${name}:${tag.tag} ${tag.digest} (${reason})\n`),
      });
      context.stdout(`${result.keptTags} tags kept, ${result.deletedTags} ${flags.dryRun === true ? "to be deleted" : "deleted"} in ${result.repositories} repositories\n`);
    });
}
