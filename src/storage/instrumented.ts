import type { Logger } from "../telemetry/log.ts";
import type { StorageMetrics } from "../telemetry/metrics.ts";
import type { Tracing } from "../telemetry/trace.ts";
import type { ByteRange, DeleteOptions, FileInfo, FileWriter, ListOptions, ListPage, PutOptions, RedirectRequest, StorageDriver } from "./driver.ts";
import { checkDirectoryPath, checkPath } from "./paths.ts";

/** Who is told of calls. */
export interface StorageObservers {
  readonly metrics?: Pick<StorageMetrics, "action">;
  readonly tracing?: Pick<Tracing, "storage">;
  /** Is told of every call at the level debug. */
  readonly log?: Pick<Logger, "isEnabled" | "debug">;
}

/** What calls are named in metrics and spans. */
type Action = "GetContent" | "PutContent" | "Reader" | "Writer" | "Stat" | "List" | "Move" | "Delete" | "RedirectURL";

/** These last as long as their user reads or writes, or are ended before the work is: their time says nothing. */
const UNTIMED: ReadonlySet<Action> = new Set(["Reader", "Writer"]);

/**
 * Puts around any driver what all need alike: the check of every path before the driver sees it, a measurement and a span of every
 * call. The result has exactly the optional members that the driver has, but for `observe`, `observeAll` and `isUnchanged` under tracing.
 */
export function instrumentDriver(driver: StorageDriver, observers: StorageObservers = {}): StorageDriver {
  return new InstrumentedDriver(driver, observers);
}

// Methods are not `async` but hand on the driver's own promise: each wrapping would cost hot calls three turns of the task queue.
class InstrumentedDriver implements StorageDriver {
  readonly name: string;
  // `declare`: a plain field would be there as undefined where the driver has no such member.
  declare readonly movesByCopy?: boolean;
  declare readonly observe?: NonNullable<StorageDriver["observe"]>;
  declare readonly observeAll?: NonNullable<StorageDriver["observeAll"]>;
  declare readonly isUnchanged?: NonNullable<StorageDriver["isUnchanged"]>;
  declare readonly removeIfEmpty?: (path: string) => Promise<boolean>;
  declare readonly survey?: NonNullable<StorageDriver["survey"]>;
  declare readonly localFile?: (path: string) => string;
  declare readonly redirectUrl?: (path: string, request: RedirectRequest) => Promise<string | undefined>;
  declare readonly listFiles?: (path: string) => AsyncIterable<readonly FileInfo[]>;
  declare readonly findDirectories?: NonNullable<StorageDriver["findDirectories"]>;
  declare readonly listUnfinished?: NonNullable<StorageDriver["listUnfinished"]>;
  readonly #inner: StorageDriver;
  readonly #observers: StorageObservers;

  constructor(inner: StorageDriver, observers: StorageObservers) {
    this.name = inner.name;
    this.#inner = inner;
    this.#observers = observers;
    const { movesByCopy, observe, observeAll, isUnchanged, removeIfEmpty, localFile, redirectUrl, listFiles, findDirectories, listUnfinished, survey } = inner;
    if (movesByCopy !== undefined) this.movesByCopy = movesByCopy;
    // Not measured: they take a microsecond, and save the calls that are. Where every action is to have its span, none is saved.
    if (observe !== undefined && isUnchanged !== undefined && observers.tracing === undefined) {
      this.observe = (path) => {
        checkPath(this.name, path);
        return observe.call(inner, path);
      };
      if (observeAll !== undefined) {
        this.observeAll = (directory, paths) => {
          checkDirectoryPath(this.name, directory);
          for (const path of paths) checkPath(this.name, path);
          return observeAll.call(inner, directory, paths);
        };
      }
      this.isUnchanged = (state) => isUnchanged.call(inner, state);
    }
    if (removeIfEmpty !== undefined) this.removeIfEmpty = (path) => this.#file("Delete", path, () => removeIfEmpty.call(inner, path));
    if (localFile !== undefined) {
      this.localFile = (path) => {
        checkPath(this.name, path);
        return localFile.call(inner, path);
      };
    }
    // Not measured call by call: a survey makes millions.
    if (survey !== undefined) this.survey = () => survey.call(inner);
    if (redirectUrl !== undefined) this.redirectUrl = (path, request) => this.#file("RedirectURL", path, () => redirectUrl.call(inner, path, request));
    if (listFiles !== undefined) this.listFiles = (path) => this.#listPages(path, () => listFiles.call(inner, path));
    if (findDirectories !== undefined) this.findDirectories = (path, query) => this.#listPages(path, () => findDirectories.call(inner, path, query));
    if (listUnfinished !== undefined) this.listUnfinished = (path) => this.#directoryItems(path, () => listUnfinished.call(inner, path));
  }

