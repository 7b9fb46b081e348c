import { z } from "zod";
import { CONFIG_SCHEMA } from "./schema.ts";

/** The configuration's schema as a JSON Schema, draft 2020-12: what may be written in a file. */
export function configJsonSchema(): object {
  const schema = z.toJSONSchema(CONFIG_SCHEMA, { target: "draft-2020-12", io: "input", unrepresentable: "any" }) as Record<string, unknown>;
  return { ...schema, title: "Configuration of the registry" };
}
