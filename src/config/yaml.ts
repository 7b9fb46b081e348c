import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import type { ConfigProblem, ConfigSource } from "./problem.ts";
import { ConfigError, formatKey } from "./problem.ts";

/** A configuration before the schema has seen it: plain values, and where each came from, by formatted key. */
export interface RawConfig {
  values: unknown;
  readonly sources: Map<string, ConfigSource>;
  readonly warnings: ConfigProblem[];
}

const YAML_OPTIONS = { version: "1.1", uniqueKeys: false, merge: true, prettyErrors: false } as const;
/** More references to anchors than this are a bomb, not a configuration. */
const MAX_ALIASES = 100;

/**
 * Reads a file's text the way distribution's parser does: YAML 1.1, the last of several equal keys wins.
 * @throws ConfigError with line and column.
 */
export function readYaml(text: string, file: string | undefined): RawConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { ...YAML_OPTIONS, lineCounter: lines });
  const at = (offset: number): ConfigSource => {
    const { line, col } = lines.linePos(offset);
    return { kind: "file", line, column: col };
  };
  const [error] = document.errors;
  if (error !== undefined) throw new ConfigError([{ file, source: at(error.pos[0]), key: "", message: `not valid YAML: ${firstLine(error.message)}` }], error);
  const raw: RawConfig = { values: undefined, sources: new Map(), warnings: [] };
  try {
    raw.values = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new ConfigError([{ file, source: at(0), key: "", message: `not usable YAML: ${cause instanceof Error ? firstLine(cause.message) : String(cause)}` }], cause);
  }
  if (document.contents !== null) new Positions(document, raw, { file, at }).visit(document.contents, []);
  return raw;
}

/** Reads the value of an environment variable, which is YAML too. @throws Error that says what is wrong, without the value */
export function readYamlValue(text: string): unknown {
  const document = parseDocument(text, YAML_OPTIONS);
  if (document.errors.length > 0) throw new Error("the value is not valid YAML; put quotes around it when it is meant as a text");
  return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
}

/** Notes where every key of a document stands. */
class Positions {
  readonly #document: Document;
  readonly #raw: RawConfig;
  readonly #place: { readonly file: string | undefined; readonly at: (offset: number) => ConfigSource };

  constructor(document: Document, raw: RawConfig, place: { readonly file: string | undefined; readonly at: (offset: number) => ConfigSource }) {
    this.#document = document;
    this.#raw = raw;
    this.#place = place;
  }

  visit(node: unknown, path: readonly (string | number)[]): void {
    const target = isAlias(node) ? node.resolve(this.#document) : (node as Node);
    if (isMap(target)) this.#visitMap(target.items, path);
    else if (isSeq(target)) {
      for (const [index, item] of target.items.entries()) {
        this.#note([...path, index], item as Node);
        this.visit(item, [...path, index]);
      }
    }
  }

  #visitMap(items: readonly { readonly key: unknown; readonly value: unknown }[], path: readonly (string | number)[]): void {
    const seen = new Set<string>();
    for (const { key, value } of items) {
      const name = isScalar(key) ? String(key.value) : "";
      if (name === "<<") {
        this.visit(value, path);
        continue;
      }
      const here = [...path, name];
      if (seen.has(name)) this.#raw.warnings.push({ file: this.#place.file, source: this.#source(key as Node), key: formatKey(here), message: "the key stands here a second time; the last one wins" });
      seen.add(name);
      this.#note(here, key as Node);
      this.visit(value, here);
    }
  }

  #note(path: readonly (string | number)[], node: Node): void {
    this.#raw.sources.set(formatKey(path), this.#source(node));
  }

  #source(node: Node | null): ConfigSource {
    return this.#place.at(node?.range?.[0] ?? 0);
  }
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? text;
}
