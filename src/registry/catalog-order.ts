import { MAX_NAME_LENGTH } from "../oci/name.ts";

/*
 * Stores tell of repositories in bytewise order of keys; in the catalog the slash comes before every other character. So after
 * `a-b/_manifests/` a store may yet come with `a/_manifests/` or `a/c/_manifests/`, which belong before it, and after
 * `a/0/_manifests/` with `a/_manifests/`. What was read waits until nothing can come that belongs before it; where that would mean
 * to read on for long, the store is asked about what is awaited.
 */

/** The folder that makes a folder a repository. */
export const MARKER = "_manifests";

const SLASH = 47;
/** Folders that may be repositories, or have some below. */
const FOLDER_PATH = /^[A-Za-z0-9][^/]*(?:\/[A-Za-z0-9][^/]*)*$/;

/** A part of the catalog: what is in a folder and, unless it begins in its midst, the folder itself. */
export interface CatalogRange {
  /** Empty for the root. */
  readonly folder: string;
  /** Only what comes after this name in the folder; what is below that one too, if `withBelow` says so. */
  readonly after?: string;
  readonly withBelow?: boolean;
}

/** Something in the catalog. */
export interface CatalogEntry {
  readonly name: string;
  /** A repository; or a folder that is to be looked into: it and what is below may be repositories. */
  readonly kind: "repository" | "folder";
}

/** Puts what a store tells of one range into the order of the catalog. */
export class CatalogOrder {
  readonly #range: CatalogRange;
  readonly #waiting: { readonly entry: CatalogEntry; readonly sortKey: string }[] = [];
  /** What was answered: repositories of which it is known whether they are there, and folders that are looked into on their own. */
  readonly #answered = { repository: new Set<string>(), folder: new Set<string>() };
  /** The folder that the store told of last. */
  #position = "";

  constructor(range: CatalogRange) {
    this.#range = range;
    // What is below that name belongs to another range.
    if (range.after !== undefined && range.withBelow !== true) this.#answered.folder.add(join(range.folder, range.after));
  }

  /** How many entries wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** What the store is best asked next, for something to become ready; undefined when only reading on helps. */
  get question(): CatalogEntry | undefined {
    const { folder, after } = this.#range;
    const nameEnd = this.#position.indexOf("/_");
    const end = nameEnd === -1 ? this.#position.length : nameEnd + 1;
    for (let index = folder.length + (after === undefined ? 0 : 1); index < end; index++) {
      const code = this.#position.charCodeAt(index);
      if (code > SLASH) continue;
      const kind = code === SLASH ? "repository" : "folder";
      const mayCome = kind === "folder" || `${this.#position.slice(index + 1)}/` < `${MARKER}/`;
      const name = this.#position.slice(0, index);
      if (mayCome && FOLDER_PATH.test(name) && this.#isWanted({ name, kind })) return { name, kind };
    }
    return undefined;
  }

  /** A folder that is left out and that the store was just telling of: it may be told to go on behind it. */
  get leftOut(): string | undefined {
    for (const folder of this.#answered.folder) if (isIn(this.#position, folder)) return folder;
    return undefined;
  }

  /** Takes the next folder that the store tells of: of a repository its folders with an underscore, or a folder to be looked into. */
  add(folder: string): void {
    this.#position = folder;
    const isRepository = folder.endsWith(`/${MARKER}`);
    const name = isRepository ? folder.slice(0, -MARKER.length - 1) : folder;
    const entry = { name, kind: isRepository ? "repository" : "folder" } as const;
    if (name.length <= MAX_NAME_LENGTH && FOLDER_PATH.test(name) && this.#isWanted(entry)) this.#wait(entry);
  }

  /** Takes the answer to a question. @param isThere Of a folder it need not be known. */
  answer(question: CatalogEntry, isThere: boolean): void {
    this.#answered[question.kind].add(question.name);
    if (isThere) this.#wait(question);
  }

  /** Gives in order what nothing can come before any more. */
  takeReady(): CatalogEntry[] {
    const nameEnd = this.#position.indexOf("/_");
    const position = sortKeyOf(nameEnd === -1 ? this.#position : this.#position.slice(0, nameEnd));
    const { question } = this;
    const awaited = question === undefined ? undefined : sortKeyOf(question.name);
    this.#waiting.sort(inOrder);
    const waits = this.#waiting.findIndex(({ sortKey }) => sortKey > position || (awaited !== undefined && sortKey > awaited));
    return this.#take(waits === -1 ? this.#waiting.length : waits);
  }

  /** Gives in order all that waits, after the store has told everything. */
  takeAll(): CatalogEntry[] {
    this.#waiting.sort(inOrder);
    return this.#take(this.#waiting.length);
  }

  #wait(entry: CatalogEntry): void {
    this.#waiting.push({ entry, sortKey: sortKeyOf(entry.name) });
  }

  #take(count: number): CatalogEntry[] {
    return this.#waiting.splice(0, count).map(({ entry }) => entry);
  }

  #isWanted({ name, kind }: CatalogEntry): boolean {
    const { folder, after } = this.#range;
    if (kind === "repository" && this.#answered.repository.has(name)) return false;
    for (const answered of this.#answered.folder) if (isIn(name, answered)) return false;
    if (after === undefined) return true;
    if (kind === "repository" && (name === folder || name === join(folder, after))) return false;
    const start = folder === "" ? 0 : folder.length + 1;
    const slash = name.indexOf("/", start);
    return name.slice(start, slash === -1 ? undefined : slash) >= after;
  }
}

/** The name of what is in a folder; the root's is empty. */
export function join(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

function isIn(name: string, folder: string): boolean {
  return name.startsWith(folder) && (name.length === folder.length || name.charCodeAt(folder.length) === SLASH);
}

function inOrder(a: { readonly sortKey: string }, b: { readonly sortKey: string }): number {
  return a.sortKey < b.sortKey ? -1 : a.sortKey > b.sortKey ? 1 : 0;
}

function sortKeyOf(name: string): string {
  return name.replaceAll("/", "\0");
}
