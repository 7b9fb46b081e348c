import type { Command } from "commander";

/** What a command may touch of the world around it; tests give their own. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  stdout(text: string): void;
  stderr(text: string): void;
  /** Whether standard output is a terminal, for progress bars. */
  readonly isTerminal: boolean;
}

/** Adds one command to the program; every command file exports one of these. */
export type AddCommand = (program: Command, context: CliContext) => void;

/** Ends the program with one clear line on stderr and this status; no stack. */
export class CliError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode = 1, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CliError";
    this.exitCode = exitCode;
  }
}
