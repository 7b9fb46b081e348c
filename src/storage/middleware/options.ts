import { z } from "zod";
import { flag, text } from "../../lib/fields.ts";

const ENTRY = z.object({
  name: text().describe("Which one."),
  disabled: flag().prefault(false).describe("Leave it out."),
  options: z.record(z.string(), z.unknown()).prefault({}).describe("What it needs."),
});

/** `middleware`; entries of `storage` are cloudfront, redirect and rewrite. There are none for registry and repository. */
export const MIDDLEWARE_OPTIONS = z.object({
  registry: z.array(ENTRY).prefault([]).describe("There are none: every name is refused."),
  repository: z.array(ENTRY).prefault([]).describe("There are none: every name is refused."),
  storage: z.array(ENTRY).prefault([]).meta({ inert: "clients are sent to the URLs of the store itself" }).describe("Change the URLs that clients are sent to."),
});

/** `middleware`, parsed. */
export type MiddlewareOptions = z.output<typeof MIDDLEWARE_OPTIONS>;
