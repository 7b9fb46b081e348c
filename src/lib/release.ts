/**
 * Frees the memory of a chunk that nobody else has, at once. Left to the garbage collector, the chunks of four fast uploads were
 * 70 MiB more at the peak.
 */
export function release({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}
