/**
 * Whether a client that sent this `Accept` header takes a media type. A missing header and wildcards take everything.
 * @see RFC 9110, section 12.5.1
 */
export function accepts(header: string | null, mediaType: string): boolean {
  if (header === null || header === "" || header.includes(mediaType)) return true;
  const slash = mediaType.indexOf("/");
  const family = `${mediaType.slice(0, slash)}/*`;
  return header.split(",").some((part) => {
    const type = (part.split(";", 1)[0] ?? "").trim().toLowerCase();
    return type === "*/*" || type === "*" || type === family || type === mediaType;
  });
}
