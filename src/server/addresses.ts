/** `127.0.0.1:5000`, `[::]:5000`. */
export function formatAddress(hostname: string, port: number): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/** A socket's address as it is shown: `@` for a unix socket, and IPv4 as such where a socket of IPv6 took it. */
export function plainAddress(address: string): string {
  if (address === "") return "@";
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}
