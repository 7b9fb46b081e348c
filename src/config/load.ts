import { accessSync, constants, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { z } from "zod";
import DEFAULT_TEXT from "../../config/default.yml" with { type: "text" };
import { checkConfig } from "./checks.ts";
import { applyEnvironment, CONFIGURATION_PATH } from "./env.ts";
import { keyOf, normalize, sourceOf, valueAt } from "./normalize.ts";
import { ConfigError, type ConfigProblem } from "./problem.ts";
import { type Config, CONFIG_SCHEMA } from "./schema.ts";
import { isSecretPath, redact } from "./redact.ts";
import { findOddKeys } from "./unknown-keys.ts";
import { type RawConfig, readYaml } from "./yaml.ts";

export { ConfigError } from "./problem.ts";

/** What to load. */
export interface LoadRequest {
  /** The file that the command line names; else REGISTRY_CONFIGURATION_PATH; else the embedded default. */
  readonly path: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether unknown keys and variables are errors instead of warnings. */
  readonly strict: boolean;
}

/** A configuration that can be used. */
export interface LoadedConfig {
  readonly config: Config;
  /** Undefined for the embedded default. */
  readonly file: string | undefined;
  readonly warnings: readonly ConfigProblem[];
  /** What file and environment said, in the form of the schema, and where each came from. */
  readonly raw: RawConfig;
}

/** Image and packages keep their files here; the first is used when only such a file tells what was configured. */
const DEFAULT_ROOT = "/var/lib/registry";
const FALLBACK_ROOT = "./registry-data";

/**
 * Loads, lays the environment over, checks.
 * @throws ConfigError that names every problem.
 */
export async function loadConfig(request: LoadRequest): Promise<LoadedConfig> {
  const file = request.path ?? nonEmpty(request.env[CONFIGURATION_PATH]);
  const raw = readYaml(file === undefined ? DEFAULT_TEXT : await readText(file), file);
  const problems: ConfigProblem[] = [...applyEnvironment(raw, request.env)];
  problems.push(...normalize(raw, file));
  if (file === undefined) chooseRoot(raw);
  for (const odd of findOddKeys(raw.values, CONFIG_SCHEMA)) {
    const problem = { file, source: sourceOf(raw, odd.key), key: odd.key, message: odd.message };
    (request.strict && !odd.inert ? problems : raw.warnings).push(problem);
  }
  const parsed = CONFIG_SCHEMA.safeParse(raw.values);
  if (!parsed.success) problems.push(...parsed.error.issues.map((issue) => problemOfIssue(issue, raw, file)));
  else checkConfig(parsed.data, (key, message) => problems.push({ file, source: sourceOf(raw, key), key, message }));
  if (request.strict) problems.push(...raw.warnings.filter((warning) => warning.source.kind === "variable" && warning.key === ""));
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems);
  return { config: parsed.data, file, warnings: raw.warnings, raw };
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    const reason = code === "ENOENT" ? "no such file or directory" : code === "EACCES" ? "permission denied" : code === "EISDIR" ? "is a directory, expected a file" : error instanceof Error ? error.message : String(error);
    throw new ConfigError([{ file: undefined, source: { kind: "default" }, key: "", message: `open ${file}: ${reason}` }], error);
  }
}

function problemOfIssue(issue: z.core.$ZodIssue, raw: RawConfig, file: string | undefined): ConfigProblem {
  const key = keyOf(issue.path);
  const found = valueAt(raw.values, issue.path);
  return { file, source: sourceOf(raw, key), key, message: messageOf(issue, found, issue.path) };
}

function messageOf(issue: z.core.$ZodIssue, found: unknown, path: readonly PropertyKey[]): string {
  if (found === undefined && issue.code !== "custom") return "is missing, and must be set";
  const expectation = issue.code === "invalid_type" ? `expected ${issue.expected === "object" ? "keys with values" : issue.expected === "array" ? "a list" : issue.expected}` : issue.message;
  if (issue.code === "custom" && found === undefined) return expectation;
  return `found ${isSecretPath(path) ? "a value" : show(redact(found, path.map((part) => (typeof part === "number" ? part : String(part)))))}, ${expectation}`;
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

// Without any configuration the registry stores where distribution's image does, or beside itself where that cannot be written.
function chooseRoot(raw: RawConfig): void {
  const filesystem = valueAt(raw.values, ["storage", "filesystem"]);
  if (typeof filesystem !== "object" || filesystem === null || "rootdirectory" in filesystem) return;
  Object.assign(filesystem, { rootdirectory: canWrite(DEFAULT_ROOT) ? DEFAULT_ROOT : FALLBACK_ROOT });
}

function canWrite(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    // Whatever the reason is: the other folder is used, and named in the log.
    return false;
  }
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text;
}
