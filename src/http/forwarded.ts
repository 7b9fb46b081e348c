/** What the first element of a `Forwarded` header says. */
export interface Forwarded {
  readonly proto: string | undefined;
  readonly host: string | undefined;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * Parses the first element of a `Forwarded` header.
 * @returns Undefined when the header is malformed: nothing in it is believed then.
 * @see RFC 7239, section 4
 */
export function parseForwarded(header: string): Forwarded | undefined {
  const pairs = new Map<string, string>();
  let position = skipSpace(header, 0);
  while (position < header.length && header[position] !== ",") {
    const equals = header.indexOf("=", position);
    if (equals < 0) return undefined;
    const name = header.slice(position, equals).toLowerCase();
    if (!TOKEN.test(name) || pairs.has(name)) return undefined;
    const value = readValue(header, equals + 1);
    if (value === undefined) return undefined;
    pairs.set(name, value.text);
    position = skipSpace(header, value.end);
    const separator = header[position];
    if (separator === undefined || separator === ",") break;
    if (separator !== ";") return undefined;
    position = skipSpace(header, position + 1);
  }
  return { proto: pairs.get("proto"), host: pairs.get("host") };
}

function readValue(header: string, start: number): { readonly text: string; readonly end: number } | undefined {
  if (header[start] !== '"') {
    let end = start;
    // Distribution is as liberal: hosts with ports are common unquoted, against the grammar.
    while (end < header.length && !";, \t".includes(header.charAt(end))) end++;
    const text = header.slice(start, end);
    return /^[!#$%&'*+.^_`|~0-9A-Za-z:[\]-]+$/.test(text) ? { text, end } : undefined;
  }
  let text = "";
  for (let i = start + 1; i < header.length; i++) {
    const c = header.charAt(i);
    if (c === '"') return { text, end: i + 1 };
    if (c === "\\") i++;
    text += header.charAt(i);
  }
  return undefined;
}

function skipSpace(text: string, position: number): number {
  let i = position;
  while (text[i] === " " || text[i] === "\t") i++;
  return i;
}
