/** Whether a repository name fits one of some patterns: `*` is anything but a slash, `**` anything, `?` one character but a slash. */
export function matchesAny(patterns: readonly RegExp[], name: string): boolean {
  return patterns.some((pattern) => pattern.test(name));
}

/** Compiles a pattern for {@link matchesAny}. `team/**` also fits `team` itself. */
export function compileGlob(glob: string): RegExp {
  const source = glob.replace(/\/\*\*$|\*\*|\*|\?|[.+^${}()|[\]\\]/g, (part) => {
    if (part === "/**") return "(?:/.*)?";
    if (part === "**") return ".*";
    if (part === "*") return "[^/]*";
    if (part === "?") return "[^/]";
    return `\\${part}`;
  });
  return new RegExp(`^${source}$`);
}
