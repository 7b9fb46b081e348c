import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { DEFAULT_MAX_CONTENT_BYTES, type DirectoryEntry, type FileInfo, type ListOptions, type ListPage, type StorageDriver } from "../../driver.ts";
import { pageOf } from "../../list-page.ts";
import { checkDirectoryPath, isPathName } from "../../paths.ts";
import { FILESYSTEM, isErrno, readFailure } from "../errno.ts";

const SCRATCH_BYTES = 64 * 1024;

/**
 * Reads a store on local files by one call to the system after the other, which is the least work there is: for threads that do
 * nothing else. Answers and failures are the driver's own.
 */
export class DirectReader implements Pick<StorageDriver, "getContent" | "stat" | "list"> {
  readonly #root: string;
  readonly #scratch = new Uint8Array(SCRATCH_BYTES);

  constructor(rootdirectory: string) {
    const root = resolve(rootdirectory);
    this.#root = root === "/" ? "" : root;
  }

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    return this.readNow(path, maxBytes).slice();
  }

  /** As `getContent`, at once; the bytes are good until the next call. */
  readNow(path: string, maxBytes: number): Uint8Array {
    return this.#call(path, (file) => this.#read(file, maxBytes));
  }

  async stat(path: string): Promise<FileInfo> {
    return this.statNow(path);
  }

  /** As `stat`, at once. */
  statNow(path: string): FileInfo {
    return this.#call(path, (file) => {
      const found = statSync(file);
      const isDirectory = found.isDirectory();
      return { path, sizeBytes: isDirectory ? 0 : found.size, modifiedAt: found.mtime, isDirectory };
    });
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    return this.#call(path, (folder) => pageOf(entriesOf(folder), options));
  }

  /** The names of all children of a folder, in the order of `list`. */
  namesNow(path: string): readonly string[] {
    return this.#call(path, (folder) => readdirSync(folder).filter(isPathName).sort());
  }

  #call<T>(path: string, call: (file: string) => T): T {
    checkDirectoryPath(FILESYSTEM, path);
    try {
      return call(this.#root + path);
    } catch (error) {
      throw readFailure(error, path);
    }
  }

  #read(file: string, maxBytes: number): Uint8Array {
    const fd = openSync(file, constants.O_RDONLY);
    try {
      const readBytes = readSync(fd, this.#scratch, 0, SCRATCH_BYTES, 0);
      const sizeBytes = readBytes < SCRATCH_BYTES ? readBytes : fstatSync(fd).size;
      if (sizeBytes > maxBytes) throw new Error(`${FILESYSTEM}: ${file} has ${sizeBytes} bytes, more than the ${maxBytes} allowed here`);
      return readBytes < SCRATCH_BYTES ? this.#scratch.subarray(0, readBytes) : readAll(fd, sizeBytes);
    } finally {
      closeSync(fd);
    }
  }
}

function readAll(fd: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let length = 0;
  while (length < sizeBytes) {
    const readBytes = readSync(fd, bytes, length, sizeBytes - length, length);
    if (readBytes === 0) break;
    length += readBytes;
  }
  return bytes.subarray(0, length);
}

function entriesOf(folder: string): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!isPathName(entry.name)) continue;
    entries.push({ name: entry.name, isDirectory: entry.isDirectory() || (!entry.isFile() && leadsToDirectory(join(folder, entry.name))) });
  }
  // Names are ASCII, so the order of code units is the bytewise one.
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function leadsToDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch (error) {
    // A link that leads to itself is no reason to hide its neighbours.
    if (isErrno(error, "ELOOP")) return false;
    throw error;
  }
}
