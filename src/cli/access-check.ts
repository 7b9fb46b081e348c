import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import type { HtpasswdOptions } from "../auth/htpasswd/options.ts";
import { parsePasswords } from "../auth/htpasswd/password-file.ts";
import { configuredGroups, type Groups, mergeGroups, parseGroups } from "../auth/rules/groups.ts";
import { AccessRules, type DecidingRule, type RuleDecision } from "../auth/rules/rules.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { isName } from "../oci/name.ts";
import { type CliContext, CliError } from "./context.ts";

const ACTIONS = ["pull", "push", "delete", "catalog"] as const;
type Action = (typeof ACTIONS)[number];

/** What is asked. */
interface Question {
  /** Undefined for the anonymous. */
  readonly user: string | undefined;
  readonly action: Action;
  /** Empty for the catalog. */
  readonly repository: string;
}

/** Adds `registry access-check`, which says whether a user may do something and which rule decides that. */
export function addAccessCheck(program: Command, context: CliContext): void {
  program
    .command("access-check")
    .argument("<config>", "configuration file")
    .argument("<user>", "user name; - for the anonymous")
    .argument("<action>", ACTIONS.join(", "))
    .argument("[repository]", "repository; none for the catalog")
    .description("say whether the access rules allow something, and which rule decides; status 1 when it is refused")
    .action(async (file: string, user: string, action: string, repository: string | undefined) => {
      const { config } = await loadConfig({ path: file, env: context.env, strict: false });
      await check(config, parseQuestion(user, action, repository), context);
    });
}

function parseQuestion(user: string, action: string, repository: string | undefined): Question {
  const known = ACTIONS.find((each) => each === action);
  if (known === undefined) throw new CliError(`access-check: found the action ${JSON.stringify(action)}, expected one of ${ACTIONS.join(", ")}`);
  if (known !== "catalog" && (repository === undefined || !isName(repository))) throw new CliError(`access-check: found the repository ${JSON.stringify(repository ?? "")}, expected a repository's name`);
  return { user: user === "-" ? undefined : user, action: known, repository: known === "catalog" ? "" : (repository ?? "") };
}

async function check(config: Config, question: Question, context: CliContext): Promise<void> {
  const { htpasswd, token, silly } = config.auth;
  if (token !== undefined) throw new CliError(`access-check: the token server ${token.realm} decides, not this configuration`);
  if (silly !== undefined) throw new CliError("access-check: auth.silly lets in whoever sends any Authorization header");
  if (htpasswd === undefined) return context.stdout(`allowed: ${sentence(question, true)}\n  no authorization is configured: everybody may do everything\n`);
  if (question.user !== undefined) await noteUnknown(htpasswd.path, question.user, context);
  const { allowed, reasons } = await decide(htpasswd, question);
  context.stdout(`${allowed ? "allowed" : "refused"}: ${sentence(question, allowed)}\n${reasons.map((reason) => `  ${reason}\n`).join("")}`);
  if (!allowed) throw new CliError("", 1);
}

async function decide(options: HtpasswdOptions, question: Question): Promise<{ readonly allowed: boolean; readonly reasons: readonly string[] }> {
  const groups = await readGroups(options);
  const rules = new AccessRules(options.rules, () => groups);
  if (rules.isEmpty) {
    const allowed = question.user !== undefined;
    return { allowed, reasons: [`there are no rules: every user may do everything${allowed ? "" : ", and nobody else anything"}`] };
  }
  const decision = rules.explain(question.user, question.action, question.repository);
  return { allowed: decision.allowed, reasons: decision.allowed ? [reasonForAllowing(decision, question)] : reasonsForRefusing(decision, question) };
}

function reasonForAllowing(decision: RuleDecision, { action }: Question): string {
  const [rule] = decision.deciding;
  if (rule === undefined || rule.glob === undefined) return `${list(decision.deciding)} opens the catalog to them; it shows what they may pull`;
  const through = decision.through === action ? "" : `, and who may ${decision.through} may also ${action}`;
  return `${list([rule])} allows it: no rule about ${decision.through} with a more specific glob stands against it${through}`;
}

function reasonsForRefusing(decision: RuleDecision, { user, action, repository }: Question): readonly string[] {
  const name = user ?? "the anonymous";
  if (decision.deciding.length === 0) return [`no rule speaks of ${action === "catalog" ? "the catalog" : `${action} for ${repository}`}: what no rule allows is refused`];
  const verb = decision.deciding.length === 1 ? "decides and does" : "decide and do";
  const refusing = `${list(decision.deciding)} ${verb} not name ${name}`;
  if (decision.overruled.length === 0) return [refusing];
  return [refusing, `${list(decision.overruled)} would have allowed it, with a less specific glob`];
}

function list(rules: readonly DecidingRule[]): string {
  return rules.map(({ index, glob }) => `auth.htpasswd.rules[${index}]${glob === undefined ? "" : ` (${glob})`}`).join(", ");
}

function sentence({ user, action, repository }: Question, allowed: boolean): string {
  const verb = `${user ?? "the anonymous"} may ${allowed ? "" : "not "}`;
  if (action === "catalog") return `${verb}list the catalog`;
  return `${verb}${action} ${action === "push" ? "to" : "from"} ${repository}`;
}

async function readGroups(options: HtpasswdOptions): Promise<Groups> {
  const configured = configuredGroups(options.groups);
  if (options.groupsfile === undefined) return configured;
  try {
    return mergeGroups(configured, parseGroups(await readFile(options.groupsfile, "utf8")));
  } catch (error) {
    throw new CliError(`auth.htpasswd.groupsfile: ${options.groupsfile}: ${error instanceof Error ? error.message : String(error)}`, 1, error);
  }
}

// The rules speak of users of client certificates too, so that this is no error.
async function noteUnknown(path: string, user: string, context: CliContext): Promise<void> {
  try {
    if (!parsePasswords(await readFile(path, "utf8")).hashes.has(user)) context.stderr(`note: ${path} has no usable entry of ${user}\n`);
  } catch (error) {
    context.stderr(`note: auth.htpasswd.path: ${path}: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}
