import { RegistryError } from "../oci/errors.ts";

/**
 * Reads the `n` parameter of a list.
 * @returns Undefined when it is absent or empty.
 * @throws RegistryError PAGINATION_NUMBER_INVALID when it is no whole number, or negative.
 */
export function parseCount(text: string | null): number | undefined {
  if (text === null || text === "") return undefined;
  const count = /^[+-]?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RegistryError("PAGINATION_NUMBER_INVALID", { detail: { n: Number.isSafeInteger(count) ? count : text.slice(0, 64) } });
  }
  return count;
}

/** The `Link` header that names the next page: a path with its query, in the parameter order of distribution. */
export function nextLink(path: string, parameters: readonly (readonly [string, string])[]): string {
  const query = parameters.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
  return `<${path}?${query}>; rel="next"`;
}
