import type { RemoveOptions } from "../../driver.ts";

/** What is asked of one file or folder; names are of the host. */
export interface SurveyQuestion {
  readonly op: "read" | "stat" | "list";
  readonly file: string;
  readonly maxBytes: number;
}

/** What ends each name in a job; no name has it. */
export const NAME_END = "\0";

/** What a thread is asked at once: the same of many. One text for all names costs a message much less than a list. */
export interface SurveyJob {
  readonly op: SurveyQuestion["op"];
  readonly files: string;
  /** The largest file that is read. */
  readonly maxBytes: number;
}

/** What a thread is asked to remove, see `StoreSurvey.removeFiles`. */
export interface RemovalJob extends RemoveOptions {
  readonly op: "remove";
  readonly files: string;
  /** How many files each group has. */
  readonly sizes: readonly number[];
}

/** For each file of each group what became of it, a character of `REMOVAL`; or what failed. */
export type RemovalAnswer = string | SurveyFailure;

/** What became of a file. */
export const REMOVAL = { removed: "r", wasNotThere: "n", left: "l" } as const;

/** What a stat tells. */
export interface SurveyStat {
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
  readonly isDirectory: boolean;
}

/** A call to the system that failed. */
export interface SurveyFailure {
  readonly code: string | undefined;
  readonly message: string;
}

/** The answer to one question: bytes of a file, names of a folder in one text, a stat, or why not. */
export type SurveyOutcome = Uint8Array | string | SurveyStat | SurveyFailure;

/** The answers to a job, in its order; the bytes of files one after the other, which costs a message much less than many small pieces. */
export interface SurveyAnswer {
  readonly outcomes: readonly (Exclude<SurveyOutcome, Uint8Array> | Piece)[];
  readonly bytes: Uint8Array;
}

/** Where a file's bytes end among all. */
export type Piece = number;
