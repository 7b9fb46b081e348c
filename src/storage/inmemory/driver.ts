import type { ByteRange, DirectoryEntry, FileInfo, FileWriter, ListOptions, ListPage, StorageDriver } from "../driver.ts";
import { InvalidOffsetError, PathNotFoundError, WriterBusyError } from "../errors.ts";
import { checkPath } from "../paths.ts";

const NAME = "inmemory";
const DEFAULT_MAX_BYTES = 16 * 1024 * 1024;

interface MemoryFile {
  bytes: Uint8Array;
  /** Bytes that are used; the array may be longer, so that appending does not copy each time. */
  sizeBytes: number;
  modifiedAt: Date;
}

/** Opens a store that lives in this process and ends with it. */
export function openInMemoryDriver(): StorageDriver {
  return new InMemoryDriver();
}

class InMemoryDriver implements StorageDriver {
  readonly name = NAME;
  readonly #files = new Map<string, MemoryFile>();
  /** Children by directory; a directory exists while it has any. */
  readonly #children = new Map<string, Map<string, "file" | "directory">>();
  readonly #writers = new Set<string>();

  async getContent(path: string, maxBytes = DEFAULT_MAX_BYTES): Promise<Uint8Array> {
    const file = this.#file(path);
    if (file.sizeBytes > maxBytes) throw new Error(`${NAME}: ${path} has ${file.sizeBytes} bytes, more than ${maxBytes}`);
    return file.bytes.slice(0, file.sizeBytes);
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    checkPath(NAME, path);
    this.#put(path, typeof content === "string" ? new TextEncoder().encode(content) : content.slice());
  }

  async reader(path: string, range: ByteRange = {}): Promise<ReadableStream<Uint8Array>> {
    const offset = range.offset ?? 0;
    if (offset < 0) throw new InvalidOffsetError(NAME, path, offset);
    const file = this.#file(path);
    const bytes = file.bytes.slice(0, file.sizeBytes).subarray(offset, range.length === undefined ? undefined : offset + range.length);
    return new Blob([bytes]).stream();
  }

