import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import type { Logger } from "../../telemetry/log.ts";

const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;
const CHECK_INTERVAL_MS = 1_000;
const DEFAULT_COST = 10;

/** Users with their bcrypt hashes, as a password file has them. */
export type PasswordEntries = ReadonlyMap<string, string>;

/**
 * Reads the text of a password file: `user:hash` a line, `#` comments, the last entry of a user wins.
 * @param refuse Called with the line number of an entry whose hash is no bcrypt hash; it is left out.
 * @throws Error naming the line that has no colon
 */
export function parsePasswordFile(text: string, refuse: (line: number, user: string) => void): PasswordEntries {
  const entries = new Map<string, string>();
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    if (colon < 0) throw new Error(`line ${index + 1}: expected user:hash, found no colon`);
    const user = line.slice(0, colon);
    const hash = line.slice(colon + 1);
    if (BCRYPT.test(hash)) entries.set(user, hash);
    else refuse(index + 1, user);
  }
  return entries;
}

/** A password file that is read again when it changes; a broken new one leaves the old in force. */
export class PasswordFile {
  readonly #path: string;
  readonly #log: Logger;
  readonly #clock: Clock;
  #entries: PasswordEntries = new Map();
  #identity = "";
  #checkedAt = Number.NEGATIVE_INFINITY;
  #version = 0;

  private constructor(path: string, parts: { readonly log: Logger; readonly clock: Clock }) {
    this.#path = path;
    this.#log = parts.log;
    this.#clock = parts.clock;
  }

  /** Opens a file, and makes one with a random password when there is none. @throws Error naming file and line */
  static async open(path: string, parts: { readonly log: Logger; readonly clock: Clock }): Promise<PasswordFile> {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) await provision(path, parts.log);
    const file = new PasswordFile(path, parts);
    file.#load();
    return file;
  }

  /** Changes with every change of the file. */
  get version(): number {
    this.#refresh();
    return this.#version;
  }

  /** The hash of a user; undefined for unknown ones. */
  hashOf(user: string): string | undefined {
    return this.#entries.get(user);
  }

  /** The cost that most hashes of the file have, so that refusing an unknown user takes as long. */
  get typicalCost(): number {
    const counts = new Map<number, number>();
    for (const hash of this.#entries.values()) {
      const cost = Number(BCRYPT.exec(hash)?.[1] ?? DEFAULT_COST);
      counts.set(cost, (counts.get(cost) ?? 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? DEFAULT_COST;
  }

  /** Looks at the file now. @returns Whether it was read anew. */
  reload(): boolean {
    this.#checkedAt = Number.NEGATIVE_INFINITY;
    const before = this.#version;
    this.#refresh();
    return this.#version !== before;
  }

  #refresh(): void {
    const now = this.#clock.now();
    if (now - this.#checkedAt < CHECK_INTERVAL_MS) return;
    this.#checkedAt = now;
    try {
      if (this.#identify() !== this.#identity) this.#load();
    } catch (error) {
      this.#log.error("the password file cannot be used; the old entries stay in force", { file: this.#path, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }

  #identify(): string {
    const info = statSync(this.#path, { bigint: true });
    return `${info.dev} ${info.ino} ${info.size} ${info.mtimeNs}`;
  }

  #load(): void {
    // Before the reading: a change in between is then seen as one.
    this.#identity = this.#identify();
    let entries: PasswordEntries;
    try {
      entries = parsePasswordFile(readFileSync(this.#path, "utf8"), (line, user) => this.#log.warn("password file: entry refused, only bcrypt hashes are taken (htpasswd -B)", { file: this.#path, line, user }));
    } catch (error) {
      throw new Error(`auth.htpasswd.path: ${this.#path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    this.#entries = entries;
    this.#version++;
  }
}

async function provision(path: string, log: Logger): Promise<void> {
  const password = randomBytes(32).toString("base64url");
  const hash = await Bun.password.hash(password, { algorithm: "bcrypt", cost: DEFAULT_COST });
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, `docker:${hash}`, { mode: 0o600, flag: "wx" });
  log.warn("htpasswd is missing, provisioning with default user", { user: "docker", password });
}
