/** Buffers that lie ready for the next upload. */
const MAX_FREE_BUFFERS = 1;

/**
 * Buffers of one part's size for all uploads of a driver. Every upload has one for sure; what it takes beyond, to send parts side by
 * side, comes out of a common budget, so that memory stays bounded however many uploads there are.
 */
export class PartBuffers {
  readonly partBytes: number;
  readonly #maxExtra: number;
  readonly #free: Uint8Array[] = [];
  #extra = 0;

  /** @param budgetBytes How much all uploads together may hold beyond one buffer each. */
  constructor(partBytes: number, budgetBytes: number) {
    this.partBytes = partBytes;
    this.#maxExtra = Math.floor(budgetBytes / partBytes);
  }

  /** The buffer that every upload has. */
  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(this.partBytes);
  }

  /** One more buffer; undefined when the budget is used up. */
  tryTakeExtra(): Uint8Array | undefined {
    if (this.#extra >= this.#maxExtra) return undefined;
    this.#extra++;
    return this.take();
  }

  /**
   * Gives back what an upload has taken.
   * @param taken How many buffers it took, the first included.
   * @param reusable Those of them that nobody reads or writes any more; others are left to the garbage collector.
   */
  release(taken: number, reusable: readonly Uint8Array[]): void {
    this.#extra -= Math.max(0, taken - 1);
    for (const bytes of reusable) {
      if (this.#free.length < MAX_FREE_BUFFERS) this.#free.push(bytes);
      else free(bytes);
    }
  }
}

/** At once: the garbage collector would leave it until it needs memory itself. */
function free({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
