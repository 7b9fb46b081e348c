/**
 * Whether an `If-None-Match` or `If-Match` header names a representation. Quoted, weak and unquoted forms are taken alike:
 * a digest is content itself, and clients exist that leave the quotes away.
 * @see RFC 9110, section 13.1
 */
export function matchesEtag(header: string, digest: string): boolean {
  if (header === `"${digest}"` || header === digest) return true;
  return header.split(",").some((part) => {
    const tag = part.trim().replace(/^W\//, "");
    return tag === "*" || tag === digest || tag === `"${digest}"`;
  });
}
