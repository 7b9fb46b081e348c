import { z } from "zod";
import { choice, flag } from "../lib/fields.ts";
import { HTPASSWD_OPTIONS } from "./htpasswd/options.ts";
import { SILLY_OPTIONS } from "./silly/options.ts";
import { TOKEN_OPTIONS } from "./token/options.ts";

const CERTIFICATE_OPTIONS = z.object({
  enabled: flag().prefault(false).describe("Take users from verified client certificates (http.tls.clientcas); an Authorization header goes before."),
  user: choice(["commonname", "san"]).prefault("commonname").describe("Which name of a certificate is the user; san: the first alternative name that is a DNS name, a mail address or a URI."),
});

/** `auth`: one kind, or none. */
export const AUTH_OPTIONS = z
  .object({
    none: z.object({}).optional().describe("No authorization."),
    silly: SILLY_OPTIONS.optional().describe("Takes any Authorization header; for tests."),
    htpasswd: HTPASSWD_OPTIONS.optional().describe("A password file."),
    token: TOKEN_OPTIONS.optional().describe("A token server."),
    certificate: CERTIFICATE_OPTIONS.optional().describe("Client certificates as users, beside the password file and for its rules."),
  })
  .refine((auth) => auth.certificate?.enabled !== true || auth.htpasswd !== undefined, {
    path: ["certificate"],
    message: "needs auth.htpasswd: its rules say what the users of certificates may do",
  });

/** `auth`, parsed. */
export type AuthOptions = z.output<typeof AUTH_OPTIONS>;
