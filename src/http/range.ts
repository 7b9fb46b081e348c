/** A part of a representation, both ends included. */
export interface ResolvedRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Resolves a `Range` header against a length.
 * @returns The part; undefined when the header is to be ignored (another unit, several ranges, not understood);
 *   "unsatisfiable" when no byte of it exists.
 * @see RFC 9110, section 14
 */
export function resolveRange(header: string, sizeBytes: number): ResolvedRange | "unsatisfiable" | undefined {
  // Nothing in it matches the same blanks in two ways: a long row of them would be tried in every split.
  const match = /^bytes=\s*(?:(\d+)\s*)?-\s*(?:(\d+)\s*)?$/.exec(header);
  if (match === null) {
    // Several ranges may be answered with the whole; a `bytes` range that is no range is refused, as distribution does.
    return /^bytes=/.test(header) && !header.includes(",") ? "unsatisfiable" : undefined;
  }
  const first = match[1] ?? "";
  const last = match[2] ?? "";
  if (first === "" && last === "") return "unsatisfiable";
  if (first === "") {
    const suffix = Number(last);
    if (suffix === 0 || sizeBytes === 0) return "unsatisfiable";
    return { start: Math.max(0, sizeBytes - suffix), end: sizeBytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (start >= sizeBytes || (last !== "" && Number(last) < start)) return "unsatisfiable";
  return { start, end };
}

/**
 * Parses the `Content-Range` of an upload's chunk: `0-1023`, and leniently `bytes 0-1023/2048`.
 * @returns Undefined when it is malformed.
 * @see OCI distribution-spec, "Pushing a blob in chunks"
 */
export function parseContentRange(header: string): ResolvedRange | undefined {
  const match = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d{1,15}|\*))?$/.exec(header.trim());
  if (match === null) return undefined;
  return { start: Number(match[1]), end: Number(match[2]) };
}
