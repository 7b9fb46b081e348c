/** A glob of repository names, ready to be matched and ranked. */
export interface RepositoryGlob {
  readonly text: string;
  matches(name: string): boolean;
  /** How closely it describes what it matches; see {@link compareSpecificity}. */
  readonly specificity: readonly number[];
}

/**
 * Compiles a glob: `*` is anything but a slash, `?` one character but a slash, `**` anything, and everything else itself.
 * `team-a/**` is all below `team-a` and also `team-a` itself: who closes a part of the registry does not leave its root open.
 */
export function compileGlob(text: string): RepositoryGlob {
  const source = text.replace(/\/\*\*$|\*\*|\*|\?|[.+^${}()|[\]\\]/g, (part) => {
    if (part === "/**") return "(?:/.*)?";
    if (part === "**") return ".*";
    if (part === "*") return "[^/]*";
    if (part === "?") return "[^/]";
    return `\\${part}`;
  });
  const pattern = new RegExp(`^${source}$`);
  return { text, matches: (name) => pattern.test(name), specificity: specificityOf(text) };
}

function specificityOf(text: string): readonly number[] {
  const wildcard = text.search(/[*?]/);
  const isExact = wildcard < 0;
  return [isExact ? 1 : 0, isExact ? text.length : wildcard, text.replace(/[*?]/g, "").length, -text.split("**").length];
}

/**
 * Which of two globs is the more specific: a whole name before every glob; then the one with more characters before its first
 * wildcard; then the one with more characters that are no wildcards; then the one with fewer `**`. `team-a/app` goes before
 * `team-a/*`, that before `team-a/**`, that before `team-*`, that before `**`.
 * @returns More than 0 when the first is, less when the second is, 0 when neither is.
 */
export function compareSpecificity(a: RepositoryGlob, b: RepositoryGlob): number {
  for (const [index, value] of a.specificity.entries()) {
    const difference = value - (b.specificity[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
