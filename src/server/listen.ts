import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { createConnection } from "node:net";
import type { Peer } from "../http/context.ts";
import { formatAddress, peerAddress } from "./addresses.ts";
import type { AlpnChallenges } from "./acme/alpn-challenges.ts";
import type { InheritedSocket } from "./inherited-socket.ts";
import { ListeningSockets } from "./listening-sockets.ts";
import { LongRequests, requestTime } from "./long-requests.ts";
import { bunTlsOptions } from "./tls.ts";
import { ChallengeFront } from "./tls-front-challenge.ts";
import { type FrontPurpose, TlsFront } from "./tls-front.ts";

/** Where to listen. */
export type ListenAddress =
  | { readonly net: "tcp"; /** Undefined: every address, IPv6 and IPv4. */ readonly hostname: string | undefined; readonly port: number }
  | { readonly net: "unix"; readonly path: string; /** Permission bits of the socket file. */ readonly mode: number };

/** What TLS needs, all of it in PEM text. */
export interface TlsMaterial {
  readonly certificate: string;
  readonly key: string;
  readonly clientCas: readonly string[];
  /** Ask for a client certificate. */
  readonly requestCertificate: boolean;
  /** Refuse clients without an acceptable one. */
  readonly rejectUnauthorized: boolean;
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  /** OpenSSL cipher list; undefined for the default. */
  readonly ciphers: string | undefined;
  /** What is done with clients' certificates, where that is more than Bun's HTTP server can see to; TLS then ends in a front before it. */
  readonly front: FrontPurpose | undefined;
}

/** How to listen. */
export interface ListenOptions {
  readonly address: ListenAddress;
  /** What is listened on instead of the address. */
  readonly inherited?: InheritedSocket | undefined;
  /** Whether other processes may listen on the same port. */
  readonly reusePort?: boolean;
  readonly tls: TlsMaterial | undefined;
  /** Challenges that an authority asks for on the same port just now; only with TLS. */
  readonly challenges?: AlpnChallenges | undefined;
  /** Who connects, where all connections come from a front on this machine. */
  readonly origin?: Origin;
  /** HTTP/2: by ALPN under TLS, by prior knowledge without. */
  readonly http2: boolean;
  /** How long a connection may be idle between requests; at most 255. */
  readonly idleTimeoutSeconds: number;
  /** @param pending Requests being served, this one included. */
  readonly handle: (request: Request, peer: Peer, pending: number) => Promise<Response>;
  /** Answers what broke while an answer was being sent; the connection's last resort. */
  readonly failed: (error: Error) => Response;
}

/** Says who is behind a connection that comes from a port of 127.0.0.1; undefined when nobody is to be served there. */
export type Origin = (port: number | undefined) => string | undefined;

/** A listener that runs. */
export interface Listener {
  /** `127.0.0.1:5000`, `[::]:5000`, or the path of a socket. */
  readonly address: string;
  /** Requests being served. */
  readonly pending: () => number;
  /** Stops listening; `graceful` leaves the requests under way alone and resolves when the last is done. */
  stop(graceful: boolean): Promise<void>;
}

const LOOPBACK = "127.0.0.1";
/** The largest body is bounded by the store, not by the server. */
const NO_BODY_LIMIT = Number.MAX_SAFE_INTEGER;

/**
 * Reads `http.addr`: `:5000`, `127.0.0.1:5000`, `[::1]:5000`, `registry.internal:5000`, or nothing for any port on all addresses.
 * @throws Error naming what was expected.
 */
export function parseAddress(text: string): Extract<ListenAddress, { net: "tcp" }> {
  if (text === "") return { net: "tcp", hostname: undefined, port: 0 };
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) throw new Error(`found ${JSON.stringify(text)}, expected host:port, :port or [ipv6]:port`);
  const hostname = match[1] ?? match[2] ?? "";
  return { net: "tcp", hostname: hostname === "" ? undefined : hostname, port };
}

/** Starts to listen. @throws Error that names the address when it cannot. */
export async function listen(options: ListenOptions): Promise<Listener> {
  if (options.inherited !== undefined) return await listenOnInherited(options, options.inherited);
  if (options.challenges !== undefined) return await listenBehindChallenges(options, options.challenges);
  if (options.tls?.front !== undefined) return await listenBehindFront(options, options.tls, options.tls.front);
  const server = await bind(options.address, options.tls !== undefined || options.reusePort === true, (place) => serve(options, place));
  return listenerOf(server, options.address.net === "unix" ? options.address.path : formatAddress(server.hostname ?? "", server.port ?? options.address.port));
}

// Bun makes its sockets itself. So it gets to make one, whose place the other one then takes.
async function listenOnInherited(options: ListenOptions, inherited: InheritedSocket): Promise<Listener> {
  const listener = await listen({ ...options, inherited: undefined, address: { net: "tcp", hostname: LOOPBACK, port: 0 } });
  try {
    ListeningSockets.find({ port: parseAddress(listener.address).port }).replaceBy(inherited.descriptor);
    return { ...listener, address: inherited.address };
  } catch (error) {
    await listener.stop(false);
    throw error;
  }
}

