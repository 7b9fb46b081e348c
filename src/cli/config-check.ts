import type { Command } from "commander";
import { effectiveYaml } from "../config/effective.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import type { CliContext } from "./context.ts";

/** Adds `registry config-check`. */
export function addConfigCheck(program: Command, context: CliContext): void {
  program
    .command("config-check")
    .argument("[config]", "configuration file (default: $REGISTRY_CONFIGURATION_PATH, else the built-in one)")
    .description("check a configuration strictly and print what takes effect, with where each value came from")
    .action(async (file: string | undefined) => {
      const loaded = await loadConfig({ path: file, env: context.env, strict: true });
      context.stdout(effectiveYaml(loaded));
      for (const warning of loaded.warnings) context.stderr(`warning: ${formatProblem(warning)}\n`);
    });
}
