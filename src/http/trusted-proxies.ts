import { BlockList, isIP } from "node:net";

const PREFIX_BITS = { 4: 32, 6: 128 } as const;

/** Proxies whose word about their clients' addresses is taken. */
export class TrustedProxies {
  readonly #ranges = new BlockList();

  /** @param ranges As `isAddressRange` takes them. */
  constructor(ranges: readonly string[]) {
    for (const range of ranges) {
      const [address = "", bits] = range.split("/");
      const version = isIP(address) === 6 ? 6 : 4;
      this.#ranges.addSubnet(address, bits === undefined ? PREFIX_BITS[version] : Number(bits), version === 6 ? "ipv6" : "ipv4");
    }
  }

  /**
   * The address that a request comes from, as far as it can be believed: the last one that no trusted proxy has. Whoever connects may
   * send any headers; what stands in `X-Forwarded-For` before the word of a trusted proxy is the client's own.
   * @param peerAddress The socket's address; `@` for a unix socket, at whose other end is a proxy.
   */
  clientOf(headers: Pick<Headers, "get">, peerAddress: string): string {
    const forwardedFor = headers.get("x-forwarded-for");
    if (forwardedFor === null) return this.#realClient(headers, peerAddress);
    let client = peerAddress;
    for (const next of forwardedFor.split(",").reverse()) {
      if (!this.#trusts(client)) break;
      const address = plainAddress(next.trim());
      if (isIP(address) === 0) break;
      client = address;
    }
    return client;
  }

  #realClient(headers: Pick<Headers, "get">, peerAddress: string): string {
    const real = headers.get("x-real-ip");
    if (real === null || !this.#trusts(peerAddress)) return peerAddress;
    const address = plainAddress(real.trim());
    return isIP(address) === 0 ? peerAddress : address;
  }

  #trusts(address: string): boolean {
    if (address === "@") return true;
    const version = isIP(address);
    return version !== 0 && this.#ranges.check(address, version === 6 ? "ipv6" : "ipv4");
  }
}

/** Whether a text is an address or a range of them: `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`. */
export function isAddressRange(text: string): boolean {
  const [address = "", bits, ...more] = text.split("/");
  const version = isIP(address);
  if (version === 0 || address.includes("%") || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= PREFIX_BITS[version === 6 ? 6 : 4]);
}

/** Some proxies name the port, too. */
function plainAddress(text: string): string {
  return /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? /^\[([0-9A-Fa-f:.]+)\](?::\d+)?$/.exec(text)?.[1] ?? text;
}
