import { z } from "zod";
import type { FieldNotes } from "../lib/fields.ts";

/** What a part of the schema is, with everything around it (defaults, checks, conversions) taken away. */
export type Shape =
  | { readonly kind: "object"; readonly fields: Readonly<Record<string, z.ZodType>> }
  | { readonly kind: "list"; readonly item: z.ZodType }
  | { readonly kind: "map"; readonly value: z.ZodType }
  | { readonly kind: "value" };

/** Takes a schema apart. */
export function shapeOf(schema: z.ZodType): Shape {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject) return { kind: "object", fields: inner.shape as Record<string, z.ZodType> };
  if (inner instanceof z.ZodArray) return { kind: "list", item: inner.element as z.ZodType };
  if (inner instanceof z.ZodRecord) return { kind: "map", value: inner.valueType as z.ZodType };
  return { kind: "value" };
}

/** What the schema says of a field, wherever in its wrappers that was written. */
export function notesOf(schema: z.ZodType): FieldNotes & { readonly description?: string } {
  const own = (schema.meta() ?? {}) as FieldNotes & { description?: string };
  const inner = wrapped(schema);
  return inner === undefined ? own : { ...notesOf(inner), ...own };
}

/** What a field is when the file does not name it, in the form that a file has; undefined when it is nothing then. */
export function defaultOf(schema: z.ZodType): unknown {
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault) return schema.def.defaultValue;
  const inner = wrapped(schema);
  return inner === undefined ? undefined : defaultOf(inner);
}

/** Whether a field may be left out. */
export function isOptional(schema: z.ZodType): boolean {
  return schema.safeParse(undefined).success;
}

function unwrap(schema: z.ZodType): z.ZodType {
  const inner = wrapped(schema);
  return inner === undefined ? schema : unwrap(inner);
}

function wrapped(schema: z.ZodType): z.ZodType | undefined {
  if (schema instanceof z.ZodPipe) return schema.in as z.ZodType;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodNullable) return schema.unwrap() as z.ZodType;
  return undefined;
}
