/** What a TLS client says first. */
export interface ClientHello {
  /** The host that it wants, lower case; undefined when it names none. */
  readonly serverName: string | undefined;
  /** What it wants to speak, by ALPN. */
  readonly protocols: readonly string[];
}

const RECORD_HEADER_BYTES = 5;
const VERSION_AND_RANDOM_BYTES = 34;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const EXTENSION = { serverName: 0, protocols: 16 } as const;
/** The largest greeting that is waited for; those of real clients have some two thousand bytes. */
const MAX_BYTES = 16 * 1024;

/**
 * Reads the first message of a TLS connection.
 * @param bytes All that came so far.
 * @returns `incomplete` when more must come; undefined when it is something else, or broken, or too large.
 * @see RFC 8446, sections 4.1.2 and 5.1
 */
export function readClientHello(bytes: Uint8Array): ClientHello | "incomplete" | undefined {
  const message = handshakeMessage(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  if (message === undefined || message === "incomplete") return message;
  try {
    return readMessage(new Fields(message));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** The first handshake message, put together from its records, without its header. */
function handshakeMessage(bytes: Buffer): Buffer | "incomplete" | undefined {
  const message = Buffer.alloc(MAX_BYTES);
  let length = 0;
  for (let offset = 0; ; ) {
    if (offset > MAX_BYTES) return undefined;
    if (bytes.length > offset && bytes[offset] !== HANDSHAKE) return undefined;
    if (bytes.length < offset + RECORD_HEADER_BYTES) return "incomplete";
    const end = offset + RECORD_HEADER_BYTES + bytes.readUInt16BE(offset + 3);
    length += bytes.copy(message, length, offset + RECORD_HEADER_BYTES, end);
    if (length > 0 && message[0] !== CLIENT_HELLO) return undefined;
    const messageEnd = length < 4 ? MAX_BYTES : 4 + message.readUIntBE(1, 3);
    if (messageEnd > MAX_BYTES) return undefined;
    if (length >= messageEnd) return message.subarray(4, messageEnd);
    if (bytes.length < end) return "incomplete";
    offset = end;
  }
}

function readMessage(fields: Fields): ClientHello {
  fields.take(VERSION_AND_RANDOM_BYTES);
  fields.takeVector(1);
  fields.takeVector(2);
  fields.takeVector(1);
  const found: { serverName: string | undefined; protocols: readonly string[] } = { serverName: undefined, protocols: [] };
  if (fields.isAtEnd) return found;
  const extensions = new Fields(fields.takeVector(2));
  while (!extensions.isAtEnd) {
    const type = extensions.takeNumber(2);
    const content = extensions.takeVector(2);
    if (type === EXTENSION.serverName) found.serverName = readServerName(content);
    if (type === EXTENSION.protocols) found.protocols = readProtocols(content);
  }
  return found;
}

/** @see RFC 6066, section 3 */
function readServerName(content: Buffer): string | undefined {
  const names = new Fields(new Fields(content).takeVector(2));
  while (!names.isAtEnd) {
    const kind = names.takeNumber(1);
    const name = names.takeVector(2);
    if (kind === 0) return name.toString("latin1").toLowerCase();
  }
  return undefined;
}

/** @see RFC 7301, section 3.1 */
function readProtocols(content: Buffer): readonly string[] {
  const names = new Fields(new Fields(content).takeVector(2));
  const protocols: string[] = [];
  while (!names.isAtEnd) protocols.push(names.takeVector(1).toString("latin1"));
  return protocols;
}

/** Reads fields one after the other; what is cut short is a RangeError. */
class Fields {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#offset >= this.#bytes.length;
  }

  take(length: number): Buffer {
    const end = this.#offset + length;
    if (end > this.#bytes.length) throw new RangeError("the message is cut short");
    const taken = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return taken;
  }

  takeNumber(bytes: 1 | 2): number {
    return this.take(bytes).readUIntBE(0, bytes);
  }

  /** Bytes after their length. */
  takeVector(lengthBytes: 1 | 2): Buffer {
    return this.take(this.takeNumber(lengthBytes));
  }
}
