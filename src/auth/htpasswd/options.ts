import { z } from "zod";
import { choice, duration, flag, integer, text, texts } from "../../lib/fields.ts";

const GLOB = text().refine((value) => /^[A-Za-z0-9._/*?-]+$/.test(value), "expected a glob of repository names, like team-a/** or library/*");

const RULE = z.object({
  repositories: z.array(GLOB, "expected a list of globs").prefault(["**"]).describe("Globs of repositories: * is anything but a slash, ** anything, and team-a/** is also team-a itself."),
  users: texts().prefault([]).describe("User names; * is everybody with a login."),
  groups: texts().prefault([]).describe("Groups of `groups` or `groupsfile`."),
  anonymous: flag().prefault(false).describe("Everybody, also without a login."),
  actions: z.array(choice(["pull", "push", "delete", "catalog", "*"]), "expected a list of actions").prefault(["pull"]).describe("pull, push (pulls too), delete, catalog; * for all of them."),
  always: flag().prefault(false).describe("Counts also where rules with more specific globs decide; for administrators."),
});

/** `auth.htpasswd` */
export const HTPASSWD_OPTIONS = z
  .object({
    realm: text().describe("Shown to who is asked for a password."),
    path: text().describe("The password file; bcrypt only. Made with a random password when missing; read again when it changes."),
    rules: z
      .array(RULE)
      .prefault([])
      .describe("Who may do what. None: every user may do everything. For each action the rules with the most specific glob decide; what no rule allows is refused."),
    groups: z.record(z.string(), texts()).prefault({}).describe("Groups of users."),
    groupsfile: text().optional().describe("A file of groups, a line each: `group: user user …`. Read again when it changes."),
    throttle: z
      .object({
        enabled: flag().prefault(true).describe("Slow down repeated failures of one address or user."),
        failures: integer({ min: 1 }).prefault(5).describe("So many are free."),
        maxdelay: duration({ min: 0, max: 3_600_000 }).prefault("30s").describe("The longest wait."),
      })
      .prefault({}),
    tokenttl: duration({ min: 10_000, max: 86_400_000 }).prefault("5m").describe("How long the tokens are good that clients get where rules let in the anonymous."),
  })
  .superRefine((options, context) => {
    if (options.groupsfile !== undefined) return;
    for (const [index, rule] of options.rules.entries()) {
      for (const group of rule.groups) {
        if (!Object.hasOwn(options.groups, group)) context.addIssue({ code: "custom", path: ["rules", index, "groups"], message: `found the group ${JSON.stringify(group)}, expected one of auth.htpasswd.groups` });
      }
    }
  });

/** `auth.htpasswd`, parsed. */
export type HtpasswdOptions = z.output<typeof HTPASSWD_OPTIONS>;
