import { z } from "zod";

/*
 * The kinds of values that the configuration knows. Every field is lenient in what it reads, as the originals are (a number where a
 * text is wanted, a bare number of nanoseconds for a duration), and strict in what it makes of it.
 */

/** What the schema says of a field beside its type. */
export interface FieldNotes {
  /** Never shown, in no log and by no command. */
  readonly secret?: boolean;
  /** Known to distribution and without effect here; the text says why. */
  readonly inert?: string;
  /** Further names of the field in environment variables, upper case: distribution uses its own field names. */
  readonly envNames?: readonly string[];
  /** What a number or a text counts. */
  readonly unit?: "duration" | "bytes";
  /** The words that a field may be; under JSON Schema's name, so that editors offer them. */
  readonly enum?: readonly string[];
}

const NANOSECONDS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, "µs": 1e3, "μs": 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Reads a duration of Go: `1h30m`, `500ms`, `-1s`, `0`. @returns Milliseconds; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  const match = /^([+-]?)((?:\d+(?:\.\d*)?(?:ns|us|µs|μs|ms|s|m|h))+)$/.exec(text.trim());
  if (match === null) return /^[+-]?0$/.test(text.trim()) ? 0 : undefined;
  let nanoseconds = 0;
  for (const [, count, unit] of (match[2] ?? "").matchAll(/(\d+(?:\.\d*)?)(ns|us|µs|μs|ms|s|m|h)/g)) nanoseconds += Number(count) * (NANOSECONDS[unit ?? ""] ?? 0);
  return (match[1] === "-" ? -nanoseconds : nanoseconds) / 1e6;
}

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1e3, kb: 1e3, kib: 1024, m: 1e6, mb: 1e6, mib: 1024 ** 2, g: 1e9, gb: 1e9, gib: 1024 ** 3, t: 1e12, tb: 1e12, tib: 1024 ** 4 };

/** Reads a size: `10485760`, `10MiB`, `2GB`. @returns Bytes; undefined when it is none. */
export function parseByteSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  const unit = UNITS[(match?.[2] ?? "").toLowerCase()];
  return match === null || unit === undefined ? undefined : Math.round(Number(match[1]) * unit);
}

/** Text; numbers and booleans are taken for their text, as YAML reads `secret: 123`. */
export const text = () => z.union([z.string(), z.number(), z.boolean()], "expected a text").transform(String);

/** Text that is never shown. */
export const secret = () => text().meta({ secret: true } satisfies FieldNotes);

/** A yes or no; the texts that Go takes for one too. */
export const flag = () =>
  z.union([z.boolean(), z.enum(["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False", ""])], "expected true or false").transform((value) => value === true || /^(1|t)/i.test(String(value)));

/** A duration in milliseconds, read from Go's form or from nanoseconds. */
export const duration = (bounds: { readonly min?: number; readonly max?: number } = {}) =>
  z
    .union([z.string(), z.number()], "expected a duration like 30s, 10m or 168h")
    .transform((value, context) => {
      const ms = typeof value === "number" ? value / 1e6 : parseDuration(value);
      if (ms === undefined) return refuse(context, "expected a duration like 30s, 10m or 168h");
      if (bounds.min !== undefined && ms < bounds.min) return refuse(context, `expected a duration of at least ${bounds.min}ms`);
      if (bounds.max !== undefined && ms > bounds.max) return refuse(context, `expected a duration of at most ${bounds.max}ms`);
      return ms;
    })
    .meta({ unit: "duration" } satisfies FieldNotes);

/** A whole number, also as text. */
export const integer = (bounds: { readonly min?: number; readonly max?: number } = {}) =>
  z.union([z.number(), z.string()], "expected a whole number").transform((value, context) => {
    const number = typeof value === "number" ? value : /^[+-]?\d+$/.test(value.trim()) ? Number(value) : Number.NaN;
    if (!Number.isSafeInteger(number)) return refuse(context, "expected a whole number");
    if (bounds.min !== undefined && number < bounds.min) return refuse(context, `expected a whole number of at least ${bounds.min}`);
    if (bounds.max !== undefined && number > bounds.max) return refuse(context, `expected a whole number of at most ${bounds.max}`);
    return number;
  });

/** A size in bytes, also with a unit. */
export const byteSize = (bounds: { readonly min?: number; readonly max?: number } = {}) =>
  z
    .union([z.number(), z.string()], "expected a number of bytes, or a size like 10MiB")
    .transform((value, context) => {
      const bytes = typeof value === "number" ? value : parseByteSize(value);
      if (bytes === undefined || !Number.isSafeInteger(bytes)) return refuse(context, "expected a number of bytes, or a size like 10MiB");
      if (bounds.min !== undefined && bytes < bounds.min) return refuse(context, `expected at least ${bounds.min} bytes`);
      if (bounds.max !== undefined && bytes > bounds.max) return refuse(context, `expected at most ${bounds.max} bytes`);
      return bytes;
    })
    .meta({ unit: "bytes" } satisfies FieldNotes);

/** One of a few words. @param fold Whether case does not matter. */
export const choice = <const T extends readonly [string, ...string[]]>(words: T, fold = false) =>
  text()
    .transform((value, context): T[number] => {
      const word = fold ? value.toLowerCase() : value;
      if (!words.includes(word)) return refuse(context, `expected one of ${words.join(", ")}`);
      return word;
    })
    .meta({ enum: words } satisfies FieldNotes);

/** A list of texts. */
export const texts = () => z.array(text(), "expected a list of texts");

/** Headers: a list of values for each name; a single value is taken for a list of one. */
export const headers = () =>
  z.record(z.string(), z.union([z.array(text()), text().transform((value) => [value])], "expected a list of texts"), "expected header names with lists of values");

/** An absolute URL of one of some schemes. */
export const url = (schemes: readonly string[] = ["http", "https"]) =>
  text().transform((value, context) => {
    const parsed = URL.canParse(value) ? new URL(value) : undefined;
    if (parsed === undefined || !schemes.includes(parsed.protocol.slice(0, -1)) || parsed.hostname === "") return refuse(context, `expected a URL that begins with ${schemes.map((scheme) => `${scheme}://`).join(" or ")}`);
    return value;
  });

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: "custom", message });
  return z.NEVER;
}
