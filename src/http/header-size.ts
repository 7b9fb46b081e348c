import { MAX_HEADER_BYTES } from "./options.ts";

/** Around a header's name and value: a colon, a space and the end of the line. */
const BYTES_BETWEEN = 4;

/**
 * Whether a request's line and headers are longer than allowed.
 * @param limit In bytes. At the program's own bound nothing is counted: longer requests never get here.
 */
export function hasTooLongHeaders(request: Request, limit: number): boolean {
  if (limit >= MAX_HEADER_BYTES) return false;
  let bytes = request.method.length + request.url.length;
  for (const [name, value] of request.headers) bytes += name.length + value.length + BYTES_BETWEEN;
  return bytes > limit;
}
