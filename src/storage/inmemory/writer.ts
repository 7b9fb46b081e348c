import type { FileWriter } from "../driver.ts";
import type { MemoryFile } from "./file.ts";

/** What a writer's end means for the tree. */
export interface WriterEnds {
  readonly committed: () => void;
  /** The bytes stay for a later append. */
  readonly closed: () => void;
  readonly cancelled: () => void;
}

/** Appends to a file in memory. */
export class MemoryWriter implements FileWriter {
  readonly #file: MemoryFile;
  readonly #ends: WriterEnds;
  #isOpen = true;

  constructor(file: MemoryFile, ends: WriterEnds) {
    this.#file = file;
    this.#ends = ends;
  }

  get sizeBytes(): number {
    return this.#file.sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    this.#file.append(chunk);
  }

  async commit(): Promise<void> {
    this.#end();
    this.#ends.committed();
  }

  async cancel(): Promise<void> {
    this.#end();
    this.#ends.cancelled();
  }

  async close(): Promise<void> {
    this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) this.#end();
  }

  #end(): void {
    this.#requireOpen();
    this.#isOpen = false;
    this.#ends.closed();
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error("inmemory: the writer is closed already");
  }
}
