/** A user name and a password. */
export interface BasicCredentials {
  readonly user: string;
  readonly password: string;
}

/** Longer headers are not looked at: no user's password is. */
const MAX_HEADER = 8 * 1024;

/**
 * Reads a Basic Authorization header.
 * @returns Undefined when it is another scheme's, malformed or oversized.
 * @see RFC 7617
 */
export function parseBasic(header: string | undefined): BasicCredentials | undefined {
  if (header === undefined || header.length > MAX_HEADER) return undefined;
  const match = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(header.trim());
  if (match === null) return undefined;
  const text = Buffer.from(match[1] ?? "", "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
