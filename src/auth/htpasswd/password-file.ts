import { createHmac, randomBytes } from "node:crypto";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Logger } from "../../telemetry/log.ts";

const BCRYPT = /^\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/;
const BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const DEFAULT_COST = 10;

/** What a password file says. */
export interface Passwords {
  /** Bcrypt hashes by user. */
  readonly hashes: ReadonlyMap<string, string>;
  /** Entries with other hashes, which let nobody in. */
  readonly refused: readonly RefusedEntry[];
  /** The hash that an unknown user's password is held against: its cost is that of somebody in the file, always the same for the same name. */
  dummyFor(user: string): string;
}

/** An entry that lets nobody in. */
export interface RefusedEntry {
  readonly line: number;
  readonly user: string;
}

/**
 * Reads a password file: `user:hash` a line, blank lines and `#` comments skipped, of several entries of a user the last.
 * @param dummyKey Picks the dummies; the same for every reading of a file, so that they stay the same too.
 * @throws Error naming the line that has no colon; its text is not told, it may be a password.
 */
export function parsePasswords(text: string, dummyKey: Uint8Array = randomBytes(32)): Passwords {
  const hashes = new Map<string, string>();
  const refused: RefusedEntry[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    if (colon < 0) throw new Error(`line ${index + 1}: found no colon, expected user:hash`);
    const user = line.slice(0, colon);
    const hash = line.slice(colon + 1);
    if (user !== "" && BCRYPT.test(hash)) hashes.set(user, canonical(hash));
    else {
      hashes.delete(user);
      refused.push({ line: index + 1, user });
    }
  }
  return { hashes, refused, dummyFor: dummies([...hashes.values()], dummyKey) };
}

/**
 * Makes a password file with one user, `docker`, and a random password that the log tells once; does nothing where there is one.
 * Folders are made for their owner alone.
 */
export async function provisionPasswords(path: string, log: Logger): Promise<void> {
  if (await exists(path)) return;
  const password = randomBytes(32).toString("base64url");
  const hash = await hashPassword(password, DEFAULT_COST);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  try {
    await writeFile(path, `docker:${hash}`, { mode: 0o600, flag: "wx", flush: true });
  } catch (error) {
    // Another instance was quicker.
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
    throw new Error(`auth.htpasswd.path: cannot write ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  log.warn("htpasswd is missing, provisioning with default user", { user: "docker", password });
}

/** Hashes a password with bcrypt, in the form that Apache's tool writes (`$2y$`). */
export async function hashPassword(password: string | Uint8Array, cost: number): Promise<string> {
  const hash = await Bun.password.hash(password, { algorithm: "bcrypt", cost });
  return hash.replace(/^\$2[ab]\$/, "$2y$");
}

// The last characters of salt and digest have bits to spare. Not every tool leaves them 0, Go does not look at them, and Bun insists.
function canonical(hash: string): string {
  const masked = (index: number, mask: number): string => BCRYPT_ALPHABET.charAt(BCRYPT_ALPHABET.indexOf(hash.charAt(index)) & mask);
  return hash.slice(0, 28) + masked(28, 0b110000) + hash.slice(29, 59) + masked(59, 0b111100);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw new Error(`auth.htpasswd.path: cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

// A user that does not exist must take as long as one that does. Where the entries' costs differ, each unknown name gets the cost of
// an entry that a keyed hash picks: no time, and no repetition, tells the known from the unknown.
function dummies(hashes: readonly string[], key: Uint8Array): (user: string) => string {
  return (user) => {
    const digest = createHmac("sha256", key).update(user).digest();
    const twin = hashes[digest.readUInt32BE(0) % Math.max(1, hashes.length)];
    const cost = twin === undefined ? String(DEFAULT_COST) : twin.slice(4, 6);
    // Any 53 characters of bcrypt's alphabet are a salt and a digest, and nobody knows a password for these.
    return canonical(`$2b$${cost}$${digest.toString("hex").slice(0, 53)}`);
  };
}
