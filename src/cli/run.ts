import { Command, CommanderError } from "commander";
import { ConfigError } from "../config/load.ts";
import { COMMIT, VERSION } from "../version.ts";
import { addAccessCheck } from "./access-check.ts";
import { addConfigCheck } from "./config-check.ts";
import { addConfigSchema } from "./config-schema.ts";
import { type AddCommand, type CliContext, CliError } from "./context.ts";
import { addGarbageCollect } from "./garbage-collect.ts";
import { addHtpasswd } from "./htpasswd.ts";
import { addRetention } from "./retention.ts";
import { addServe } from "./serve.ts";
import { addStorageCheck } from "./storage-check.ts";
import { addVerify } from "./verify.ts";

/** Every command, in the order of the help text. */
const COMMANDS: readonly AddCommand[] = [addServe, addGarbageCollect, addRetention, addVerify, addConfigCheck, addConfigSchema, addStorageCheck, addHtpasswd, addAccessCheck];

/**
 * Runs the command that the arguments name.
 * @param argv Without the program's own name.
 * @returns The exit status; a message was written when it is not 0.
 */
export async function run(argv: readonly string[], context: CliContext): Promise<number> {
  const program = buildProgram(context);
  if (argv.length === 0) {
    context.stdout(program.helpInformation());
    return 0;
  }
  try {
    await program.parseAsync(impliedServe(argv), { from: "user" });
    return 0;
  } catch (error) {
    return reportFailure(error, context);
  }
}

function buildProgram(context: CliContext): Command {
  const program = new Command("registry");
  program
    .description("A container registry in one executable.")
    .version(`registry ${VERSION} (${COMMIT})`, "-v, --version", "print the version")
    .configureOutput({ writeOut: (text) => context.stdout(text), writeErr: (text) => context.stderr(text) })
    .exitOverride()
    .showHelpAfterError("(see 'registry help')");
  for (const add of COMMANDS) add(program, context);
  // Commands made by `command()` copy these settings; those added whole do not.
  for (const command of program.commands) command.exitOverride().configureOutput(program.configureOutput());
  return program;
}

// The entrypoint of the registry:2 image takes a bare configuration file for `serve FILE`.
function impliedServe(argv: readonly string[]): readonly string[] {
  const first = argv[0] ?? "";
  return /\.ya?ml$/.test(first) ? ["serve", ...argv] : argv;
}

function reportFailure(error: unknown, context: CliContext): number {
  if (error instanceof CommanderError) return error.exitCode;
  if (error instanceof CliError) {
    if (error.message !== "") context.stderr(`${error.message}\n`);
    return error.exitCode;
  }
  if (error instanceof ConfigError) {
    context.stderr(`configuration error: ${error.message}\n`);
    return 1;
  }
  context.stderr(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  return 1;
}
