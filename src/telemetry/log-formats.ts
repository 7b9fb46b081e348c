import type { LogLevel } from "./log.ts";
import { printable } from "./printable.ts";

/** How lines look. */
export type LogFormat = "text" | "json" | "logstash";

/** Renders one line. `fields` are the line's own; `constant` were rendered before by {@link renderConstant}. */
export interface LineFormat {
  renderConstant(fields: Readonly<Record<string, unknown>>): ConstantFields;
  line(level: LogLevel, message: string, fields: { readonly constant: ConstantFields; readonly own: Readonly<Record<string, unknown>> | undefined }): string;
}

/** Fields of a logger, rendered once. Sorted by key, so that they can be merged with those of a line. */
export type ConstantFields = readonly (readonly [key: string, rendered: string])[];

/** Logrus prints `warning` where everybody says warn. */
const LEVEL_NAMES: Readonly<Record<LogLevel, string>> = { error: "error", warn: "warning", info: "info", debug: "debug" };
const NEEDS_NO_QUOTES = /^[A-Za-z0-9\-._/@^+]*$/;
/** Printable ASCII but for the quote and the backslash. */
const NEEDS_NO_ESCAPES = /^[ !#-[\]-~]*$/;

/** The format for a name of the configuration. */
export function lineFormat(name: LogFormat): LineFormat {
  return name === "text" ? TEXT : JSON_LINES;
}

const TEXT: LineFormat = {
  renderConstant: (fields) => renderEach(fields, (key, value) => `${key}=${textValue(value)}`),
  line(level, message, { constant, own }) {
    // The order of logrus: its own three, and then everything else by key.
    const line = `time="${timestamp()}" level=${LEVEL_NAMES[level]} msg=${quote(message)}`;
    return own === undefined ? `${line}${joined(constant)}\n` : `${line}${joinedText(constant, own)}\n`;
  },
};

const JSON_LINES: LineFormat = {
  renderConstant: (fields) => renderEach(fields, jsonMember),
  line(level, message, { constant, own }) {
    const members: (readonly [string, string])[] = [
      ...merged(constant, own, jsonMember),
      ["level", jsonMember("level", LEVEL_NAMES[level])],
      ["msg", jsonMember("msg", message)],
      ["time", jsonMember("time", timestamp())],
    ];
    members.sort(byKey);
    return `${printable(`{${members.map(([, rendered]) => rendered).join(",")}}`)}\n`;
  },
};

function joined(fields: ConstantFields): string {
  let text = "";
  for (const [, rendered] of fields) text += ` ${rendered}`;
  return text;
}

// Ten thousand lines a second come by here: two sorted lists are merged, and nothing is made that is not part of the line.
function joinedText(constant: ConstantFields, own: Readonly<Record<string, unknown>>): string {
  const keys = sortedKeys(own);
  let text = "";
  let next = 0;
  for (const key of keys) {
    const value = own[key];
    if (value === undefined) continue;
    for (let field = constant[next]; field !== undefined && field[0] <= key; field = constant[++next]) {
      // A line's own field takes the place of the logger's.
      if (field[0] !== key) text += ` ${field[1]}`;
    }
    text += ` ${key}=${textValue(value)}`;
  }
  for (let field = constant[next]; field !== undefined; field = constant[++next]) text += ` ${field[1]}`;
  return text;
}

function sortedKeys(own: Readonly<Record<string, unknown>>): readonly string[] {
  const keys = Object.keys(own);
  for (let i = 1; i < keys.length; i++) if ((keys[i - 1] ?? "") > (keys[i] ?? "")) return keys.sort();
  return keys;
}

function renderEach(fields: Readonly<Record<string, unknown>>, render: (key: string, value: unknown) => string): ConstantFields {
  const rendered: [string, string][] = [];
  for (const key in fields) if (fields[key] !== undefined) rendered.push([key, render(key, fields[key])]);
  return rendered.sort(byKey);
}

function merged(constant: ConstantFields, own: Readonly<Record<string, unknown>> | undefined, render: (key: string, value: unknown) => string): ConstantFields {
  if (own === undefined) return constant;
  const rendered = renderEach(own, render);
  if (constant.length === 0) return rendered;
  return [...constant.filter(([key]) => !(key in own)), ...rendered].sort(byKey);
}

function byKey(a: readonly [string, string], b: readonly [string, string]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}

function jsonMember(key: string, value: unknown): string {
  return `${JSON.stringify(key)}:${JSON.stringify(value) ?? "null"}`;
}

function textValue(value: unknown): string {
  const text = typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value) : String(value);
  return NEEDS_NO_QUOTES.test(text) ? text : quote(text);
}

// JSON's escapes are Go's but for the forms of the control characters, which a log reader undoes alike.
function quote(text: string): string {
  return NEEDS_NO_ESCAPES.test(text) ? `"${text}"` : printable(JSON.stringify(text));
}

let lastMs = 0;
let lastText = "";

function timestamp(): string {
  const now = Date.now();
  if (now !== lastMs) {
    lastMs = now;
    lastText = new Date(now).toISOString();
  }
  return lastText;
}
