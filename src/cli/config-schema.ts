import type { Command } from "commander";
import { configJsonSchema } from "../config/json-schema.ts";
import type { CliContext } from "./context.ts";

/** Adds `registry config-schema`. */
export function addConfigSchema(program: Command, context: CliContext): void {
  program
    .command("config-schema")
    .description("print a JSON Schema of the configuration, for editors")
    .action(() => context.stdout(`${JSON.stringify(configJsonSchema(), null, 2)}\n`));
}
