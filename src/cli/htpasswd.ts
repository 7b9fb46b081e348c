import type { Command } from "commander";
import { editEntry, editPasswordFile, hasEntry } from "../auth/htpasswd/password-edit.ts";
import { hashPassword } from "../auth/htpasswd/password-file.ts";
import { type CliContext, CliError } from "./context.ts";
import { readPassword } from "./read-password.ts";

const DEFAULT_COST = 10;
const MIN_COST = 4;
const MAX_COST = 17;
/** Bcrypt looks at no more. */
const MAX_PASSWORD_BYTES = 72;
const MAX_USER_CHARACTERS = 255;

interface Flags {
  readonly cost?: string;
  readonly print?: boolean;
  readonly delete?: boolean;
}

/** Adds `registry htpasswd`, which makes entries of password files as Apache's tool of the name does. */
export function addHtpasswd(program: Command, context: CliContext): void {
  program
    .command("htpasswd")
    .argument("<file>", "password file; made when it is missing, left out with -n")
    .argument("[user]", "user name")
    .description("add or change a user of a password file; the password is typed, or comes as the first line of standard input")
    .option("-B", "use bcrypt: always so, for those who are used to say it")
    .option("-C, --cost <cost>", `bcrypt's cost, ${MIN_COST} to ${MAX_COST}: one more takes twice as long (default: ${DEFAULT_COST})`)
    .option("-n, --print", "print the entry and change no file")
    .option("-D, --delete", "take the user out of the file")
    .action(async (file: string, user: string | undefined, flags: Flags) => {
      if (flags.print === true) return await printEntry(user ?? file, flags, context);
      if (user === undefined) throw new CliError("htpasswd: expected a file and a user name (or -n and a user name)");
      return flags.delete === true ? await deleteUser(file, user, context) : await setUser(file, user, { flags, context });
    });
}

async function printEntry(user: string, flags: Flags, context: CliContext): Promise<void> {
  context.stdout(`${await makeEntry(user, flags, context)}\n`);
}

async function setUser(file: string, user: string, { flags, context }: { readonly flags: Flags; readonly context: CliContext }): Promise<void> {
  const entry = await makeEntry(user, flags, context);
  let isNew = true;
  await editPasswordFile(file, (text) => {
    isNew = !hasEntry(text, user);
    return editEntry(text, user, entry);
  });
  context.stderr(`${isNew ? "added" : "changed"} the password of user ${user}\n`);
}

async function deleteUser(file: string, user: string, context: CliContext): Promise<void> {
  checkUser(user);
  await editPasswordFile(file, (text) => {
    if (!hasEntry(text, user)) throw new CliError(`htpasswd: ${file} has no user ${user}`);
    return editEntry(text, user, undefined);
  });
  context.stderr(`deleted user ${user}\n`);
}

async function makeEntry(user: string, flags: Flags, context: CliContext): Promise<string> {
  checkUser(user);
  const cost = parseCost(flags.cost);
  const password = await readPassword(context);
  if (password.length === 0) throw new CliError("htpasswd: the password is empty; nothing was changed");
  if (password.length > MAX_PASSWORD_BYTES) throw new CliError(`htpasswd: the password has ${password.length} bytes and bcrypt looks at ${MAX_PASSWORD_BYTES} at most; take a shorter one`);
  return `${user}:${await hashPassword(password, cost)}`;
}

function checkUser(user: string): void {
  if (user === "" || user.length > MAX_USER_CHARACTERS || /^#|:|\p{Cc}|^\s|\s$/u.test(user)) {
    throw new CliError(`htpasswd: found the user name ${JSON.stringify(user)}, expected 1 to ${MAX_USER_CHARACTERS} characters without a colon, a # at the beginning or blanks around`);
  }
}

function parseCost(text: string | undefined): number {
  if (text === undefined) return DEFAULT_COST;
  const cost = /^\d{1,2}$/.test(text) ? Number(text) : Number.NaN;
  if (!(cost >= MIN_COST && cost <= MAX_COST)) throw new CliError(`htpasswd: found the cost ${JSON.stringify(text)}, expected a whole number from ${MIN_COST} to ${MAX_COST}`);
  return cost;
}
