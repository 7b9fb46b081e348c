/** Castagnoli's polynomial, reflected. */
const POLYNOMIAL = 0x82f63b78;
/** Bytes taken at once. */
const STRIDE = 8;

const TABLES = makeTables();

/** The CRC32C of no bytes. */
export const EMPTY_CRC32C = 0;

/**
 * Goes on with a CRC32C, the checksum that the store keeps of every object. It can be put away between requests, which no hash of the
 * runtime can; and it is taken eight bytes at a time, for else it would be what uploads wait for.
 * @param crc Of all bytes before these.
 * @returns Of all bytes with these.
 * @see RFC 3720, section 12.1
 */
export function updateCrc32c(crc: number, bytes: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  let state = ~crc;
  let index = 0;
  for (const end = bytes.length - STRIDE; index <= end; index += STRIDE) {
    state ^= byteAt(bytes, index) | (byteAt(bytes, index + 1) << 8) | (byteAt(bytes, index + 2) << 16) | (byteAt(bytes, index + 3) << 24);
    state =
      byteAt(t7, state & 0xff) ^
      byteAt(t6, (state >>> 8) & 0xff) ^
      byteAt(t5, (state >>> 16) & 0xff) ^
      byteAt(t4, state >>> 24) ^
      byteAt(t3, byteAt(bytes, index + 4)) ^
      byteAt(t2, byteAt(bytes, index + 5)) ^
      byteAt(t1, byteAt(bytes, index + 6)) ^
      byteAt(t0, byteAt(bytes, index + 7));
  }
  for (; index < bytes.length; index++) state = byteAt(t0, (state ^ byteAt(bytes, index)) & 0xff) ^ (state >>> 8);
  return ~state >>> 0;
}

/** As the store writes it: four bytes, the highest first, in Base64. */
export function formatCrc32c(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString("base64");
}

/** @returns undefined for what is none */
export function parseCrc32c(text: string | undefined): number | undefined {
  return text !== undefined && /^[A-Za-z0-9+/]{6}==$/.test(text) ? Buffer.from(text, "base64").readUInt32BE() : undefined;
}

type Tables = readonly [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array];

function makeTables(): Tables {
  const first = Int32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
    return value;
  });
  const after = (table: Int32Array): Int32Array => table.map((value) => byteAt(first, value & 0xff) ^ (value >>> 8));
  const t1 = after(first);
  const t2 = after(t1);
  const t3 = after(t2);
  const t4 = after(t3);
  const t5 = after(t4);
  const t6 = after(t5);
  return [first, t1, t2, t3, t4, t5, t6, after(t6)];
}

function byteAt(values: Int32Array | Uint8Array, index: number): number {
  return values[index] ?? 0;
}
