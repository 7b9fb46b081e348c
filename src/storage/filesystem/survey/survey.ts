import { DEFAULT_MAX_CONTENT_BYTES, type DirectoryEntry, type FileInfo, type ListOptions, type ListPage, type RemoveOptions, type StoreSurvey } from "../../driver.ts";
import { pageOf } from "../../list-page.ts";
import { isPathName } from "../../paths.ts";
import { isErrno, readFailure } from "../errno.ts";
import { NAME_END, REMOVAL, type SurveyFailure, type SurveyOutcome } from "./survey-messages.ts";
import { SurveyThreads } from "./survey-threads.ts";

/** Most names; a quick way to see that they are within the grammar of paths. */
const PLAIN_NAME = /^[0-9A-Za-z][0-9A-Za-z._-]*$/;

/** Names of a store's paths on this host; checked. */
export interface SurveyNames {
  fileOf(path: string): string;
  folderOf(path: string): string;
}

/**
 * Works by threads of its own: a walk over a whole store is so many small calls to the system that one thread would be busy with
 * nothing else, and requests would wait.
 */
export class FilesystemSurvey implements StoreSurvey {
  readonly #names: SurveyNames;
  readonly #threads = new SurveyThreads();

  constructor(names: SurveyNames) {
    this.#names = names;
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    const outcome = await this.#threads.ask({ op: "read", file: this.#names.fileOf(path), maxBytes });
    if (outcome instanceof Uint8Array) return outcome;
    throw failureAt(path, outcome);
  }

  async stat(path: string): Promise<FileInfo> {
    const outcome = await this.#threads.ask({ op: "stat", file: this.#names.folderOf(path), maxBytes: 0 });
    if (typeof outcome === "object" && "sizeBytes" in outcome) return { path, sizeBytes: outcome.sizeBytes, modifiedAt: new Date(outcome.modifiedAtMs), isDirectory: outcome.isDirectory };
    throw failureAt(path, outcome);
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    const outcome = await this.#threads.ask({ op: "list", file: this.#names.folderOf(path), maxBytes: 0 });
    if (typeof outcome === "string") return pageOf(entriesOf(outcome), options);
    const failure = failureAt(path, outcome);
    // The root is made by the first write; until then it is empty.
    if (path === "/" && isErrno(failure.cause, "ENOENT")) return { entries: [], next: undefined };
    throw failure;
  }

  async removeFiles(groups: readonly (readonly string[])[], options: RemoveOptions): Promise<readonly (readonly boolean[] | undefined)[]> {
    if (groups.length === 0) return [];
    const files = groups.flatMap((paths) => paths.map((path) => this.#names.fileOf(path)));
    const answer = await this.#threads.remove({ op: "remove", files: files.join(NAME_END), sizes: groups.map((paths) => paths.length), ...options });
    if (typeof answer !== "string") throw readFailure(errorOf(answer), groups[0]?.[0] ?? "/");
    let end = 0;
    return groups.map(({ length }) => {
      const outcomes = answer.slice(end, (end += length));
      return outcomes.startsWith(REMOVAL.left) ? undefined : Array.from(outcomes, (outcome) => outcome === REMOVAL.removed);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#threads[Symbol.dispose]();
  }
}

function entriesOf(text: string): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf("/", start);
    const name = text.slice(start, end);
    const isDirectory = text[end + 1] === "/";
    if (PLAIN_NAME.test(name) || isPathName(name)) entries.push({ name, isDirectory });
    start = end + (isDirectory ? 2 : 1);
  }
  // Names are ASCII, so the order of code units is the bytewise one.
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function failureAt(path: string, outcome: SurveyOutcome): Error {
  return readFailure(errorOf(outcome as SurveyFailure), path);
}

function errorOf({ code, message }: SurveyFailure): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}
