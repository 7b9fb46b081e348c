import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { serve } from "../server/serve.ts";
import type { CliContext } from "./context.ts";

/** Adds `registry serve`. */
export function addServe(program: Command, context: CliContext): void {
  program
    .command("serve")
    .argument("[config]", "configuration file (default: $REGISTRY_CONFIGURATION_PATH, else a built-in one)")
    .description("serve the registry")
    .action(async (config: string | undefined) => await serve(await loadConfig({ path: config, env: context.env, strict: false }), context.env));
}
