import { z } from "zod";
import { duration, flag, integer, text, texts } from "../../lib/fields.ts";

const RULE = z.object({
  repositories: texts().prefault(["**"]).describe("Globs of repositories; ** crosses slashes."),
  users: texts().prefault([]).describe("User names."),
  groups: texts().prefault([]).describe("Groups of `groups` or `groupsfile`."),
  anonymous: flag().prefault(false).describe("Everybody, also without a login."),
  actions: texts().prefault(["pull"]).describe("pull, push, delete; * for all of them and the catalog."),
});

/** `auth.htpasswd` */
export const HTPASSWD_OPTIONS = z.object({
  realm: text().describe("Shown to who is asked for a password."),
  path: text().describe("The password file; bcrypt only. Made with a random password when missing."),
  rules: z.array(RULE).prefault([]).describe("Who may do what. None: every user may do everything. The most specific rule wins; what no rule allows is refused."),
  groups: z.record(z.string(), texts()).prefault({}).describe("Groups of users."),
  groupsfile: text().optional().describe("A file of groups, a line each: `group: user user …`."),
  throttle: z
    .object({
      enabled: flag().prefault(true).describe("Slow down repeated failures of one address or user."),
      failures: integer({ min: 1 }).prefault(5).describe("So many are free."),
      maxdelay: duration({ min: 0 }).prefault("30s").describe("The longest wait."),
    })
    .prefault({}),
  tokenttl: duration({ min: 10_000 }).prefault("5m").describe("How long the tokens are good that stand in for anonymous access."),
});

/** `auth.htpasswd`, parsed. */
export type HtpasswdOptions = z.output<typeof HTPASSWD_OPTIONS>;
