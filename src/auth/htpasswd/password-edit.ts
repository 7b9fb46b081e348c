import { randomUUID } from "node:crypto";
import { open, readFile, realpath, rename, rm, stat } from "node:fs/promises";

const LOCK_WAIT_MS = 10_000;
const LOCK_RETRY_MS = 50;
const MODE = 0o600;

/**
 * Puts a user's entry into the text of a password file: where the user's first one was, else at the end. Further entries of the user
 * go, as the last one would count; every other line stays as it is.
 * @param entry `user:hash`; undefined takes the user out.
 */
export function editEntry(text: string, user: string, entry: string | undefined): string {
  const newline = text.includes("\r\n") ? "\r\n" : "\n";
  const lines = text === "" ? [] : text.replace(/\r?\n$/, "").split(/\r?\n/);
  const first = lines.findIndex((line) => isEntryOf(line, user));
  const kept = lines.flatMap((line, index) => (isEntryOf(line, user) ? (index === first && entry !== undefined ? [entry] : []) : [line]));
  if (first < 0 && entry !== undefined) kept.push(entry);
  return kept.length === 0 ? "" : kept.join(newline) + newline;
}

/** Whether a text has an entry of a user. */
export function hasEntry(text: string, user: string): boolean {
  return text.split("\n").some((line) => isEntryOf(line, user));
}

/**
 * Edits a password file so that readers see it whole, before or after: mode and owner stay, and so does a link that leads to it. Two
 * edits at once wait for each other. A file that is not there is made for its owner alone.
 * @throws Error that names the file
 */
export async function editPasswordFile(path: string, edit: (text: string) => string): Promise<void> {
  const target = await realpath(path).catch(() => path);
  await using _lock = await lock(target);
  const before = await readOld(target);
  const after = edit(before.text);
  const draft = `${target}.${randomUUID()}`;
  try {
    const file = await open(draft, "wx", MODE);
    try {
      await file.writeFile(after);
      if (before.owner !== undefined) {
        await file.chown(before.owner.uid, before.owner.gid);
        await file.chmod(before.owner.mode & 0o7777);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { force: true });
    const hint = (error as NodeJS.ErrnoException).code === "EBUSY" ? "; it is a mount of its own: mount its folder instead" : "";
    throw new Error(`cannot write ${target}: ${describe(error)}${hint}`, { cause: error });
  }
}

interface OldFile {
  readonly text: string;
  /** Undefined when there is no file yet. */
  readonly owner: { readonly uid: number; readonly gid: number; readonly mode: number } | undefined;
}

async function readOld(path: string): Promise<OldFile> {
  try {
    return { owner: await stat(path), text: await readFile(path, "utf8") };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { text: "", owner: undefined };
    throw new Error(`cannot read ${path}: ${describe(error)}`, { cause: error });
  }
}

async function lock(target: string): Promise<AsyncDisposable> {
  const path = `${target}.lock`;
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      const file = await open(path, "wx", MODE);
      await file.writeFile(`${process.pid}\n`);
      await file.close();
      return { [Symbol.asyncDispose]: async () => await rm(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw new Error(`cannot write beside ${target}: ${describe(error)}`, { cause: error });
    }
    if (Date.now() > deadline) throw new Error(`${path} is there for ${LOCK_WAIT_MS / 1000}s: somebody else edits the file; remove it if nobody does`);
    await Bun.sleep(LOCK_RETRY_MS);
  }
}

function isEntryOf(line: string, user: string): boolean {
  return line.trimStart().startsWith(`${user}:`);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
