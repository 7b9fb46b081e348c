/** A user name and a password. */
export interface BasicCredentials {
  readonly user: string;
  /** As it came: passwords are bytes, not text. */
  readonly password: Uint8Array;
}

/** Longer headers are not looked at: no user's password is. */
const MAX_HEADER_CHARACTERS = 8 * 1024;

/**
 * Reads a Basic Authorization header.
 * @returns Undefined when it is another scheme's, malformed or oversized.
 * @see RFC 7617
 */
export function parseBasic(header: string | undefined): BasicCredentials | undefined {
  if (header === undefined || header.length > MAX_HEADER_CHARACTERS) return undefined;
  const text = /^basic +((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/i.exec(header)?.[1];
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, "base64");
  const colon = bytes.indexOf(":");
  return colon < 0 ? undefined : { user: bytes.toString("utf8", 0, colon), password: bytes.subarray(colon + 1) };
}

/** Reads a Bearer Authorization header. @returns The token, unchecked; undefined when it is another scheme's. */
export function parseBearer(header: string | undefined): string | undefined {
  return header === undefined ? undefined : /^bearer (.*)$/is.exec(header)?.[1];
}
