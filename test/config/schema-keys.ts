import type { z } from "zod";
import { CONFIG_SCHEMA } from "../../src/config/schema.ts";
import { notesOf, shapeOf } from "../../src/config/shape.ts";

/** A key that can be written in a configuration file. */
export interface SchemaKey {
  /** `http.tls.certificate`; entries of lists as `health.file[].interval`. */
  readonly key: string;
  /** Why it has no effect; the keys below it have none either. */
  readonly inert: string | undefined;
  readonly description: string | undefined;
}

/** Every key of the schema that holds a value, in its order. */
export function schemaKeys(): readonly SchemaKey[] {
  return keysBelow(CONFIG_SCHEMA, "", undefined);
}

function keysBelow(schema: z.ZodType, path: string, inertAbove: string | undefined): readonly SchemaKey[] {
  const shape = shapeOf(schema);
  const inert = inertAbove ?? notesOf(schema).inert;
  if (shape.kind === "object" && Object.keys(shape.fields).length > 0) {
    return Object.entries(shape.fields).flatMap(([key, field]) => keysBelow(field, path === "" ? key : `${path}.${key}`, inert));
  }
  if (shape.kind === "list" && shapeOf(shape.item).kind === "object") return keysBelow(shape.item, `${path}[]`, inert);
  return [{ key: path, inert, description: notesOf(schema).description }];
}
