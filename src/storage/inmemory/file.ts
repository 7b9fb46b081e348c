/** Small files take little; large ones grow by pieces of this size, so that appending never copies what is there. */
const MAX_PIECE_BYTES = 1024 * 1024;
const MIN_PIECE_BYTES = 512;

/** A file's bytes in memory. They are only ever added to, so a reader may go on while a writer appends. */
export class MemoryFile {
  readonly isDirectory = false;
  readonly #pieces: Uint8Array[] = [];
  #lastPieceBytes = 0;
  #sizeBytes = 0;
  modifiedAt = new Date();
  /** The writer that holds the file, if any. */
  writer: object | undefined;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Copies bytes to the end. */
  append(bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length; ) {
      const piece = this.#pieceWithRoom(bytes.length - offset);
      const length = Math.min(piece.length - this.#lastPieceBytes, bytes.length - offset);
      piece.set(bytes.subarray(offset, offset + length), this.#lastPieceBytes);
      this.#lastPieceBytes += length;
      this.#sizeBytes += length;
      offset += length;
    }
    this.modifiedAt = new Date();
  }

  /** A copy of the bytes from `start` to `end`, or to the end of the file. */
  slice(start: number, end: number): Uint8Array {
    const stop = Math.min(end, this.#sizeBytes);
    const copy = new Uint8Array(Math.max(0, stop - start));
    let pieceStart = 0;
    for (const piece of this.#pieces) {
      if (pieceStart >= stop) break;
      const from = Math.max(start - pieceStart, 0);
      const part = piece.subarray(from, Math.min(stop - pieceStart, piece.length));
      if (part.length > 0) copy.set(part, pieceStart + from - start);
      pieceStart += piece.length;
    }
    return copy;
  }

  #pieceWithRoom(neededBytes: number): Uint8Array {
    const last = this.#pieces.at(-1);
    if (last !== undefined && this.#lastPieceBytes < last.length) return last;
    const piece = new Uint8Array(Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, neededBytes, this.#sizeBytes)));
    this.#pieces.push(piece);
    this.#lastPieceBytes = 0;
    return piece;
  }
}
