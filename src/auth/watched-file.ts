import { readFile, stat } from "node:fs/promises";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";

const CHECK_INTERVAL_MS = 1_000;
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** What is watched, and how it is read. */
export interface WatchedFileOptions<T> {
  readonly path: string;
  /** The key of the configuration that names the file. */
  readonly key: string;
  /** @throws Error that begins with the line: `line 3: expected …` */
  readonly parse: (text: string) => T;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * A parsed file that is read again when it changes. A look at it costs one `stat` a second at most, and only when somebody asks; a
 * new file that is broken, or gone, leaves the old content in force and is logged once.
 */
export class WatchedFile<T> {
  readonly #options: WatchedFileOptions<T>;
  #content: T;
  #identity: string;
  #checkedAt: number;
  #version = 1;
  #checking: Promise<void> | undefined;
  #complaint: string | undefined;

  private constructor(options: WatchedFileOptions<T>, first: { readonly content: T; readonly identity: string }) {
    this.#options = options;
    this.#content = first.content;
    this.#identity = first.identity;
    this.#checkedAt = options.clock.now();
  }

  /** Reads the file. @throws Error that names key, file and line. */
  static async open<T>(options: WatchedFileOptions<T>): Promise<WatchedFile<T>> {
    const identity = await identify(options);
    return new WatchedFile(options, { identity, content: await load(options) });
  }

  get content(): T {
    return this.#content;
  }

  /** Another one after every change of the content. */
  get version(): number {
    return this.#version;
  }

  /** Whether the last look was long enough ago. */
  get isDue(): boolean {
    const age = this.#options.clock.now() - this.#checkedAt;
    // A clock that was set back must not stop the looking.
    return age >= CHECK_INTERVAL_MS || age < 0;
  }

  /** Looks at the file and reads it when it changed. Calls that overlap share one look. Never rejects. */
  async refresh(): Promise<void> {
    this.#checking ??= this.#check().finally(() => void (this.#checking = undefined));
    await this.#checking;
  }

  async #check(): Promise<void> {
    try {
      // Taken before the reading: a change in between is seen at the next look.
      const identity = await identify(this.#options);
      const isUnchanged = identity === this.#identity && this.#complaint === undefined;
      const isKnownToBeBroken = this.#complaint?.startsWith(`${identity} `) === true;
      if (!isUnchanged && !isKnownToBeBroken) await this.#replace(identity);
    } catch (error) {
      this.#complain("", error);
    } finally {
      this.#checkedAt = this.#options.clock.now();
    }
  }

  async #replace(identity: string): Promise<void> {
    try {
      this.#content = await load(this.#options);
      this.#identity = identity;
      this.#complaint = undefined;
      this.#version++;
    } catch (error) {
      this.#complain(identity, error);
    }
  }

  // Once for each broken state: the file is looked at every second.
  #complain(identity: string, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    const complaint = `${identity} ${text}`;
    if (complaint === this.#complaint) return;
    this.#complaint = complaint;
    this.#options.log.error("a file of the access control cannot be used; its last good content stays in force", { file: this.#options.path, "err.message": text });
  }
}

async function load<T>(options: WatchedFileOptions<T>): Promise<T> {
  try {
    return options.parse(await readFile(options.path, "utf8"));
  } catch (error) {
    throw named(options, error);
  }
}

async function identify<T>(options: WatchedFileOptions<T>): Promise<string> {
  try {
    const info = await stat(options.path, { bigint: true });
    if (!info.isFile()) throw new Error("is not a file");
    if (info.size > MAX_FILE_BYTES) throw new Error(`is larger than ${MAX_FILE_BYTES} bytes`);
    return `${info.dev} ${info.ino} ${info.size} ${info.mtimeNs}`;
  } catch (error) {
    throw named(options, error);
  }
}

function named<T>(options: WatchedFileOptions<T>, error: unknown): Error {
  return new Error(`${options.key}: ${options.path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
