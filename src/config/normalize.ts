import type { z } from "zod";
import { type ConfigProblem, formatKey } from "./problem.ts";
import { CONFIG_SCHEMA, STORAGE_ALIASES, STORAGE_DRIVERS } from "./schema.ts";
import { shapeOf } from "./shape.ts";
import type { RawConfig } from "./yaml.ts";

type Section = Record<string, unknown>;

const STORAGE_COMMON = new Set(["delete", "redirect", "cache", "tag", "maintenance"]);
const AUTH_KINDS = ["none", "silly", "htpasswd", "token"];

/**
 * Brings a configuration into the one form that the schema knows: short forms written out, old names replaced, empty sections made
 * empty objects.
 * @returns What cannot be brought into form.
 */
export function normalize(raw: RawConfig, file: string | undefined): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const report = (key: string, message: string): void => void problems.push({ file, source: sourceOf(raw, key), key, message });
  if (!isSection(raw.values)) {
    report("", raw.values === null || raw.values === undefined ? 'unsupported version: ""' : "found a configuration that is no list of keys, expected keys like version, storage and http");
    return problems;
  }
  const values = withoutNulls(raw.values, CONFIG_SCHEMA) as Section;
  checkVersion(values, report);
  values["storage"] = normalizeStorage(values["storage"], report);
  if (values["auth"] !== undefined) values["auth"] = normalizeAuth(values["auth"], report);
  adoptLogLevel(values, raw);
  raw.values = values;
  return problems;
}

/** Where a key, or else the nearest thing around it, came from. */
export function sourceOf(raw: RawConfig, key: string): ConfigProblem["source"] {
  for (let around = key; around !== ""; around = around.replace(/(\.[^.[\]]*|\[\d+\]|^[^.[\]]*)$/, "")) {
    const source = raw.sources.get(around);
    if (source !== undefined) return source;
  }
  return { kind: "default" };
}

type Report = (key: string, message: string) => void;

function checkVersion(values: Section, report: Report): void {
  const version = values["version"] === undefined ? "" : String(values["version"]);
  if (version !== "0.1") report("version", `unsupported version: ${JSON.stringify(version)}, expected 0.1`);
  values["version"] = "0.1";
}

function normalizeStorage(value: unknown, report: Report): unknown {
  if (typeof value === "string") return normalizeStorage({ [value]: {} }, report);
  if (value === undefined || (isSection(value) && Object.keys(value).length === 0)) {
    report("storage", `no storage configuration provided, expected one of ${Object.keys(STORAGE_DRIVERS).join(", ")}`);
    return {};
  }
  if (!isSection(value)) return value;
  const result: Section = {};
  const drivers: string[] = [];
  for (const [key, section] of Object.entries(value)) {
    const name = STORAGE_ALIASES[key] ?? key;
    if (STORAGE_COMMON.has(name)) result[name] = section;
    else if (Object.hasOwn(STORAGE_DRIVERS, name)) {
      drivers.push(key);
      result[name] = section ?? {};
    } else {
      drivers.push(key);
      const advice = name === "swift" ? "; use the S3 interface of Swift with storage.s3" : "";
      report(`storage.${key}`, `StorageDriver not registered: ${key}, expected one of ${Object.keys(STORAGE_DRIVERS).join(", ")}${advice}`);
    }
  }
  if (drivers.length > 1) report("storage", `must provide exactly one storage type. Provided: [${drivers.sort().join(" ")}]`);
  if (drivers.length === 0) report("storage", `no storage configuration provided, expected one of ${Object.keys(STORAGE_DRIVERS).join(", ")}`);
  return result;
}

function normalizeAuth(value: unknown, report: Report): unknown {
  if (typeof value === "string") return normalizeAuth({ [value.toLowerCase() === "none" ? "none" : value]: {} }, report);
  if (!isSection(value)) return value;
  const result: Section = {};
  for (const [key, section] of Object.entries(value)) {
    const name = key.toLowerCase() === "none" ? "none" : key;
    if (name !== "certificate" && !AUTH_KINDS.includes(name)) report(`auth.${key}`, `no access controller registered with name: ${key}, expected one of ${AUTH_KINDS.join(", ")}`);
    else result[name] = section ?? {};
  }
  const kinds = Object.keys(result).filter((key) => AUTH_KINDS.includes(key));
  if (kinds.length > 1) report("auth", `must provide exactly one type. Provided: [${kinds.sort().join(" ")}]`);
  return result;
}

function adoptLogLevel(values: Section, raw: RawConfig): void {
  const old = values["loglevel"];
  if (old === undefined) return;
  const log = isSection(values["log"]) ? values["log"] : {};
  delete values["loglevel"];
  if (log["level"] !== undefined) return;
  values["log"] = { ...log, level: old };
  raw.sources.set("log.level", sourceOf(raw, "loglevel"));
}

// `filesystem:` with nothing behind it is an empty section; any other key with nothing behind it is a key that is not there.
function withoutNulls(value: unknown, schema: z.ZodType | undefined): unknown {
  const shape = schema === undefined ? undefined : shapeOf(schema);
  if (Array.isArray(value)) return value.map((item: unknown) => withoutNulls(item, shape?.kind === "list" ? shape.item : undefined));
  if (!isSection(value)) return value;
  const result: Section = {};
  for (const [key, item] of Object.entries(value)) {
    const field = shape?.kind === "object" ? shape.fields[key] : shape?.kind === "map" ? shape.value : undefined;
    if (item !== null) result[key] = withoutNulls(item, field);
    else if (field === undefined || shapeOf(field).kind === "object") result[key] = {};
  }
  return result;
}

/** Whether a value is a section: keys with values. */
export function isSection(value: unknown): value is Section {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** The value at a path of plain values. */
export function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  let value = values;
  for (const part of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** A path of the schema's parser as a key. */
export function keyOf(path: readonly PropertyKey[]): string {
  return formatKey(path.map((part) => (typeof part === "number" ? part : String(part))));
}
