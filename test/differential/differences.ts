/** One way in which ours answers otherwise than Debian's distribution 2.8.2, on purpose. The README's table is made of these. */
export interface Difference {
  readonly id: string;
  /** What is asked for. */
  readonly request: string;
  /** What distribution 2.8 answers: a status, an error code where there is one, and what else matters. The tests hold it to it. */
  readonly distribution: string;
  /** What ours answers, in the same form. */
  readonly ours: string;
  /** Why. */
  readonly reason: string;
}

/** Differences that show in single answers; every one of them is seen by a test. */
export const DIFFERENCES = [
  {
    id: "unrouted-path",
    request: "a path that names nothing, or a repository name that cannot be",
    distribution: "404, as text",
    ours: "404 UNSUPPORTED or NAME_INVALID, as JSON",
    reason: "OCI: errors are JSON; clients show the message",
  },
] as const satisfies readonly Difference[];

/** The id of a difference. */
export type DifferenceId = (typeof DIFFERENCES)[number]["id"];

/** Differences that show in many answers, and are therefore taken out before the answers are compared. */
export const EVERYWHERE = [
  {
    id: "json-type",
    request: "any JSON answer",
    distribution: "`application/json; charset=utf-8`",
    ours: "`application/json`",
    reason: "as distribution 3",
  },
  {
    id: "error-detail",
    request: "any error",
    distribution: "`detail` is a dump of an internal structure, often `{}`",
    ours: "`detail` is a text or an object that says what is wrong",
    reason: "as distribution 3; clients print it",
  },
  {
    id: "upload-ids",
    request: "upload ids",
    distribution: "UUID version 4",
    ours: "UUID version 7",
    reason: "as distribution 3.1; opaque to clients",
  },
] as const satisfies readonly Difference[];