  getContent(path: string, maxBytes?: number): Promise<Uint8Array> {
    return this.#file("GetContent", path, () => this.#inner.getContent(path, maxBytes));
  }

  putContent(path: string, content: Uint8Array | string, options?: PutOptions): Promise<void> {
    return this.#file("PutContent", path, () => this.#inner.putContent(path, content, options));
  }

  reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    return this.#file("Reader", path, () => this.#inner.reader(path, range));
  }

  writer(path: string, options: { readonly append: boolean }): Promise<FileWriter> {
    return this.#file("Writer", path, () => this.#inner.writer(path, options));
  }

  create(path: string): Promise<FileWriter> {
    return this.#file("Writer", path, () => this.#inner.create(path));
  }

  stat(path: string): Promise<FileInfo> {
    return this.#directory("Stat", path, () => this.#inner.stat(path));
  }

  list(path: string, options?: ListOptions): Promise<ListPage> {
    return this.#directory("List", path, () => this.#inner.list(path, options));
  }

  move(source: string, destination: string): Promise<void> {
    return this.#file("Move", source, () => {
      checkPath(this.name, destination);
      return this.#inner.move(source, destination);
    });
  }

  delete(path: string, options?: DeleteOptions): Promise<void> {
    return this.#file("Delete", path, () => this.#inner.delete(path, options));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#inner[Symbol.asyncDispose]());
  }

  #file<T>(action: Action, path: string, work: () => Promise<T>): Promise<T> {
    return this.#call(action, path, () => {
      checkPath(this.name, path);
      return work();
    });
  }

  #directory<T>(action: Action, path: string, work: () => Promise<T>): Promise<T> {
    return this.#call(action, path, () => {
      checkDirectoryPath(this.name, path);
      return work();
    });
  }

  /** Every page is a call of its own. */
  async *#listPages<T>(path: string, pages: () => AsyncIterable<T>): AsyncGenerator<T> {
    checkDirectoryPath(this.name, path);
    const iterator = pages()[Symbol.asyncIterator]();
    try {
      for (;;) {
        const page = await this.#call("List", path, () => iterator.next());
        if (page.done === true) return;
        yield page.value;
      }
    } finally {
      await iterator.return?.();
    }
  }

  async *#directoryItems<T>(path: string, items: () => AsyncIterable<T>): AsyncGenerator<T> {
    checkDirectoryPath(this.name, path);
    yield* items();
  }

  #call<T>(action: Action, path: string, work: () => Promise<T>): Promise<T> {
    const { metrics, tracing, log } = this.#observers;
    const startedMs = performance.now();
    const result = tracing === undefined ? settled(work) : tracing.storage(action, { driver: this.name, path }, () => settled(work));
    if (metrics !== undefined && !UNTIMED.has(action)) {
      const measure = (): void => metrics.action(this.name, action, (performance.now() - startedMs) / 1000);
      result.then(measure, measure);
    }
    if (log?.isEnabled("debug") === true) this.#log(action, path, { result, startedMs });
    return result;
  }

  #log(action: Action, path: string, call: { readonly result: Promise<unknown>; readonly startedMs: number }): void {
    const write = (outcome: { readonly "err.message"?: string }): void =>
      this.#observers.log?.debug("storage action", { action, driver: this.name, durationMs: Number((performance.now() - call.startedMs).toFixed(3)), path, ...outcome });
    call.result.then(() => write({}), (error: unknown) => write({ "err.message": error instanceof Error ? error.message : String(error) }));
  }
}

/** What a function promises, or the rejection that its exception stands for. */
function settled<T>(work: () => Promise<T>): Promise<T> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}
