import type { z } from "zod";
import { formatKey } from "./problem.ts";
import { notesOf, shapeOf } from "./shape.ts";
import { isSection } from "./normalize.ts";

/** A key that means nothing, or nothing here. */
export interface OddKey {
  readonly key: string;
  readonly message: string;
  /** Known to distribution, and without effect. */
  readonly inert: boolean;
}

/** Finds the keys that the schema does not know, with the nearest name that it knows, and those that have no effect. */
export function findOddKeys(values: unknown, schema: z.ZodType, path: readonly (string | number)[] = []): readonly OddKey[] {
  const shape = shapeOf(schema);
  if (shape.kind === "list" && Array.isArray(values)) return values.flatMap((item, index) => findOddKeys(item, shape.item, [...path, index]));
  if (shape.kind === "map" && isSection(values)) return Object.entries(values).flatMap(([key, item]) => findOddKeys(item, shape.value, [...path, key]));
  if (shape.kind !== "object" || !isSection(values)) return [];
  return Object.entries(values).flatMap(([key, item]) => {
    const field = shape.fields[key];
    const name = formatKey([...path, key]);
    if (field === undefined) return [{ key: name, message: unknownMessage(key, Object.keys(shape.fields)), inert: false }];
    const { inert } = notesOf(field);
    if (inert !== undefined) return [{ key: name, message: `has no effect: ${inert}`, inert: true }];
    return findOddKeys(item, field, [...path, key]);
  });
}

function unknownMessage(key: string, known: readonly string[]): string {
  const nearest = known.map((name) => ({ name, distance: distanceOf(key, name) })).sort((a, b) => a.distance - b.distance)[0];
  const hint = nearest !== undefined && nearest.distance <= Math.max(2, key.length / 3) ? `; did you mean ${nearest.name}?` : "";
  return `unknown key${hint}`;
}

/** Edits that make one word of the other. */
function distanceOf(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
