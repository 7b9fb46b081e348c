/** CRC-64 of ECMA-182 as OSS tells it: reflected. The highest bit stands for x^0. */
const POLYNOMIAL = 0xc96c5795d7870f42n;
const ONE = 1n << 63n;
const X_TO_THE_8 = 1n << 55n;

/** A checksum and of how many bytes it is. */
export interface CheckedBytes {
  /** Decimal, as the store writes it. */
  readonly checksum: string;
  readonly sizeBytes: number;
}

/** The checksum of some pieces one after the other, made of theirs: nothing is read. */
export function combinedCrc64(pieces: readonly CheckedBytes[]): string {
  const shifts = new Map<number, bigint>();
  let combined = 0n;
  for (const { checksum, sizeBytes } of pieces) {
    const shift = shifts.get(sizeBytes) ?? shiftOver(sizeBytes);
    // The parts of an upload are of one size, but for a few.
    shifts.set(sizeBytes, shift);
    combined = product(shift, combined) ^ BigInt(checksum);
  }
  return combined.toString();
}

/** What a checksum is multiplied by when so many bytes come after its own: x^(8 * bytes). */
function shiftOver(sizeBytes: number): bigint {
  let result = ONE;
  let power = X_TO_THE_8;
  for (let rest = BigInt(sizeBytes); rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) result = product(power, result);
    power = product(power, power);
  }
  return result;
}

/** The product of two polynomials over GF(2), modulo the one of the checksum. */
function product(a: bigint, b: bigint): bigint {
  let sum = 0n;
  let shifted = b;
  for (let bit = ONE; bit > 0n; bit >>= 1n) {
    if ((a & bit) !== 0n) sum ^= shifted;
    shifted = (shifted & 1n) === 1n ? (shifted >> 1n) ^ POLYNOMIAL : shifted >> 1n;
  }
  return sum;
}
