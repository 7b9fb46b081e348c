import type { ByteRange, FileInfo, FileWriter, ListOptions, ListPage, StorageDriver } from "../../storage/driver.ts";

/** What a driver was asked for. */
export interface DriverCall {
  readonly method: "getContent" | "putContent" | "reader" | "writer" | "create" | "stat" | "list" | "move" | "delete" | "write" | "commit";
  readonly path: string;
}

/** What a driver may be able to do besides. */
export type Abilities = Partial<Pick<StorageDriver, "movesByCopy" | "localFile" | "redirectUrl" | "listFiles" | "findDirectories" | "listUnfinished">>;

/** A driver around another that tells of every call before it is made; what the listener throws or waits for, the caller sees. */
export class FaultyDriver implements StorageDriver {
  readonly name: string;
  readonly calls: DriverCall[] = [];
  /** Set by tests: may throw, or wait. */
  before: (call: DriverCall) => void | Promise<void> = () => undefined;
  /** Set by tests: what writers say of the stored bytes. */
  contentTag: string | undefined;
  readonly #inner: StorageDriver;

  constructor(inner: StorageDriver, abilities: Abilities = {}) {
    this.#inner = inner;
    this.name = inner.name;
    Object.assign(this, abilities);
  }

  async getContent(path: string, maxBytes?: number): Promise<Uint8Array> {
    await this.#tell({ method: "getContent", path });
    return await this.#inner.getContent(path, maxBytes);
  }

  async putContent(path: string, content: Uint8Array | string): Promise<void> {
    await this.#tell({ method: "putContent", path });
    await this.#inner.putContent(path, content);
  }

  async reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    await this.#tell({ method: "reader", path });
    return await this.#inner.reader(path, range);
  }

  async writer(path: string, options: { readonly append: boolean }): Promise<FileWriter> {
    await this.#tell({ method: "writer", path });
    return this.#watch(path, await this.#inner.writer(path, options));
  }

  async create(path: string): Promise<FileWriter> {
    await this.#tell({ method: "create", path });
    return this.#watch(path, await this.#inner.create(path));
  }

  async stat(path: string): Promise<FileInfo> {
    await this.#tell({ method: "stat", path });
    return await this.#inner.stat(path);
  }

  async list(path: string, options?: ListOptions): Promise<ListPage> {
    await this.#tell({ method: "list", path });
    return await this.#inner.list(path, options);
  }

  async move(source: string, destination: string): Promise<void> {
    await this.#tell({ method: "move", path: destination });
    await this.#inner.move(source, destination);
  }

  async delete(path: string): Promise<void> {
    await this.#tell({ method: "delete", path });
    await this.#inner.delete(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }

  /** How often a method was called on paths that match. */
  count(method: DriverCall["method"], path: RegExp): number {
    return this.calls.filter((call) => call.method === method && path.test(call.path)).length;
  }

  async #tell(call: DriverCall): Promise<void> {
    this.calls.push(call);
    await this.before(call);
  }

  #watch(path: string, writer: FileWriter): FileWriter {
    const tell = (call: DriverCall): Promise<void> => this.#tell(call);
    const tag = (): string | undefined => this.contentTag;
    return {
      get contentTag() {
        return tag();
      },
      get sizeBytes() {
        return writer.sizeBytes;
      },
      async write(chunk) {
        await tell({ method: "write", path });
        await writer.write(chunk);
      },
      async commit() {
        await tell({ method: "commit", path });
        await writer.commit();
      },
      cancel: () => writer.cancel(),
      close: () => writer.close(),
      [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
    };
  }
}
