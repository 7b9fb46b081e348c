import { writeSync } from "node:fs";

/** Lines gather for so long … */
const TICK_MS = 10;
/** … or until they are so many characters, and go out in one write. */
const FLUSH_CHARACTERS = 64 * 1024;
/** Where whoever reads is stuck, lines are dropped beyond this, and counted. */
const MAX_CHARACTERS = 4 * 1024 * 1024;

/** Takes whole lines. */
export interface LineSink {
  write(line: string): void;
  /** Writes what is gathered, now. */
  flush(): void;
}

/**
 * Writes lines to a file descriptor, gathered: a system call for every line would cost more than answering a small request.
 * What is gathered is lost only when the process is killed within a tick.
 */
export class LineWriter implements LineSink {
  readonly #fd: number;
  #pending = "";
  #dropped = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(line: string): void {
    if (this.#pending.length > MAX_CHARACTERS) {
      this.#dropped++;
      return;
    }
    this.#pending += line;
    if (this.#pending.length >= FLUSH_CHARACTERS) return this.flush();
    this.#timer ??= setTimeout(() => this.flush(), TICK_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending === "") return;
    let bytes: Uint8Array = Buffer.from(this.#dropped === 0 ? this.#pending : `${this.#pending}${this.#dropped} lines were dropped: nobody read the log\n`);
    this.#pending = "";
    this.#dropped = 0;
    try {
      while (bytes.length > 0) bytes = bytes.subarray(writeSync(this.#fd, bytes));
    } catch (error) {
      // A full pipe takes the rest at a later tick; a closed one takes nothing ever again, and the registry goes on serving.
      if (error instanceof Error && "code" in error && error.code === "EAGAIN") {
        this.#pending = new TextDecoder().decode(bytes) + this.#pending;
        this.#timer ??= setTimeout(() => this.flush(), TICK_MS);
      }
    }
  }
}
