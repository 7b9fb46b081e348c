/** Where a value of the configuration came from. */
export type ConfigSource =
  | { readonly kind: "file"; readonly line: number; readonly column: number }
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "default" };

/** Something that is wrong, or odd, in a configuration. */
export interface ConfigProblem {
  /** The file as it was named; undefined for the embedded default and for variables. */
  readonly file: string | undefined;
  readonly source: ConfigSource;
  /** Dotted, list positions in brackets; empty for the whole. */
  readonly key: string;
  readonly message: string;
}

/** The configuration cannot be used. The message names every problem, a line each. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[], cause?: unknown) {
    super(problems.map(formatProblem).join("\n"), cause === undefined ? undefined : { cause });
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** A login in something that need not be a URL, as it is said to be wrong. */
const LOGIN = /([a-z][a-z0-9+.-]*:\/\/)?[^\s"/@]+:[^\s"]*@/gi;

/** `config.yml:12:5: http.addr: found 7, expected …` */
export function formatProblem(problem: ConfigProblem): string {
  const parts: string[] = [];
  if (problem.source.kind === "variable") parts.push(`environment variable ${problem.source.name}`);
  else if (problem.source.kind === "file") parts.push(`${problem.file ?? "default configuration"}:${problem.source.line}:${problem.source.column}`);
  else if (problem.file !== undefined) parts.push(problem.file);
  if (problem.key !== "") parts.push(problem.key);
  return [...parts, problem.message.replace(LOGIN, "$1<hidden>@")].join(": ");
}

/** A path of keys and positions as messages write it. */
export function formatKey(path: readonly (string | number)[]): string {
  return path.reduce<string>((text, part) => (typeof part === "number" ? `${text}[${part}]` : text === "" ? part : `${text}.${part}`), "");
}
