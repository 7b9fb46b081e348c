import type { ByteRange } from "./driver.ts";
import { InvalidOffsetError } from "./errors.ts";

/** A range with its defaults filled in. `endByte` is exclusive, and Infinity for "to the end". */
export interface CheckedRange {
  readonly startByte: number;
  readonly endByte: number;
}

/** Checks what a `reader` was asked for. @throws InvalidOffsetError for what is no count of bytes */
export function checkRange(driver: string, path: string, range: ByteRange | undefined): CheckedRange {
  const startByte = range?.offset ?? 0;
  if (!isByteCount(startByte)) throw new InvalidOffsetError(driver, path, startByte);
  const length = range?.length ?? Number.POSITIVE_INFINITY;
  if (length !== Number.POSITIVE_INFINITY && !isByteCount(length)) throw new InvalidOffsetError(driver, path, length);
  return { startByte, endByte: startByte + length };
}

function isByteCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
