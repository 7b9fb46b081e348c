import { mapConcurrently } from "../../lib/concurrently.ts";
import { Slots } from "../../lib/slots.ts";
import type { KeyPage, ListKeys } from "./children.ts";

const PAGE = 1000;
/** A range is split after so many pages, and again after so many more when it was not. */
const PAGES_BEFORE_SPLIT = 2;
const MAX_PARTS = 8;
const REQUESTS_AT_ONCE = 8;
/** Characters that take turns with one another in the names of a folder. */
const ALPHABETS = ["0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"];
/** Of a name that is made up, so many characters of an alphabet. */
const MADE_UP = 4;
/** Greater than every character of a path. */
const AFTER_ALL = "~";

/** What to read. */
export interface ListingRange {
  readonly prefix: string;
  /** Only keys greater than this one. */
  readonly startAfter?: string | undefined;
  /** What there is at most. */
  readonly maxChildren: number;
}

/**
 * Lists everything right below a prefix. When that turns out to be long, the rest is divided by a guess at how the names go on, and its
 * parts are read at the same time: a store gives page after page no faster than one request after another. Wherever a guess is wrong,
 * it costs a page that is read for nothing.
 * @returns Pages in order of keys; undefined when there is more than allowed.
 */
export async function listInParts(list: ListKeys, range: ListingRange): Promise<KeyPage[] | undefined> {
  return await new PartedListing(list, range).read();
}

interface Part {
  readonly startAfter: string | undefined;
  /** The last key that belongs to it. */
  readonly until: string | undefined;
}

class PartedListing {
  readonly #list: ListKeys;
  readonly #range: ListingRange;
  readonly #slots = new Slots(REQUESTS_AT_ONCE);
  #count = 0;
  #hasFailed = false;

  constructor(list: ListKeys, range: ListingRange) {
    this.#list = list;
    this.#range = range;
  }

  async read(): Promise<KeyPage[] | undefined> {
    const pages = await this.#readPart({ startAfter: this.#range.startAfter, until: undefined });
    return this.#count > this.#range.maxChildren ? undefined : pages;
  }

  async #readPart(part: Part): Promise<KeyPage[]> {
    const pages: KeyPage[] = [];
    let next: string | undefined;
    do {
      const page = await this.#page(part, next);
      const own = upTo(page, part.until);
      pages.push(own);
      this.#count += sizeOf(own);
      if (sizeOf(own) < sizeOf(page) || this.#count > this.#range.maxChildren || this.#hasFailed) return pages;
      if (page.next !== undefined && page.next === next) throw new Error(`the store's listing of ${JSON.stringify(this.#range.prefix)} does not come to an end`);
      next = page.next;
      const rest = next === undefined || pages.length % PAGES_BEFORE_SPLIT !== 0 ? [] : this.#divide(pages, part);
      if (rest.length > 0) return [...pages, ...(await mapConcurrently(rest, rest.length, (each) => this.#readPart(each))).flat()];
    } while (next !== undefined);
    return pages;
  }

  async #page({ startAfter }: Part, next: string | undefined): Promise<KeyPage> {
    const from = next !== undefined ? { next } : startAfter !== undefined ? { startAfter } : {};
    try {
      return await this.#slots.run(() => this.#list({ prefix: this.#range.prefix, limit: PAGE, ...from }));
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
  }

  /** Divides what comes after the pages of a part. */
  #divide(pages: readonly KeyPage[], { until }: Part): Part[] {
    const { prefix } = this.#range;
    const [first, last] = [firstOf(pages[0]), lastOf(pages.at(-1))];
    if (first === undefined || last === undefined) return [];
    const names = guessNames({ first: nameOf(first, prefix), last: nameOf(last, prefix), until: until === undefined ? undefined : nameOf(until, prefix), pages: pages.length });
    if (names.length === 0) return [];
    // Some stores, told to begin after a directory, give it again, for what is in it.
    const ends = [last.endsWith("/") ? `${last}${AFTER_ALL}` : last, ...names.map((name) => `${prefix}${name}`)];
    return ends.map((startAfter, index) => ({ startAfter, until: ends[index + 1] ?? until }));
  }
}

/** What is known of a range of names when its beginning has been read. */
export interface KnownNames {
  readonly first: string;
  readonly last: string;
  readonly until: string | undefined;
  /** How many pages there are from the first to the last. */
  readonly pages: number;
}

/**
 * Guesses names, which need not be any, that divide what comes after the last one into parts of some pages each: as if the first
 * character in which the known names differ went on to the end of its alphabet as it began.
 * @returns Sorted, greater than the last name; none when the rest seems short or nothing can be guessed.
 */
export function guessNames({ first, last, until, pages }: KnownNames): string[] {
  const start = commonLength(first, last);
  const beginning = last.slice(0, start);
  const alphabet = ALPHABETS.find((letters) => start < last.length && letters.includes(last.charAt(start)));
  if (alphabet === undefined) return [];
  const position = (name: string): number => positionIn(alphabet, name.slice(start));
  const end = until?.startsWith(beginning) === true ? position(until) : 1;
  const [known, left] = [position(last) - position(first), end - position(last)];
  const parts = known <= 0 ? 0 : Math.min(MAX_PARTS, Math.floor((pages * left) / known / PAGES_BEFORE_SPLIT));
  if (parts < 2) return [];
  const names = Array.from({ length: parts - 1 }, (_, index) => beginning + textAt(alphabet, end - left + (left * (index + 1)) / parts));
  // What is not of the alphabet comes after all of it.
  if (end === 1) names.push(`${beginning}${alphabet.at(-1)}${AFTER_ALL}`);
  return [...new Set(names)].filter((name) => name > last && (until === undefined || name < until));
}

/** Where a text lies among all of an alphabet: from 0 to 1. */
function positionIn(alphabet: string, text: string): number {
  let position = 0;
  let share = 1;
  for (const character of text) {
    const index = alphabet.indexOf(character);
    if (index === -1) return character > alphabet ? position + share : position;
    share /= alphabet.length;
    position += index * share;
  }
  return position;
}

function textAt(alphabet: string, position: number): string {
  let text = "";
  let rest = position;
  for (let index = 0; index < MADE_UP; index++) {
    rest *= alphabet.length;
    const digit = Math.min(Math.floor(rest), alphabet.length - 1);
    text += alphabet.charAt(digit);
    rest -= digit;
  }
  return text;
}

function commonLength(first: string, second: string): number {
  let length = 0;
  while (length < first.length && first[length] === second[length]) length++;
  return length;
}

function nameOf(key: string, prefix: string): string {
  return key.slice(prefix.length, key.endsWith("/") ? -1 : undefined);
}

function upTo(page: KeyPage, until: string | undefined): KeyPage {
  if (until === undefined) return page;
  return { keys: page.keys.filter((key) => key <= until), directories: page.directories.filter((key) => key <= until), next: undefined };
}

function sizeOf({ keys, directories }: KeyPage): number {
  return keys.length + directories.length;
}

function firstOf(page: KeyPage | undefined): string | undefined {
  return [page?.keys[0], page?.directories[0]].filter((key) => key !== undefined).sort()[0];
}

function lastOf(page: KeyPage | undefined): string | undefined {
  return [page?.keys.at(-1), page?.directories.at(-1)].filter((key) => key !== undefined).sort().at(-1);
}
