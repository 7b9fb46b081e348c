/**
 * The path of a request's URL, as it was sent. A URL cannot always be made of it: requests of HTTP/1.0 that name no host, as many
 * balancers' probes are, have a path alone, and others a host that is none.
 */
export function pathOf(url: string): string {
  const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
  if (start < 0) return "/";
  const question = url.indexOf("?", start);
  return question < 0 ? url.slice(start) : url.slice(start, question);
}
