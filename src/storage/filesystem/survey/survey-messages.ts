/** What is asked of one file or folder; names are of the host. */
export type SurveyQuestion = { readonly op: "read"; readonly file: string; readonly maxBytes: number } | { readonly op: "stat" | "list"; readonly file: string };

/** What a thread is asked at once. */
export type SurveyJob = readonly SurveyQuestion[];

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

/** The answers to a job, in its order. */
export type SurveyAnswer = readonly SurveyOutcome[];
