import { checkRange } from "../byte-range.ts";
import { type ByteRange, DEFAULT_MAX_CONTENT_BYTES, type FileInfo, type FileWriter, type ListOptions, type ListPage, type StorageDriver } from "../driver.ts";
import { PathNotFoundError, WriterBusyError } from "../errors.ts";
import { pageOf } from "../list-page.ts";
import { MemoryFile } from "./file.ts";
import { MemoryTree } from "./tree.ts";
import { MemoryWriter } from "./writer.ts";

const NAME = "inmemory";
const READ_CHUNK_BYTES = 256 * 1024;

/** Opens an empty store that lives in this process's memory and is gone with it: for tests and trials. Nothing bounds its size. */
export function openInMemoryDriver(): StorageDriver {
  return new InMemoryDriver();
}

class InMemoryDriver implements StorageDriver {
  readonly name = NAME;
  readonly #tree = new MemoryTree(NAME);

  async getContent(path: string, maxBytes = DEFAULT_MAX_CONTENT_BYTES): Promise<Uint8Array> {
    const file = this.#tree.file(path);
    if (file.sizeBytes > maxBytes) throw new Error(`${NAME}: ${path} has ${file.sizeBytes} bytes, more than the ${maxBytes} allowed here`);
    return file.slice(0, file.sizeBytes);
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    const file = new MemoryFile();
    file.append(typeof content === "string" ? new TextEncoder().encode(content) : content);
    this.#tree.put(path, file);
  }

  async reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    const { startByte, endByte } = checkRange(NAME, path, range);
    return streamOf(this.#tree.file(path), startByte, endByte);
  }

  async writer(path: string, options: { readonly append: boolean }): Promise<FileWriter> {
    const found = this.#tree.find(path);
    if (found?.isDirectory === false && found.writer !== undefined) throw new WriterBusyError(NAME, path);
    const file = options.append && found?.isDirectory === false ? found : new MemoryFile();
    if (file !== found) this.#tree.put(path, file);
    const writer = new MemoryWriter(file, {
      committed: () => undefined,
      closed: () => (file.writer = undefined),
      cancelled: () => {
        if (this.#tree.find(path) === file) this.#tree.remove(path);
      },
    });
    file.writer = writer;
    return writer;
  }

  async create(path: string): Promise<FileWriter> {
    const file = new MemoryFile();
    const nothing = (): void => undefined;
    return new MemoryWriter(file, { committed: () => this.#tree.put(path, file), closed: nothing, cancelled: nothing });
  }

  async stat(path: string): Promise<FileInfo> {
    const node = this.#tree.find(path);
    if (node === undefined) throw new PathNotFoundError(NAME, path);
    return { path, sizeBytes: node.sizeBytes, modifiedAt: node.modifiedAt, isDirectory: node.isDirectory };
  }

  async list(path: string, options: ListOptions = {}): Promise<ListPage> {
    const directory = this.#tree.find(path);
    if (directory?.isDirectory !== true) throw new PathNotFoundError(NAME, path);
    return pageOf(directory.entries(), options);
  }

  async move(source: string, destination: string): Promise<void> {
    const file = this.#tree.file(source);
    if (source === destination) return;
    this.#tree.put(destination, file);
    this.#tree.remove(source);
  }

  async delete(path: string): Promise<void> {
    this.#tree.remove(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function streamOf(file: MemoryFile, startByte: number, endByte: number): ReadableStream<Uint8Array> {
  let position = startByte;
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const chunk = file.slice(position, Math.min(position + READ_CHUNK_BYTES, endByte));
        position += chunk.length;
        if (chunk.length === 0) controller.close();
        else controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
}
