import { isIP } from "node:net";
import type { Digest } from "../oci/digest.ts";
import { parseForwarded } from "./forwarded.ts";

/** How the URLs that we hand out are made. */
export interface UrlOptions {
  /** `http.host`: scheme and host, and perhaps a path, that clients reach us at; undefined: what the request says. */
  readonly host: URL | undefined;
  /** Paths instead of absolute URLs, unless `host` is set. */
  readonly relative: boolean;
  /** `""`, or the path before `/v2/`: `/my/reg`. */
  readonly prefix: string;
}

/** Makes the URLs that we hand out in one request. */
export class UrlBuilder {
  readonly #base: string;

  /** @param base Everything before `/v2/`: `https://registry.example/my/reg`, or a path, or nothing. */
  constructor(base: string) {
    this.#base = base;
  }

  blob(name: string, digest: Digest): string {
    return `${this.#base}/v2/${name}/blobs/${digest}`;
  }

  manifest(name: string, digest: Digest): string {
    return `${this.#base}/v2/${name}/manifests/${digest}`;
  }

  upload(name: string, id: string, state: string): string {
    return `${this.#base}/v2/${name}/blobs/uploads/${id}?_state=${encodeURIComponent(state)}`;
  }
}

/** Builds the URL builder for a request. */
export function urlBuilder(request: Request, peerScheme: string, options: UrlOptions): UrlBuilder {
  if (options.host !== undefined) return new UrlBuilder(configuredBase(options.host));
  if (options.relative) return new UrlBuilder(options.prefix);
  const origin = requestOrigin(request, peerScheme);
  return new UrlBuilder(`${origin.scheme}://${origin.host}${options.prefix}`);
}

/** Scheme and host as the client sees them, through the proxies that say so. */
export function requestOrigin(request: Request, peerScheme: string): { readonly scheme: string; readonly host: string } {
  const headers = request.headers;
  let scheme = peerScheme;
  let host = headers.get("host") ?? "";
  const forwarded = headers.get("forwarded");
  if (forwarded !== null) {
    const first = parseForwarded(forwarded);
    if (first?.proto !== undefined && isScheme(first.proto)) scheme = first.proto;
    if (first?.host !== undefined && isHost(first.host)) host = first.host;
    return { scheme, host };
  }
  const proto = headers.get("x-forwarded-proto")?.trim();
  if (proto !== undefined && isScheme(proto)) scheme = proto;
  const forwardedHost = headers.get("x-forwarded-host")?.split(",", 1)[0]?.trim();
  if (forwardedHost !== undefined && isHost(forwardedHost)) host = forwardedHost;
  return { scheme, host };
}

/** The client's address: the first of `X-Forwarded-For`, else `X-Real-Ip`, when they are addresses; else the socket's. */
export function clientAddress(request: Request, peerAddress: string): string {
  const forwardedFor = request.headers.get("x-forwarded-for");
  if (forwardedFor !== null) {
    const first = forwardedFor.split(",", 1)[0]?.trim() ?? "";
    if (isIP(first) !== 0) return first;
  }
  const real = request.headers.get("x-real-ip")?.trim();
  return real !== undefined && isIP(real) !== 0 ? real : peerAddress;
}

/** What comes before `/v2/` by `http.host`. A path in it is resolved like a base URL: `https://h/a/b` stands for `https://h/a/`. */
export function configuredBase(host: URL): string {
  return new URL(".", host).href.replace(/\/$/, "");
}

function isScheme(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9+.-]*$/.test(text);
}

// What a proxy says goes into `Location`: nothing that could end the authority part or the header.
function isHost(text: string): boolean {
  return /^[A-Za-z0-9._~:[\]-]+$/.test(text);
}
