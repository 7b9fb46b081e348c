/** `127.0.0.1:5000`, `[::]:5000`. */
export function formatAddress(hostname: string, port: number): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/**
 * A peer's address as it is shown: IPv4 as such where a socket of IPv6 took it; `@` at a unix socket, and `?` for a client that has
 * gone before it was asked for its address, which is nobody whose word is taken.
 * @param address Undefined when the socket has none.
 */
export function peerAddress(address: string | undefined, net: "tcp" | "unix"): string {
  if (net === "unix") return "@";
  if (address === undefined || address === "") return "?";
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}
