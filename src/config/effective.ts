import { parseDocument, stringify, visit } from "yaml";
import type { z } from "zod";
import type { LoadedConfig } from "./load.ts";
import { sourceOf } from "./normalize.ts";
import { formatKey } from "./problem.ts";
import { redact } from "./redact.ts";
import { CONFIG_SCHEMA } from "./schema.ts";
import { defaultOf, shapeOf } from "./shape.ts";
import { isSection } from "./normalize.ts";

type Path = readonly (string | number)[];

/** The configuration that takes effect as YAML: secrets hidden, and behind each value where it came from. */
export function effectiveYaml(loaded: LoadedConfig): string {
  const values = redact(withDefaults(loaded.raw.values, CONFIG_SCHEMA));
  const document = parseDocument(stringify(values, { lineWidth: 0 }));
  visit(document, {
    Scalar(_key, node, parents) {
      const path = pathOf(parents, node);
      if (path !== undefined) node.comment = ` ${describeSource(loaded, path)}`;
    },
  });
  return document.toString({ lineWidth: 0 });
}

/** What file and environment say, and the defaults for what they do not. Durations and sizes stay as they were written. */
function withDefaults(value: unknown, schema: z.ZodType): unknown {
  const own = value === undefined ? defaultOf(schema) : value;
  if (own === undefined) return undefined;
  const shape = shapeOf(schema);
  if (shape.kind === "list") return Array.isArray(own) ? own.map((item) => withDefaults(item, shape.item)) : own;
  if (shape.kind !== "object" || !isSection(own)) return own;
  const entries = Object.entries(shape.fields).map(([key, field]) => [key, withDefaults(own[key], field)] as const);
  return Object.fromEntries(entries.filter(([, item]) => item !== undefined));
}

function describeSource(loaded: LoadedConfig, path: Path): string {
  const source = sourceOf(loaded.raw, formatKey(path));
  if (source.kind === "variable") return source.name;
  if (source.kind === "default" || !loaded.raw.sources.has(formatKey(path))) return "default";
  return `${loaded.file ?? "built-in"}:${source.line}`;
}

interface PairLike {
  readonly key: unknown;
  readonly value: unknown;
}

// The keys and positions on the way to a scalar; undefined for a scalar that is a key itself.
function pathOf(parents: readonly unknown[], node: unknown): Path | undefined {
  const path: (string | number)[] = [];
  for (const [index, parent] of parents.entries()) {
    const child = parents[index + 1] ?? node;
    if (isPair(parent)) {
      if (parent.key === child) return undefined;
      path.push(String((parent.key as { value?: unknown }).value));
    } else if (typeof parent === "object" && parent !== null && "items" in parent && Array.isArray(parent.items) && !isPair(child)) {
      path.push(parent.items.indexOf(child));
    }
  }
  return path;
}

function isPair(value: unknown): value is PairLike {
  return typeof value === "object" && value !== null && "key" in value && "value" in value && !("items" in value);
}
