import type { z } from "zod";
import { type ConfigProblem, formatKey } from "./problem.ts";
import { CONFIG_SCHEMA } from "./schema.ts";
import { notesOf, shapeOf } from "./shape.ts";
import { type RawConfig, readYamlValue } from "./yaml.ts";

const PREFIX = "REGISTRY_";
/** Names the configuration file itself; not a key. */
export const CONFIGURATION_PATH = "REGISTRY_CONFIGURATION_PATH";
/** Of the file's form, and so for the file alone to say. */
const VERSION = "REGISTRY_VERSION";
/** Sections whose keys name a kind, so that unknown ones are kept and refused by name later. */
const OPEN_SECTIONS = new Set(["storage", "auth"]);

type Path = readonly (string | number)[];
type Container = Record<string | number, unknown>;

/**
 * Lays the `REGISTRY_*` variables over a configuration, by the rules of distribution: sorted by name, each part of a name a step down,
 * the value YAML. Beyond those: names of the file's keys where distribution has others, and keys with underscores.
 * @returns What cannot be used; warnings go to the configuration.
 */
export function applyEnvironment(raw: RawConfig, env: Readonly<Record<string, string | undefined>>): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const names = Object.keys(env).filter((name) => name.startsWith(PREFIX) && name !== CONFIGURATION_PATH);
  for (const name of names.sort()) {
    if (name === VERSION) {
      raw.warnings.push(problemOf(name, "has no effect: the version is that of the file"));
      continue;
    }
    try {
      const assignment = new Assignment(raw, name, env[name] ?? "");
      raw.values = assignment.run();
    } catch (error) {
      problems.push(problemOf(name, error instanceof Error ? error.message : String(error)));
    }
  }
  return problems;
}

function problemOf(name: string, message: string): ConfigProblem {
  return { file: undefined, source: { kind: "variable", name }, key: "", message };
}

/** One variable on its way to its key. */
class Assignment {
  readonly #raw: RawConfig;
  readonly #name: string;
  readonly #text: string;

  constructor(raw: RawConfig, name: string, text: string) {
    this.#raw = raw;
    this.#name = name;
    this.#text = text;
  }

  run(): unknown {
    const parts = this.#name.slice(PREFIX.length).split("_");
    return this.#assign(this.#raw.values, CONFIG_SCHEMA, { parts, path: [] });
  }

  /** Returns the value with the variable laid over it. */
  #assign(value: unknown, schema: z.ZodType | undefined, at: { readonly parts: readonly string[]; readonly path: Path }): unknown {
    if (at.parts.length === 0) return this.#set(at.path);
    const shape = schema === undefined ? ({ kind: "open" } as const) : shapeOf(schema);
    switch (shape.kind) {
      case "object":
        return this.#assignField(value, shape.fields, at);
      case "list":
        return this.#assignItem(value, shape.item, at);
      case "map":
        return this.#assignEntry(value, shape.value, at);
      case "open":
        return this.#assignEntry(value, undefined, at);
      case "value":
        return this.#ignore(value);
    }
  }

  #assignField(value: unknown, fields: Readonly<Record<string, z.ZodType>>, at: { readonly parts: readonly string[]; readonly path: Path }): unknown {
    const section = at.path.length === 1 ? String(at.path[0]) : "";
    // Distribution keeps the options of Redis in a field of that name, which variables may spell out.
    const parts = section === "redis" && at.parts[0] === "OPTIONS" ? at.parts.slice(1) : at.parts;
    const found = findField(fields, parts);
    if (found === undefined && !OPEN_SECTIONS.has(section)) return this.#ignore(value);
    const key = found?.key ?? (parts[0] ?? "").toLowerCase();
    const container = asContainer(value);
    const rest = parts.slice(found?.length ?? 1);
    container[key] = this.#assign(container[key], fields[key], { parts: rest, path: [...at.path, key] });
    return container;
  }

  #assignItem(value: unknown, item: z.ZodType, at: { readonly parts: readonly string[]; readonly path: Path }): unknown {
    const list: unknown[] = Array.isArray(value) ? [...(value as unknown[])] : [];
    const [part = "", ...rest] = at.parts;
    if (!/^\d+$/.test(part)) throw new Error(`non-numeric index: ${part}`);
    const index = Number(part);
    if (index > list.length) throw new Error(`undefined index: ${index}`);
    list[index] = this.#assign(list[index], item, { parts: rest, path: [...at.path, index] });
    return list;
  }

  #assignEntry(value: unknown, schema: z.ZodType | undefined, at: { readonly parts: readonly string[]; readonly path: Path }): unknown {
    const container = asContainer(value);
    const [part = "", ...rest] = at.parts;
    const key = Object.keys(container).find((existing) => existing.toUpperCase() === part) ?? part.toLowerCase();
    container[key] = this.#assign(container[key], schema, { parts: rest, path: [...at.path, key] });
    return container;
  }

  #set(path: Path): unknown {
    const key = formatKey(path);
    for (const known of [...this.#raw.sources.keys()]) {
      if (known === key || known.startsWith(`${key}.`) || known.startsWith(`${key}[`)) this.#raw.sources.delete(known);
    }
    this.#raw.sources.set(key, { kind: "variable", name: this.#name });
    return readYamlValue(this.#text);
  }

  #ignore(value: unknown): unknown {
    this.#raw.warnings.push(problemOf(this.#name, `Ignoring unrecognized environment variable ${this.#name}`));
    return value;
  }
}

/** The field that the first parts of a name spell, by the key or by distribution's own name; the shortest spelling first. */
function findField(fields: Readonly<Record<string, z.ZodType>>, parts: readonly string[]): { readonly key: string; readonly length: number } | undefined {
  for (let length = 1; length <= parts.length; length++) {
    const spelled = parts.slice(0, length).join("_");
    for (const [key, schema] of Object.entries(fields)) {
      if (key.toUpperCase() === spelled || notesOf(schema).envNames?.includes(spelled) === true) return { key, length };
    }
  }
  return undefined;
}

// A section in its short form (`storage: s3`) becomes its long one when something is laid over it.
function asContainer(value: unknown): Container {
  if (typeof value === "string" && value !== "") return { [value]: {} };
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...(value as Container) } : {};
}
