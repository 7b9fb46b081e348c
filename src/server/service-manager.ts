import { ptr } from "bun:ffi";
import { openCLibrary } from "../lib/c-library.ts";

/** What a service manager is told: that the service is ready, that it reads its files again, that it is ending. */
export type ServiceState = "READY=1" | "RELOADING=1" | "STOPPING=1";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
/** Where `sun_path` begins, and how long it may be. */
const PATH_OFFSET = 2;
const PATH_BYTES = 108;

/**
 * Tells systemd (or whoever else speaks its protocol) how the service is.
 * Through the C library, because Bun and Node have no datagram sockets in the file system.
 * @param socket The value of NOTIFY_SOCKET; undefined: nobody wants to know, and nothing happens. `@` begins an abstract name.
 * @throws Error when the message cannot be sent.
 * @see sd_notify(3)
 */
export function notifyServiceManager(socket: string | undefined, state: ServiceState): void {
  if (socket === undefined || socket === "") return;
  const library = openCLibrary(SYMBOLS);
  try {
    const address = addressOf(socket);
    const message = Buffer.from(state);
    const descriptor = library.symbols.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) throw new Error(`NOTIFY_SOCKET ${socket}: cannot make a socket`);
    const sent = library.symbols.sendto(descriptor, ptr(message), BigInt(message.length), 0, ptr(address), address.length);
    library.symbols.close(descriptor);
    if (Number(sent) !== message.length) throw new Error(`NOTIFY_SOCKET ${socket}: cannot send to it`);
  } finally {
    library.close();
  }
}

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
} as const;

/** A `sockaddr_un`, as long as its name: the kernel takes every byte of an abstract name as part of it. */
function addressOf(socket: string): Buffer {
  const name = Buffer.from(socket);
  if (name.length >= PATH_BYTES) throw new Error(`NOTIFY_SOCKET ${socket}: longer than ${PATH_BYTES - 1} bytes`);
  const isAbstract = socket.startsWith("@");
  if (isAbstract) name[0] = 0;
  const address = Buffer.alloc(PATH_OFFSET + name.length + (isAbstract ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, PATH_OFFSET);
  return address;
}
