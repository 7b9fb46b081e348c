/** What is asked of one file or folder; names are of the host. */
export interface SurveyQuestion {
  readonly op: "read" | "stat" | "list" | "remove";
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

/** The answer to one question: bytes of a file, names of a folder in one text, a stat, whether a file was there, or why not. */
export type SurveyOutcome = Uint8Array | string | SurveyStat | boolean | SurveyFailure;

/** The answers to a job, in its order; the bytes of files one after the other, which costs a message much less than many small pieces. */
export interface SurveyAnswer {
  readonly outcomes: readonly (Exclude<SurveyOutcome, Uint8Array> | Piece)[];
  readonly bytes: Uint8Array;
}

/** Where a file's bytes end among all. */
export type Piece = number;
