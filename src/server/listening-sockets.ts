import { readdirSync, readFileSync, statSync } from "node:fs";
import { openCLibrary } from "../lib/c-library.ts";

const DESCRIPTORS = "/proc/self/fd";
const SYMBOLS = {
  dup3: { args: ["i32", "i32", "i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
} as const;

/** Numbers of Linux, the same on x86-64 and arm64. */
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_MOD = 3;
const EPOLLIN = 1;
const EPOLLONESHOT = 1 << 30;
const O_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SO_COOKIE = 57;
const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
/** Where a `sockaddr` holds the path of a socket, or the port. */
const NAME_OFFSET = 2;
/** `struct epoll_event` has no padding, on x86-64 alone. */
const EVENT_DATA_OFFSET = process.arch === "x64" ? 4 : 8;

/** The most that a signed number of 32 bits holds. */
const LONGEST_STALL_MS = 0x7fff_ffff;

/** How many clients the kernel keeps for who listens; what Bun asks for. */
const LONGEST_QUEUE = 512;

type Library = ReturnType<typeof openCLibrary<typeof SYMBOLS>>["symbols"];

/** A port, or a path. */
type BoundName = number | Buffer;

/** A socket, where it stands in the loop of events, and what tells it from a later one under the same number. */
interface Listening {
  readonly descriptor: number;
  readonly cookie: bigint;
  readonly loop: number;
  readonly data: bigint;
}

/** Who is let in: everybody who comes; nobody; or those who wait at the moment, and nobody more until it is said again. */
export type Admission = "all" | "none" | "once";

/** What a socket is bound to. */
export type SocketName = { readonly port: number } | { readonly path: string };

/**
 * The sockets of this process that listen at one address, and the connections that they accepted; on Linux.
 *
 * Bun accepts whoever comes and tells nobody. But it learns from an epoll that somebody came, and there a socket can be muted and heard
 * again: meanwhile clients wait in the kernel's queue, as they do for any server that is busy.
 */
export class ListeningSockets {
  readonly #library: Library;
  readonly #name: BoundName;
  readonly #sockets: readonly Listening[];
  readonly #buffers = new SocketBuffers();
  #admission: Admission = "all";
  #queue = LONGEST_QUEUE;

  private constructor(library: Library, name: BoundName, sockets: readonly Listening[]) {
    this.#library = library;
    this.#name = name;
    this.#sockets = sockets;
  }

  /**
   * Finds them.
   * @param except Sockets that are not meant: those of an older listener that is still there.
   * @throws Error when that cannot be done, as on other systems than Linux
   */
  static find(name: SocketName, except?: ListeningSockets): ListeningSockets {
    if (process.platform !== "linux") throw new Error("only Linux lets a process mute what it listens on");
    const { symbols } = openCLibrary(SYMBOLS);
    const buffers = new SocketBuffers();
    const bound = "path" in name ? Buffer.from(name.path) : name.port;
    const descriptors = readdirSync(DESCRIPTORS).map(Number);
    const listening = descriptors.filter((descriptor) => buffers.isListening(symbols, descriptor) && buffers.isNamed(symbols, descriptor, bound));
    const sockets = loopsOf(descriptors)
      .flatMap(({ loop, watched }) => watched.map((entry) => ({ ...entry, loop, cookie: buffers.cookieOf(symbols, entry.descriptor) })))
      .filter(({ descriptor, cookie }) => listening.includes(descriptor) && except?.has(descriptor, cookie) !== true);
    if (sockets.length === 0) throw new Error(`what listens is not in a loop of events of this process`);
    return new ListeningSockets(symbols, bound, sockets);
  }

  /** Lets clients in. Cheap when nothing changes. @param queue How many may wait in the kernel meanwhile. */
  admit(admission: Admission, queue: number = LONGEST_QUEUE): void {
    const isSame = admission !== "once" && admission === this.#admission;
    if (isSame && queue === this.#queue) return;
    for (const socket of this.#sockets) {
      // Closed meanwhile: its number may be another's.
      if (this.#buffers.cookieOf(this.#library, socket.descriptor) !== socket.cookie) continue;
      // Asking again only changes the length of the queue. It comes first: whoever waits in it is accepted at once.
      if (queue !== this.#queue) this.#library.listen(socket.descriptor, queue);
      if (!isSame) this.#library.epoll_ctl(socket.loop, EPOLL_CTL_MOD, socket.descriptor, this.#buffers.event(eventsFor(admission), socket.data));
    }
    this.#admission = admission;
    this.#queue = queue;
  }

  /**
   * Has connections reset that do not take what is sent to them for so long, however alive they are; those that are accepted from now
   * on. Nothing happens on unix sockets.
   */
  resetStalled(afterMs: number): void {
    const value = new Uint32Array([Math.min(afterMs, LONGEST_STALL_MS)]);
    for (const { descriptor } of this.#sockets) this.#library.setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, value, value.byteLength);
  }

  /**
   * Puts another socket that listens in the place of these, which are closed; whoever listened there hears of the other one's clients
   * from now on. For nothing else afterwards.
   * @param descriptor Stays open.
   * @throws Error when it cannot be done
   */
  replaceBy(descriptor: number): void {
    for (const socket of this.#sockets) {
      const isReplaced = this.#library.dup3(descriptor, socket.descriptor, O_CLOEXEC) === socket.descriptor;
      const isHeard = isReplaced && this.#library.epoll_ctl(socket.loop, EPOLL_CTL_ADD, socket.descriptor, this.#buffers.event(eventsFor("all"), socket.data)) === 0;
      if (!isHeard) throw new Error(`descriptor ${descriptor} cannot be listened on`);
    }
  }

  /** Whether a socket is one of them. */
  has(descriptor: number, cookie: bigint): boolean {
    return this.#sockets.some((socket) => socket.descriptor === descriptor && socket.cookie === cookie);
  }

  /** Counts the connections that were accepted and are not closed yet. Takes about a microsecond for each open file. */
  connections(): number {
    const size = descriptorTableSize();
    let count = 0;
    for (let descriptor = 0; descriptor < size; descriptor++) {
      if (this.#buffers.isNamed(this.#library, descriptor, this.#name) && !this.#buffers.isListening(this.#library, descriptor)) count++;
    }
    return count;
  }
}

/** How many files and sockets this process has open. */
export function openDescriptors(): number {
  // Told by the size since Linux 6.2.
  const { size } = statSync(DESCRIPTORS);
  return size > 0 ? size : readdirSync(DESCRIPTORS).length;
}

/** How many files and sockets this process may open; undefined where the system does not tell. */
export function mostDescriptors(): number | undefined {
  const match = /^Max open files\s+(\d+)/m.exec(readIfAny("/proc/self/limits"));
  return match === null ? undefined : Number(match[1]);
}

/** What is handed to the kernel, and filled by it; made once, because connections are counted many at a time. */
class SocketBuffers {
  readonly #address = Buffer.alloc(128);
  readonly #length = new Uint32Array(1);
  readonly #number = new Int32Array(1);
  readonly #cookie = new BigUint64Array(1);
  readonly #event = new DataView(new ArrayBuffer(16));
  readonly #eventBytes = new Uint8Array(this.#event.buffer);

  isListening(library: Library, descriptor: number): boolean {
    this.#length[0] = 4;
    return library.getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, this.#number, this.#length) === 0 && this.#number[0] === 1;
  }

  cookieOf(library: Library, descriptor: number): bigint {
    this.#length[0] = 8;
    const failed = library.getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, this.#cookie, this.#length) !== 0;
    return failed ? 0n : (this.#cookie[0] ?? 0n);
  }

  /** Whether a descriptor is a socket under this name, ours and not its peer's. */
  isNamed(library: Library, descriptor: number, name: BoundName): boolean {
    this.#length[0] = this.#address.length;
    if (library.getsockname(descriptor, this.#address, this.#length) !== 0) return false;
    const family = this.#address.readUInt16LE(0);
    if (typeof name === "number") return (family === AF_INET || family === AF_INET6) && this.#address.readUInt16BE(NAME_OFFSET) === name;
    // The kernel adds a zero.
    return family === AF_UNIX && this.#address.subarray(NAME_OFFSET, (this.#length[0] ?? 0) - 1).equals(name);
  }

  event(events: number, data: bigint): Uint8Array {
    this.#event.setUint32(0, events, true);
    this.#event.setBigUint64(EVENT_DATA_OFFSET, data, true);
    return this.#eventBytes;
  }
}

function eventsFor(admission: Admission): number {
  if (admission === "all") return EPOLLIN;
  return admission === "none" ? 0 : EPOLLIN | EPOLLONESHOT;
}

interface Loop {
  readonly loop: number;
  readonly watched: readonly { readonly descriptor: number; readonly data: bigint }[];
}

/** The loops of events, and what they are told of. */
function loopsOf(descriptors: readonly number[]): readonly Loop[] {
  return descriptors.map((loop) => ({
    loop,
    watched: [...readIfAny(`/proc/self/fdinfo/${loop}`).matchAll(/^tfd:\s*(\d+) events:\s*[0-9a-f]+ data:\s*([0-9a-f]+)/gm)].map(([, descriptor, data]) => ({ descriptor: Number(descriptor), data: BigInt(`0x${data ?? "0"}`) })),
  }));
}

/** Nothing of what there is not: another system's files, or a descriptor that was closed since its folder was read. */
function readIfAny(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** All descriptors are below it. */
function descriptorTableSize(): number {
  return Number(/^FDSize:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0);
}
