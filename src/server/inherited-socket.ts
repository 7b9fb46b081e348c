import { formatAddress } from "./addresses.ts";
import { openCLibrary } from "../lib/c-library.ts";
import type { SocketName } from "./listening-sockets.ts";

/** A socket that somebody else made, and that listens already. */
export interface InheritedSocket {
  readonly descriptor: number;
  /** `127.0.0.1:5000`, `[::]:5000`, or a path. */
  readonly address: string;
  readonly name: SocketName;
  /** Sockets that came with it, and that nobody asks for. */
  readonly others: number;
}

const FIRST_DESCRIPTOR = 3;
const SYMBOLS = {
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
} as const;

/** Numbers of Linux. */
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const FD_CLOEXEC = 1;
const O_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const AF_INET = 2;
const AF_INET6 = 10;

/**
 * The socket that systemd (or whoever else speaks its protocol) made for this process, the first one if there are several.
 * @returns Undefined when there is none.
 * @throws Error when there is one that does not listen
 * @see sd_listen_fds(3)
 */
export function inheritedSocket(env: Readonly<Record<string, string | undefined>>): InheritedSocket | undefined {
  // The variables reach children, which have no such sockets.
  if (env["LISTEN_PID"] !== String(process.pid)) return undefined;
  const count = Number(env["LISTEN_FDS"]);
  if (!Number.isInteger(count) || count < 1) return undefined;
  const { symbols } = openCLibrary(SYMBOLS);
  const descriptor = FIRST_DESCRIPTOR;
  const accepts = new Int32Array(1);
  if (symbols.getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, accepts, new Uint32Array([accepts.byteLength])) !== 0 || accepts[0] !== 1) {
    throw new Error("LISTEN_FDS: the first socket does not listen; expected a stream socket, and Accept=no");
  }
  const bytes = Buffer.alloc(128);
  const length = new Uint32Array([bytes.length]);
  symbols.getsockname(descriptor, bytes, length);
  // Bun accepts until nobody waits any more, which must not make it wait.
  symbols.fcntl(descriptor, F_SETFL, symbols.fcntl(descriptor, F_GETFL, 0) | O_NONBLOCK);
  symbols.fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  return { descriptor, ...readAddress(bytes.subarray(0, length[0])), others: count - 1 };
}

/** Reads a `sockaddr`. */
function readAddress(bytes: Buffer): { readonly address: string; readonly name: SocketName } {
  const family = bytes.readUInt16LE(0);
  if (family !== AF_INET && family !== AF_INET6) {
    const path = bytes.toString("utf8", 2).replace(/\0$/, "");
    return { address: path, name: { path } };
  }
  const port = bytes.readUInt16BE(2);
  return { address: formatAddress(family === AF_INET ? bytes.subarray(4, 8).join(".") : ipv6(bytes.subarray(8, 24)), port), name: { port } };
}

/** In its short form. */
function ipv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}
