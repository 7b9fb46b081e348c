import { z } from "zod";
import { text } from "../../lib/fields.ts";

/** `auth.silly` */
export const SILLY_OPTIONS = z.object({ realm: text().describe("For the challenge."), service: text().describe("For the challenge.") });

/** `auth.silly`, parsed. */
export type SillyOptions = z.output<typeof SILLY_OPTIONS>;
