import { readFileSync, statSync } from "node:fs";
import type { AuthParts } from "../open.ts";

const CHECK_INTERVAL_MS = 1_000;

/** Groups of users. */
export type Groups = ReadonlyMap<string, ReadonlySet<string>>;

/** Reads `group: user user …`, a line each, `#` comments. @throws Error naming the line */
export function parseGroups(text: string): Groups {
  const groups = new Map<string, ReadonlySet<string>>();
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error(`line ${index + 1}: expected group: user user …`);
    const users = line.slice(colon + 1).split(/[\s,]+/).filter((user) => user !== "");
    groups.set(line.slice(0, colon).trim(), new Set([...(groups.get(line.slice(0, colon).trim()) ?? []), ...users]));
  }
  return groups;
}

/** The groups of the configuration with those of a file that is read again when it changes. */
export class GroupsFile {
  readonly #configured: Groups;
  readonly #path: string | undefined;
  readonly #parts: AuthParts;
  #current: Groups;
  #identity = "";
  #checkedAt = Number.NEGATIVE_INFINITY;
  #version = 0;

  private constructor(configured: Groups, path: string | undefined, parts: AuthParts) {
    this.#configured = configured;
    this.#current = configured;
    this.#path = path;
    this.#parts = parts;
  }

  /** @throws Error naming file and line */
  static open(configured: Readonly<Record<string, readonly string[]>>, path: string | undefined, parts: AuthParts): GroupsFile {
    const groups = new GroupsFile(new Map(Object.entries(configured).map(([group, users]) => [group, new Set(users)])), path, parts);
    if (path !== undefined) groups.#load(path);
    return groups;
  }

  get current(): Groups {
    this.#refresh();
    return this.#current;
  }

  /** Changes with every change of the file. */
  get version(): number {
    return this.#version;
  }

  /** Looks at the file now. @returns Whether it was read anew. */
  reload(): boolean {
    const before = this.#version;
    this.#checkedAt = Number.NEGATIVE_INFINITY;
    this.#refresh();
    return this.#version !== before;
  }

  #refresh(): void {
    const now = this.#parts.clock.now();
    if (this.#path === undefined || now - this.#checkedAt < CHECK_INTERVAL_MS) return;
    this.#checkedAt = now;
    try {
      if (identify(this.#path) !== this.#identity) this.#load(this.#path);
    } catch (error) {
      this.#parts.log.error("the groups file cannot be used; the old groups stay in force", { file: this.#path, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }

  #load(path: string): void {
    this.#identity = identify(path);
    let read: Groups;
    try {
      read = parseGroups(readFileSync(path, "utf8"));
    } catch (error) {
      throw new Error(`auth.htpasswd.groupsfile: ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    const merged = new Map(this.#configured);
    for (const [group, users] of read) merged.set(group, new Set([...(merged.get(group) ?? []), ...users]));
    this.#current = merged;
    this.#version++;
  }
}

function identify(path: string): string {
  const info = statSync(path, { bigint: true });
  return `${info.dev} ${info.ino} ${info.size} ${info.mtimeNs}`;
}
