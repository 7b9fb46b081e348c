import { constants, openSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import type { FileWriter } from "../driver.ts";
import { FILESYSTEM, isErrno, writeFailure } from "./errno.ts";
import type { Folders } from "./folders.ts";
import { OpenFile } from "./open-file.ts";
import type { Pace } from "./pace.ts";
import type { Place } from "./rename-remove.ts";
import { removeIfThere, temporaryName } from "./temporary.ts";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND;
/** How often a small file is written again when its folder is removed meanwhile. */
const REPLACE_TRIES = 5;

/** What the writers of a driver share. */
export interface WriterTools {
  readonly folders: Folders;
  /** Of writes; apart from that of reads, as the kernel holds up the one and not the other. */
  readonly pace: Pace;
}

/** A file that is written under a name of its own beside its place, and put there when it is complete and durable. */
export class CreatedFile implements FileWriter {
  readonly #path: string;
  readonly #file: string;
  readonly #temporary: string;
  readonly #open: OpenFile;
  readonly #folders: Folders;
  #isOpen = true;

  private constructor(target: Place, temporary: { readonly name: string; readonly open: OpenFile }, folders: Folders) {
    this.#path = target.path;
    this.#file = target.file;
    this.#temporary = temporary.name;
    this.#open = temporary.open;
    this.#folders = folders;
  }

  static async open(target: Place, tools: WriterTools): Promise<CreatedFile> {
    const name = temporaryName(target.file);
    const fd = await tools.folders.within(dirname(target.file), () => openSync(name, NEW_FILE, 0o666));
    return new CreatedFile(target, { name, open: new OpenFile(fd, tools.pace) }, tools.folders);
  }

  get sizeBytes(): number {
    return this.#open.sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    try {
      await this.#open.append(chunk);
    } catch (error) {
      throw writeFailure(error, this.#path);
    }
  }

  async commit(): Promise<void> {
    await this.publish(true);
  }

  /** Puts the file in its place. @param durable Whether it has to survive a power loss from then on. */
  async publish(durable: boolean): Promise<void> {
    this.#requireOpen();
    this.#isOpen = false;
    try {
      await this.#publish(durable);
    } catch (error) {
      throw writeFailure(error, this.#path);
    }
  }

  async cancel(): Promise<void> {
    this.#requireOpen();
    await this.#discard();
  }

  async close(): Promise<void> {
    await this.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOpen) await this.#discard();
  }

  async #publish(durable: boolean): Promise<void> {
    let synced: Promise<void> | undefined;
    try {
      if (durable) await this.#open.sync();
      renameSync(this.#temporary, this.#file);
      if (durable) synced = this.#folders.sync(dirname(this.#file));
      // It is waited for below; it may fail before.
      synced?.catch(() => undefined);
    } catch (error) {
      removeIfThere(this.#temporary);
      throw error;
    } finally {
      await this.#open.close();
    }
    await synced;
  }

  async #discard(): Promise<void> {
    this.#isOpen = false;
    try {
      removeIfThere(this.#temporary);
    } finally {
      await this.#open.close();
    }
  }

  #requireOpen(): void {
    if (!this.#isOpen) throw new Error(`${FILESYSTEM}: the writer of ${this.#path} is closed already`);
  }
}

/** Puts a whole file in its place: durable when it resolves unless told otherwise, and at no time is a part of it seen. */
export async function replaceFile(target: Place, content: { readonly bytes: Uint8Array; readonly durable: boolean }, tools: WriterTools): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await using created = await CreatedFile.open(target, tools);
      await created.write(content.bytes);
      return await created.publish(content.durable);
    } catch (error) {
      // A clean-up removed the folder, and our file in it.
      if (!isErrno(error instanceof Error ? error.cause : error, "ENOENT") || tries === REPLACE_TRIES) throw error;
    }
  }
}
