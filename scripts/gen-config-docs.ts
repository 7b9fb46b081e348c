/*
 * Writes config/full.yml: every key that can be configured, with its default and what it means, from the schema itself.
 * `bun scripts/gen-config-docs.ts --check` changes nothing and fails when the file is not up to date.
 */
import { join } from "node:path";
import { stringify } from "yaml";
import type { z } from "zod";
import { CONFIG_SCHEMA } from "../src/config/schema.ts";
import { defaultOf, isOptional, notesOf, shapeOf } from "../src/config/shape.ts";

const FILE = join(import.meta.dir, "../config/full.yml");
const HEADER = `# Every key, its default, and what it means. A comment that is YAML is not set: a key without a default, one of several kinds, or what
# an entry of a list may say. This file is a configuration that works; begin with a shorter one, and take from here what you need.
# Durations: 500ms, 30s, 10m, 168h. Sizes: bytes, or 10MiB, 2GB. Made by scripts/gen-config-docs.ts.`;

/** Keys that must have a value although the schema has none for them. */
const SET: Readonly<Record<string, unknown>> = { version: 0.1 };
/** What is configured here of that which needs a choice. */
const CHOSEN: ReadonlySet<string> = new Set(["storage", "storage.filesystem"]);

process.exitCode = await main(process.argv.includes("--check"));

async function main(isCheck: boolean): Promise<number> {
  const shape = shapeOf(CONFIG_SCHEMA);
  const sections = shape.kind === "object" ? Object.entries(shape.fields) : [];
  const text = [HEADER, ...sections.flatMap(([key, field]) => ["", ...keyLines(key, field, key)])].map((line) => `${line}\n`).join("");
  const current = (await Bun.file(FILE).exists()) ? await Bun.file(FILE).text() : "";
  if (text === current) return 0;
  if (isCheck) {
    console.error("config/full.yml is not up to date: run bun scripts/gen-config-docs.ts");
    return 1;
  }
  await Bun.write(FILE, text);
  return 0;
}

/** The lines of a key and of everything below it; comments, when it is not set. */
function keyLines(key: string, field: z.ZodType, path: string): readonly string[] {
  const shape = shapeOf(field);
  const inside = shape.kind === "object" ? fieldLines(shape.fields, path) : [];
  const value = inside.length > 0 ? "" : ` ${valueText(field, path)}`.trimEnd();
  const lines = [`${key}:${value}${commentOf(field)}`, ...inside.map((line) => `  ${line}`)];
  if (shape.kind === "list" && shapeOf(shape.item).kind === "object") lines.push(...itemLines(key, shape.item, path));
  return isSet(field, path) ? lines : commented(lines);
}

function fieldLines(fields: Readonly<Record<string, z.ZodType>>, path: string): readonly string[] {
  return Object.entries(fields).flatMap(([key, field]) => keyLines(key, field, `${path}.${key}`));
}

/** What an entry of a list may say, as a comment below the list itself, which is empty. */
function itemLines(key: string, item: z.ZodType, path: string): readonly string[] {
  const shape = shapeOf(item);
  const lines = shape.kind === "object" ? fieldLines(shape.fields, `${path}[]`).map(uncommented) : [];
  return commented([`${key}:`, ...lines.map((line, index) => `${index === 0 ? "  - " : "    "}${line}`)]);
}

function commented(lines: readonly string[]): string[] {
  return lines.map((line) => `# ${uncommented(line)}`);
}

// What is not set inside of what is not set needs no second mark.
function uncommented(line: string): string {
  return line.replace(/^( *)# /, "$1");
}

function isSet(field: z.ZodType, path: string): boolean {
  if (path in SET || CHOSEN.has(path)) return true;
  return notesOf(field).inert === undefined && defaultOf(field) !== undefined;
}

function valueText(field: z.ZodType, path: string): string {
  const value = SET[path] ?? defaultOf(field);
  if (value === undefined) return shapeOf(field).kind === "object" ? "{}" : "";
  if (typeof value === "number" && notesOf(field).unit === "bytes") return sizeText(value);
  return stringify(value, { collectionStyle: "flow", flowCollectionPadding: false, lineWidth: 0, version: "1.1" }).trimEnd();
}

function sizeText(bytes: number): string {
  const units = ["", "KiB", "MiB", "GiB"];
  let amount = bytes;
  let unit = 0;
  while (amount > 0 && amount % 1024 === 0 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${amount}${units[unit]}`;
}

function commentOf(field: z.ZodType): string {
  const { description = "", inert, enum: words = [], unit } = notesOf(field);
  const parts = [
    description,
    words.every((word) => description.includes(word)) ? "" : `One of ${words.join(", ")}.`,
    unit === undefined || defaultOf(field) !== undefined ? "" : unit === "duration" ? "A duration." : "A size.",
    isOptional(field) || shapeOf(field).kind === "object" ? "" : "Required.",
    inert === undefined ? "" : `Without effect: ${inert}.`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "" : `  # ${parts.join(" ")}`;
}