  async writer(path: string, options: { readonly append: boolean }): Promise<FileWriter> {
    checkPath(NAME, path);
    if (this.#writers.has(path)) throw new WriterBusyError(NAME, path);
    if (this.#children.has(path)) throw new Error(`${NAME}: ${path} is a directory`);
    if (!options.append || !this.#files.has(path)) this.#put(path, new Uint8Array());
    this.#writers.add(path);
    const file = this.#file(path);
    return new MemoryWriter({
      file: () => file,
      discard: () => (this.#files.get(path) === file ? this.#remove(path) : undefined),
      publish: () => undefined,
      release: () => void this.#writers.delete(path),
    });
  }

  async create(path: string): Promise<FileWriter> {
    checkPath(NAME, path);
    const file: MemoryFile = { bytes: new Uint8Array(), sizeBytes: 0, modifiedAt: new Date() };
    return new MemoryWriter({ file: () => file, discard: () => undefined, publish: () => this.#put(path, file.bytes.subarray(0, file.sizeBytes)), release: () => undefined, atomic: true });
  }

  async stat(path: string): Promise<FileInfo> {
    checkPath(NAME, path, true);
    const file = this.#files.get(path);
    if (file !== undefined) return { path, sizeBytes: file.sizeBytes, modifiedAt: file.modifiedAt, isDirectory: false };
    if (path !== "/" && !this.#children.has(path)) throw new PathNotFoundError(NAME, path);
    return { path, sizeBytes: 0, modifiedAt: new Date(), isDirectory: true };
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    checkPath(NAME, path, true);
    const children = this.#children.get(path);
    if (children === undefined && path !== "/") throw new PathNotFoundError(NAME, path);
    const after = options.startAfter ?? "";
    const names = [...(children?.keys() ?? [])].filter((name) => name > after).sort();
    const limit = options.limit ?? names.length;
    const page = names.slice(0, limit);
    const entries: DirectoryEntry[] = page.map((name) => ({ name, isDirectory: children?.get(name) === "directory" }));
    return { entries, next: names.length > page.length ? (page.at(-1) ?? after) : undefined };
  }

  async move(source: string, destination: string): Promise<void> {
    checkPath(NAME, destination);
    const file = this.#file(source);
    this.#refuseDirectory(destination);
    this.#remove(source);
    this.#link(destination);
    this.#files.set(destination, file);
  }

  async delete(path: string): Promise<void> {
    checkPath(NAME, path);
    if (this.#files.has(path)) return this.#remove(path);
    const children = this.#children.get(path);
    if (children === undefined) throw new PathNotFoundError(NAME, path);
    for (const name of [...children.keys()]) await this.delete(`${path}/${name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #file(path: string): MemoryFile {
    checkPath(NAME, path);
    const file = this.#files.get(path);
    if (file === undefined) throw new PathNotFoundError(NAME, path);
    return file;
  }

  #put(path: string, bytes: Uint8Array): void {
    this.#refuseDirectory(path);
    this.#link(path);
    this.#files.set(path, { bytes, sizeBytes: bytes.length, modifiedAt: new Date() });
  }

  #refuseDirectory(path: string): void {
    if (this.#children.has(path)) throw new Error(`${NAME}: ${path} is a directory`);
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      const parent = path.slice(0, slash);
      if (this.#files.has(parent)) throw new Error(`${NAME}: ${parent} is a file`);
    }
  }

  #link(path: string): void {
    let child = path;
    let kind: "file" | "directory" = "file";
    while (child !== "/") {
      const slash = child.lastIndexOf("/");
      const parent = slash === 0 ? "/" : child.slice(0, slash);
      const siblings = this.#children.get(parent);
      if (siblings !== undefined) {
        siblings.set(child.slice(slash + 1), kind);
        return;
      }
      this.#children.set(parent, new Map([[child.slice(slash + 1), kind]]));
      child = parent;
      kind = "directory";
    }
  }

  #remove(path: string): void {
    this.#files.delete(path);
    for (let child = path; child !== "/"; ) {
      const slash = child.lastIndexOf("/");
      const parent = slash === 0 ? "/" : child.slice(0, slash);
      const siblings = this.#children.get(parent);
      siblings?.delete(child.slice(slash + 1));
      if (siblings === undefined || siblings.size > 0) return;
      this.#children.delete(parent);
      child = parent;
    }
  }
}

interface MemoryWriterParts {
  readonly file: () => MemoryFile;
  readonly discard: () => void;
  readonly publish: () => void;
  readonly release: () => void;
  /** Leaving without a commit discards. */
  readonly atomic?: boolean;
}

class MemoryWriter implements FileWriter {
  readonly #parts: MemoryWriterParts;
  #closed = false;

  constructor(parts: MemoryWriterParts) {
    this.#parts = parts;
  }

  get sizeBytes(): number {
    return this.#parts.file().sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#checkOpen();
    const file = this.#parts.file();
    const needed = file.sizeBytes + chunk.length;
    if (needed > file.bytes.length) {
      const larger = new Uint8Array(Math.max(needed, file.bytes.length * 2, 1024));
      larger.set(file.bytes.subarray(0, file.sizeBytes));
      file.bytes = larger;
    }
    file.bytes.set(chunk, file.sizeBytes);
    file.sizeBytes = needed;
    file.modifiedAt = new Date();
  }

  async commit(): Promise<void> {
    this.#checkOpen();
    this.#parts.publish();
    this.#close();
  }

  async cancel(): Promise<void> {
    this.#checkOpen();
    this.#parts.discard();
    this.#close();
  }

  async close(): Promise<void> {
    this.#checkOpen();
    if (this.#parts.atomic === true) this.#parts.discard();
    this.#close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) await this.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error(`${NAME}: the writer is closed already`);
  }

  #close(): void {
    this.#closed = true;
    this.#parts.release();
  }
}
