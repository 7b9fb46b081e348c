import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import { NAME_END, type SurveyAnswer, type SurveyFailure, type SurveyJob, type SurveyOutcome } from "./survey-messages.ts";

/*
 * Looks at many files, one call to the system after the other, away from the thread that serves requests. Every job has one answer,
 * in order; names are of the host, and were checked by whoever asks.
 */

declare const self: Worker;

const SCRATCH_BYTES = 64 * 1024;
const scratch = new Uint8Array(SCRATCH_BYTES);

self.onmessage = (event: MessageEvent<SurveyJob>) => {
  const { op, files, maxBytes } = event.data;
  const answer: SurveyAnswer = files.split(NAME_END).map((file) => {
    try {
      switch (op) {
        case "read":
          return read(file, maxBytes);
        case "stat":
          return statOf(statSync(file));
        case "list":
          return list(file);
      }
    } catch (error) {
      return failureOf(error);
    }
  });
  self.postMessage(answer);
};

function read(file: string, maxBytes: number): SurveyOutcome {
  const fd = openSync(file, constants.O_RDONLY);
  try {
    const readBytes = readSync(fd, scratch, 0, SCRATCH_BYTES, 0);
    if (readBytes < SCRATCH_BYTES) return readBytes > maxBytes ? tooLarge(readBytes) : scratch.slice(0, readBytes);
    const { size } = fstatSync(fd);
    return size > maxBytes ? tooLarge(size) : readAll(fd, size);
  } finally {
    closeSync(fd);
  }
}

function readAll(fd: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let length = 0;
  while (length < size) {
    const readBytes = readSync(fd, bytes, length, size - length, length);
    if (readBytes === 0) break;
    length += readBytes;
  }
  return bytes.subarray(0, length);
}

function statOf(found: Stats): SurveyOutcome {
  return { sizeBytes: found.isDirectory() ? 0 : found.size, modifiedAtMs: found.mtimeMs, isDirectory: found.isDirectory() };
}

/** One text for all names: a slash, which no name has, ends each and follows those of directories once more. */
function list(folder: string): SurveyOutcome {
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
    if (error instanceof Error && "code" in error && error.code === "ELOOP") return false;
    throw error;
  }
}

function tooLarge(sizeBytes: number): SurveyFailure {
  return { code: undefined, message: `it has ${sizeBytes} bytes, more than are allowed here` };
}

function failureOf(error: unknown): SurveyFailure {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
  return { code, message: error instanceof Error ? error.message : String(error) };
}
