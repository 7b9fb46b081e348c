/** What terminals act on, and what changes the order in which text is shown, beside what JSON escapes. */
const UNPRINTABLE = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const EACH = new RegExp(UNPRINTABLE, "g");

/**
 * Escapes in JSON text, within whose strings alone it can stand, what would not be shown as it is: a client must not write what the
 * reader of a log does not see.
 */
export function printable(json: string): string {
  return UNPRINTABLE.test(json) ? json.replace(EACH, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`) : json;
}
