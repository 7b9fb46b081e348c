/** A quoted-string of HTTP. @see RFC 9110, section 5.6.4 */
export function quote(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&").replace(/[\r\n]/g, " ")}"`;
}
