import type { z } from "zod";
import { redactUri } from "../telemetry/redact-uri.ts";
import { CONFIG_SCHEMA } from "./schema.ts";
import { notesOf, shapeOf } from "./shape.ts";

/** What stands in place of a secret. */
export const HIDDEN = "<hidden>";

const SECRET_NAME = /pass(word)?|secret|token|key$|authorization|cookie|credential/i;
/** Keys whose names only look secret. */
const PUBLIC_NAMES = new Set(["accesskey", "key", "keypairid", "signingkeyfile", "privatekey"]);

/** Whether what stands at a path of the configuration must not be shown. */
export function isSecretPath(path: readonly PropertyKey[]): boolean {
  let schema: z.ZodType | undefined = CONFIG_SCHEMA;
  for (const part of path) {
    const shape: ReturnType<typeof shapeOf> | undefined = schema === undefined ? undefined : shapeOf(schema);
    schema = shape?.kind === "object" ? shape.fields[String(part)] : shape?.kind === "list" && typeof part === "number" ? shape.item : shape?.kind === "map" ? shape.value : undefined;
    if (schema !== undefined && notesOf(schema).secret === true) return true;
    if (typeof part === "string" && schema === undefined && SECRET_NAME.test(part) && !PUBLIC_NAMES.has(part)) return true;
  }
  const last = path.at(-1);
  return typeof last === "string" && /^(authorization|cookie|x-.*(token|secret|key))$/i.test(last);
}

/** A copy of configuration values that can be shown: secrets hidden, logins and tokens taken out of URLs. */
export function redact(value: unknown, path: readonly (string | number)[] = []): unknown {
  if (value === undefined || value === null || value === "") return value;
  if (isSecretPath(path)) return HIDDEN;
  if (typeof value === "string") return redactUri(value);
  if (Array.isArray(value)) return value.map((item: unknown, index) => redact(item, [...path, index]));
  if (typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redact(item, [...path, key])]));
}
