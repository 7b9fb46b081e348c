/** Something that the collector does not understand, and that stops deletion. */
export interface Doubt {
  readonly path: string;
  readonly problem: string;
}

/** What is wrong, in words: the detail of an error of the registry, else the error's text. */
export function messageOf(error: unknown): string {
  const detail = (error as { entries?: readonly { detail?: unknown }[] } | null)?.entries?.[0]?.detail;
  if (typeof detail === "string") return detail;
  return error instanceof Error ? error.message : String(error);
}

/** Something was not understood, and nothing was deleted. */
export class CollectionDoubtError extends Error {
  readonly doubts: readonly Doubt[];
  constructor(doubts: readonly Doubt[]) {
    super(`nothing was deleted: ${doubts.map((doubt) => `${doubt.path}: ${doubt.problem}`).join("; ")}`);
    this.name = "CollectionDoubtError";
    this.doubts = doubts;
  }
}
