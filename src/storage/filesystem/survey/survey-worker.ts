import { closeSync, constants, openSync, readdirSync, readSync, rmdirSync, type Stats, statSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { NAME_END, type Piece, REMOVAL, type RemovalAnswer, type RemovalJob, type SurveyAnswer, type SurveyFailure, type SurveyJob, type SurveyStat } from "./survey-messages.ts";

/*
 * Looks at many files, or removes them, one call to the system after the other, away from the thread that serves requests. Every job has one answer,
 * in order; names are of the host, and were checked by whoever asks.
 */

declare const self: Worker;

const SCRATCH_BYTES = 64 * 1024;
/** Bytes of the files of one job; grows with them, and is copied by the message. */
let gathered = new Uint8Array(16 * SCRATCH_BYTES);
let gatheredBytes = 0;

self.onmessage = (event: MessageEvent<SurveyJob | RemovalJob>) => {
  const job = event.data;
  if (job.op === "remove") return self.postMessage(removeAll(job));
  const answer = survey(job);
  self.postMessage(answer, [answer.bytes.buffer as ArrayBuffer]);
};

function survey({ op, files, maxBytes }: SurveyJob): SurveyAnswer {
  gatheredBytes = 0;
  const outcomes = files.split(NAME_END).map((file) => {
    try {
      return answerTo(op, file, maxBytes);
    } catch (error) {
      return failureOf(error);
    }
  });
  return { outcomes, bytes: gathered.slice(0, gatheredBytes) };
}

function answerTo(op: SurveyJob["op"], file: string, maxBytes: number): SurveyAnswer["outcomes"][number] {
  switch (op) {
    case "read":
      return read(file, maxBytes);
    case "stat":
      return statOf(statSync(file));
    case "list":
      return list(file);
  }
}

function read(file: string, maxBytes: number): Piece | SurveyFailure {
  const fd = openSync(file, constants.O_RDONLY);
  try {
    const start = gatheredBytes;
    makeRoom(SCRATCH_BYTES);
    for (;;) {
      const readBytes = readSync(fd, gathered, gatheredBytes, SCRATCH_BYTES, gatheredBytes - start);
      gatheredBytes += readBytes;
      if (gatheredBytes - start > maxBytes) {
        gatheredBytes = start;
        return { code: undefined, message: `${file} has more than the ${maxBytes} bytes allowed here` };
      }
      if (readBytes < SCRATCH_BYTES) return gatheredBytes;
      makeRoom(SCRATCH_BYTES);
    }
  } finally {
    closeSync(fd);
  }
}

function makeRoom(bytes: number): void {
  if (gathered.length - gatheredBytes >= bytes) return;
  const larger = new Uint8Array(gathered.length * 2);
  larger.set(gathered);
  gathered = larger;
}

function removeAll({ files, sizes, deadlineMs, unlessChangedAfterMs }: RemovalJob): RemovalAnswer {
  const names = files.split(NAME_END);
  let outcomes = "";
  try {
    for (const size of sizes) {
      const group = names.slice(outcomes.length, outcomes.length + size);
      if (unlessChangedAfterMs !== undefined && isYounger(group.at(-1), unlessChangedAfterMs)) outcomes += REMOVAL.left.repeat(size);
      else for (const file of group) outcomes += remove(file, deadlineMs) ? REMOVAL.removed : REMOVAL.wasNotThere;
    }
    return outcomes;
  } catch (error) {
    return failureOf(error);
  }
}

function isYounger(file: string | undefined, thanMs: number): boolean {
  try {
    return file !== undefined && statSync(file).mtimeMs > thanMs;
  } catch (error) {
    if (isCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}

/** Removes a file, and its folder when nothing else is in it. @returns Whether the file was there. */
function remove(file: string, deadlineMs: number): boolean {
  if (Date.now() >= deadlineMs) throw new Error(`the time for deleting is over: ${file} and what was to follow it was left`);
  const isRemoved = unlinkIfThere(file);
  try {
    rmdirSync(dirname(file));
  } catch (error) {
    if (!isCode(error, "ENOTEMPTY", "EEXIST", "ENOENT", "ENOTDIR")) throw error;
  }
  return isRemoved;
}

function unlinkIfThere(file: string): boolean {
  try {
    unlinkSync(file);
    return true;
  } catch (error) {
    if (isCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}

function statOf(found: Stats): SurveyStat {
  return { sizeBytes: found.isDirectory() ? 0 : found.size, modifiedAtMs: found.mtimeMs, isDirectory: found.isDirectory() };
}

/** One text for all names: a slash, which no name has, ends each and follows those of directories once more. */
function list(folder: string): string {
  const names: string[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const isDirectory = entry.isDirectory() || (!entry.isFile() && leadsToDirectory(join(folder, entry.name)));
    names.push(isDirectory ? `${entry.name}//` : `${entry.name}/`);
  }
  return names.join("");
}

function leadsToDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch (error) {
    // A link that leads to itself is no reason to hide its neighbours.
    if (isCode(error, "ELOOP")) return false;
    throw error;
  }
}

function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code);
}

function failureOf(error: unknown): SurveyFailure {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
  return { code, message: error instanceof Error ? error.message : String(error) };
}
