/** Groups of users, by name. */
export type Groups = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * Reads a file of groups: `group: user user …` a line, blanks or commas between the users, `#` comments; lines of the same group add up.
 * @throws Error naming the line.
 */
export function parseGroups(text: string): Groups {
  const groups = new Map<string, Set<string>>();
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon)).trim();
    if (name === "") throw new Error(`line ${index + 1}: found no name of a group before a colon, expected group: user user …`);
    const users = line.slice(colon + 1).split(/[\s,]+/).filter((user) => user !== "");
    groups.set(name, (groups.get(name) ?? new Set()).union(new Set(users)));
  }
  return groups;
}

/** Puts groups together; the users of a group that both have add up. */
export function mergeGroups(first: Groups, second: Groups): Groups {
  const merged = new Map(first);
  for (const [name, users] of second) merged.set(name, (merged.get(name) ?? new Set()).union(users));
  return merged;
}

/** The groups of the configuration as {@link Groups}. */
export function configuredGroups(groups: Readonly<Record<string, readonly string[]>>): Groups {
  return new Map(Object.entries(groups).map(([name, users]) => [name, new Set(users)]));
}