async function listenBehindChallenges(options: ListenOptions, challenges: AlpnChallenges): Promise<Listener> {
  const front = new ChallengeFront(challenges);
  const inner = await listen({ ...options, challenges: undefined, address: { net: "tcp", hostname: LOOPBACK, port: 0 }, origin: (port) => front.originOf(port) });
  try {
    const { port } = parseAddress(inner.address);
    const address = await bind(options.address, true, (place) => front.listen(place, port));
    return behind(front, inner, address);
  } catch (error) {
    await inner.stop(false);
    throw error;
  }
}

async function listenBehindFront(options: ListenOptions, tls: TlsMaterial, purpose: FrontPurpose): Promise<Listener> {
  let front: TlsFront | undefined;
  const server = serve({ ...options, tls: undefined }, { hostname: LOOPBACK, port: 0, reusePort: false }, (request) => {
    const known = front?.peerOf(server.requestIP(request)?.port);
    return known === undefined ? undefined : { address: known.address, scheme: "https", ...(known.certificate === undefined ? {} : { certificate: known.certificate }) };
  });
  try {
    const opened = await TlsFront.open({ ...purpose, tls, http2: options.http2, applicationPort: server.port ?? 0, origin: options.origin });
    front = opened;
    const address = await bind(options.address, true, (place) => opened.listen(place));
    return behind(opened, listenerOf(server, address), address);
  } catch (error) {
    await server.stop(true);
    throw error;
  }
}

function behind(front: Pick<TlsFront, "close" | "closed" | "terminate">, inner: Listener, address: string): Listener {
  return {
    address,
    pending: () => inner.pending(),
    async stop(graceful) {
      if (graceful) await front.close();
      else front.terminate();
      await inner.stop(graceful);
      await front.closed();
    },
  };
}

/** Binds a place; on all addresses where none is named. */
async function bind<Bound>(address: ListenAddress, shared: boolean, start: (place: Place) => Bound): Promise<Bound> {
  if (address.net === "unix") {
    await removeStaleSocket(address.path);
    const bound = atPlace(start, { unix: address.path });
    chmodSync(address.path, address.mode);
    return bound;
  }
  // A certificate is swapped by a second listener on the same port: Bun ignores new TLS material in `reload`.
  const common = { port: address.port, reusePort: shared };
  if (address.hostname !== undefined) return atPlace(start, { ...common, hostname: address.hostname });
  try {
    return atPlace(start, { ...common, hostname: "::" });
  } catch (error) {
    if (isInUse(error)) throw error;
    // No IPv6 on this machine.
    return atPlace(start, { ...common, hostname: "0.0.0.0" });
  }
}

function atPlace<Bound>(start: (place: Place) => Bound, place: Place): Bound {
  try {
    return start(place);
  } catch (error) {
    const where = "unix" in place ? place.unix : formatAddress(place.hostname, place.port);
    throw new Error(`cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Where a socket is bound. */
export type Place = { readonly unix: string } | { readonly hostname: string; readonly port: number; readonly reusePort: boolean };

/** Says who a request comes from; undefined for who is not to be answered. */
type PeerOf = (request: Request, server: Bun.Server<undefined>) => Peer | undefined;

function serve(options: ListenOptions, place: Place, peerOf: PeerOf = socketPeer(options)): Bun.Server<undefined> {
  let long: LongRequests | undefined;
  const base = {
    development: false as const,
    maxRequestBodySize: NO_BODY_LIMIT,
    ...(options.tls === undefined ? {} : { tls: bunTlsOptions(options.tls) }),
    error: options.failed,
    fetch(request: Request, server: Bun.Server<undefined>): Promise<Response> {
      const peer = peerOf(request, server);
      if (peer === undefined) return Promise.resolve(new Response(null, { status: 403, headers: { Connection: "close" } }));
      // Bodies have a watch of their own, and layers take as long as they take.
      if (request.body !== null || (request.method === "GET" && request.url.includes("/blobs/"))) (long ??= new LongRequests(server, requestTime(options.idleTimeoutSeconds))).add(request);
      return options.handle(request, peer, server.pendingRequests);
    },
  };
  return "unix" in place ? Bun.serve({ ...base, unix: place.unix }) : Bun.serve({ ...base, ...place, idleTimeout: options.idleTimeoutSeconds, http2: options.http2 });
}

function socketPeer(options: ListenOptions): PeerOf {
  const scheme = options.tls === undefined ? "http" : "https";
  const { origin } = options;
  const { net } = options.address;
  if (origin === undefined) return (request, server) => ({ address: peerAddress(server.requestIP(request)?.address, net), scheme });
  return (request, server) => {
    const address = origin(server.requestIP(request)?.port);
    return address === undefined ? undefined : { address, scheme };
  };
}

function listenerOf(server: Bun.Server<undefined>, address: string): Listener {
  return {
    address,
    pending: () => server.pendingRequests,
    stop: async (graceful) => await server.stop(!graceful),
  };
}

function isInUse(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "code" in cause && (cause.code === "EADDRINUSE" || cause.code === "EACCES");
}

/** A socket file that nobody answers on is left over from a crash; anything else under that name is not ours to remove. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`file ${path} exists and is not a socket`);
  if (await answers(path)) throw new Error(`cannot listen on ${path}: another process listens there`);
  unlinkSync(path);
}

async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
