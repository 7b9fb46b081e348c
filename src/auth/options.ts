import { z } from "zod";
import { choice, flag } from "../lib/fields.ts";
import { HTPASSWD_OPTIONS } from "./htpasswd/options.ts";
import { SILLY_OPTIONS } from "./silly/options.ts";
import { TOKEN_OPTIONS } from "./token/options.ts";

/** `auth`: one kind, or none. */
export const AUTH_OPTIONS = z.object({
  none: z.object({}).optional().describe("No authorization."),
  silly: SILLY_OPTIONS.optional().describe("Takes any Authorization header; for tests."),
  htpasswd: HTPASSWD_OPTIONS.optional().describe("A password file."),
  token: TOKEN_OPTIONS.optional().describe("A token server."),
  certificate: z
    .object({ user: choice(["commonname", "san"]).prefault("commonname").describe("Which name of a client certificate is the user."), enabled: flag().prefault(false).describe("Take users from verified client certificates.") })
    .optional()
    .describe("Client certificates as users, for the rules of htpasswd."),
});

/** `auth`, parsed. */
export type AuthOptions = z.output<typeof AUTH_OPTIONS>;
