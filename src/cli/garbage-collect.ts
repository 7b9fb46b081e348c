import type { Command } from "commander";
import { parseDuration } from "../lib/fields.ts";
import type { Digest } from "../oci/digest.ts";
import type { RepositoryName } from "../oci/name.ts";
import { CollectorBusyError, type CollectListener } from "../registry/gc/collector.ts";
import { CollectionDoubtError } from "../registry/gc/doubt.ts";
import type { UntaggedRevision } from "../registry/gc/mark.ts";
import { REPOSITORIES } from "../registry/layout.ts";
import { type CollectionOutcome, openMaintenance } from "../server/maintenance.ts";
import { type CliContext, CliError } from "./context.ts";

interface Flags {
  readonly dryRun?: boolean;
  readonly deleteUntagged?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly keepGoing?: boolean;
  readonly grace?: string;
}

/** Adds `registry garbage-collect`, with distribution's flags and output. */
export function addGarbageCollect(program: Command, context: CliContext): void {
  program
    .command("garbage-collect")
    .argument("[config]", "configuration file")
    .description("delete what no manifest needs, also while registries serve the store")
    .option("-d, --dry-run", "do everything except remove the blobs")
    .option("-m, --delete-untagged", "delete manifests that are not currently referenced via tag")
    .option("-q, --quiet", "silence output")
    .option("--json", "print the outcome as one JSON document instead of lines")
    .option("--keep-going", "collect what is safe although something was not understood; repositories in doubt are left whole")
    .option("--grace <duration>", "how long pushes under way get, and how old must be what is deleted (default: storage.maintenance.garbagecollect.grace when a registry serves the store, else 0s)")
    .action(async (config: string | undefined, flags: Flags) => await garbageCollect(config, flags, context));
}

async function garbageCollect(file: string | undefined, flags: Flags, context: CliContext): Promise<void> {
  await using maintenance = await openMaintenance(file, context.env);
  const printer = new Printer(context, flags);
  const graceMs = flags.grace === undefined ? undefined : parseGrace(flags.grace);
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort(new Error(`ended by ${signal}; what is left goes with the next run`)));
  let result: CollectionOutcome;
  try {
    result = await maintenance.collect({
      dryRun: flags.dryRun === true,
      deleteUntagged: flags.deleteUntagged === true,
      keepGoing: flags.keepGoing === true,
      listener: printer,
      signal: interrupted.signal,
      ...(graceMs === undefined ? {} : { graceMs }),
    });
  } catch (error) {
    printer.end();
    if (error instanceof CollectionDoubtError) throw new CliError(`failed to garbage collect: ${error.doubts.map((doubt) => `\n  ${doubt.path}: ${doubt.problem}`).join("")}\nnothing was deleted; 'registry verify --repair' mends what can be mended, '--keep-going' collects around it`);
    if (error instanceof CollectorBusyError) throw new CliError(`failed to garbage collect: ${error.message}`);
    throw new CliError(`failed to garbage collect: ${error instanceof Error ? error.message : String(error)}`, 1, error);
  }
  printer.finish(result);
  // As distribution: a store without that folder is more likely a folder that the configuration should not name.
  if (!result.hasRepositories) throw new CliError(`failed to garbage collect: failed to mark: ${maintenance.storeName}: Path not found: ${REPOSITORIES}`);
  if (result.purgeErrors > 0) throw new CliError(`${result.purgeErrors} uploads could not be looked at or deleted; the log names them`);
  if (result.doubts.length > 0) throw new CliError(result.doubts.map((doubt) => `in doubt, its repository was left whole: ${doubt.path}: ${doubt.problem}`).join("\n"));
}

function parseGrace(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms < 0) throw new CliError(`--grace: found ${JSON.stringify(text)}, expected a duration like 30s, 10m or 1h`);
  return ms;
}

/** Writes what distribution writes, and on a terminal a line of progress. */
class Printer implements CollectListener {
  readonly #context: CliContext;
  readonly #lines: boolean;
  readonly #json: boolean;
  readonly #progress: boolean;
  readonly #startedAt = performance.now();
  #buffer: string[] = [];
  #open = false;

  constructor(context: CliContext, flags: Flags) {
    this.#context = context;
    this.#json = flags.json === true;
    this.#lines = flags.quiet !== true && !this.#json;
    this.#progress = context.isTerminal && !this.#json;
  }

  repository(name: RepositoryName): void {
    this.#line(name);
  }

  marked(name: RepositoryName, kind: "manifest" | "blob", digest: Digest): void {
    // The trailing blank after a manifest is distribution's; tools match whole lines.
    this.#line(`${name}: marking ${kind} ${digest}${kind === "manifest" ? " " : ""}`);
  }

  untagged(revision: UntaggedRevision): void {
    this.#line(`manifest eligible for deletion: {${revision.name} ${revision.digest} [${revision.tags.join(" ")}]}`);
  }

  planned(plan: { readonly marked: number; readonly blobs: readonly Digest[]; readonly revisions: number }): void {
    this.#line("");
    this.#line(`${plan.marked} blobs marked, ${plan.blobs.length} blobs and ${plan.revisions} manifests eligible for deletion`);
    for (const digest of plan.blobs) this.#line(`blob eligible for deletion: ${digest}`);
    this.#flush();
  }

  waiting(ms: number): void {
    if (this.#lines) this.#context.stderr(`a registry serves this store: waiting ${Math.ceil(ms / 1000)}s for pushes under way\n`);
  }

  unneededLink(name: RepositoryName, digest: Digest): void {
    this.#line(`${name}: layer link eligible for deletion: ${digest}`);
  }

  swept(done: number, of: number, freedBytes: number): void {
    if (!this.#progress) return;
    const seconds = Math.max(0.001, (performance.now() - this.#startedAt) / 1000);
    const filled = Math.round((done / of) * 30);
    this.#context.stderr(`\r[${"#".repeat(filled)}${" ".repeat(30 - filled)}] ${done}/${of} ${megabytes(freedBytes)} freed, ${megabytes(freedBytes / seconds)}/s `);
    this.#open = true;
  }

  /** Writes what is gathered, and ends the line of progress. */
  end(): void {
    this.#flush();
    if (this.#open) this.#context.stderr("\n");
    this.#open = false;
  }

  finish(result: CollectionOutcome): void {
    this.end();
    if (this.#json) this.#context.stdout(`${JSON.stringify(result)}\n`);
  }

  #line(text: string): void {
    if (!this.#lines) return;
    this.#buffer.push(text);
    if (this.#buffer.length >= 1000) this.#flush();
  }

  #flush(): void {
    if (this.#buffer.length > 0) this.#context.stdout(`${this.#buffer.join("\n")}\n`);
    this.#buffer = [];
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
