/** CRC-64/XZ, which OSS calls crc64ecma: reflected, polynomial 42F0E1EBA9EA3693. Kept in two halves, as numbers have 53 bits. */
const LOW = new Int32Array(256);
const HIGH = new Int32Array(256);

for (let byte = 0; byte < 256; byte++) {
  let low = byte;
  let high = 0;
  for (let bit = 0; bit < 8; bit++) {
    const isOdd = (low & 1) === 1;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (isOdd) {
      low ^= 0xd7870f42;
      high ^= 0xc96c5795;
    }
  }
  LOW[byte] = low;
  HIGH[byte] = high;
}

/** The checksum of some bytes, in pieces, as OSS writes it: a decimal number. */
export function crc64(pieces: Iterable<Uint8Array>): string {
  let low = -1;
  let high = -1;
  for (const piece of pieces) {
    for (let index = 0; index < piece.length; index++) {
      const entry = (low ^ (piece[index] ?? 0)) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ (LOW[entry] ?? 0);
      high = (high >>> 8) ^ (HIGH[entry] ?? 0);
    }
  }
  return ((BigInt(~high >>> 0) << 32n) | BigInt(~low >>> 0)).toString();
}
