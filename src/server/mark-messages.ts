import type { RepositoryMarks, RepositoryTask } from "../registry/gc/mark.ts";

/** What a thread is asked: to walk over some repositories of a store. */
export interface MarkJob {
  readonly rootdirectory: string;
  readonly tasks: readonly RepositoryTask[];
}

/** What it found; or that the store could not be read. */
export type MarkAnswer = { readonly found: readonly PackedMarks[] } | { readonly error: string };

/** Marks with their longest list as one text, which costs a message much less. */
export type PackedMarks = Omit<RepositoryMarks, "live"> & { readonly live: string };
