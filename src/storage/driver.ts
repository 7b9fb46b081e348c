/** The size above which `getContent` refuses a file, unless told otherwise. */
export const DEFAULT_MAX_CONTENT_BYTES = 16 * 1024 * 1024;

/**
 * Where bytes live. A driver maps absolute, slash-separated paths to files; it knows neither digests nor HTTP.
 * Paths match `^(/[A-Za-z0-9._-]+)+$`; the root `/` is valid for `stat` and `list`. Directories need not exist for themselves:
 * an object store has none, so an empty directory may vanish and its `stat` may fail.
 *
 * Every method rejects with PathNotFoundError when, and only when, nothing is stored under the path, and with InvalidPathError for
 * a path outside the grammar. Any other rejection means "could not find out", never "not there".
 */
export interface StorageDriver extends AsyncDisposable {
  /** The type's name in the configuration and in error texts: `filesystem`, `inmemory`, `s3` … */
  readonly name: string;

  /** Whether a move copies the bytes, as object stores do: what can be written to its place at once had better be. */
  readonly movesByCopy?: boolean;

  /**
   * Reads a whole small file (links, manifests, state).
   * @param maxBytes Refuses larger files with an Error instead of holding them; default 16 MiB.
   * @throws PathNotFoundError
   */
  getContent(path: string, maxBytes?: number): Promise<Uint8Array>;

  /** Creates or replaces a whole file atomically, parents included. When it resolves the file survives a power loss. */
  putContent(path: string, content: Uint8Array | string, options?: PutOptions): Promise<void>;

  /**
   * Streams a file.
   * @returns Chunks from `offset` (default 0), `length` bytes at most, which belong to whoever reads them; an offset at or past the end gives an empty stream.
   * @throws PathNotFoundError, InvalidOffsetError
   */
  reader(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>>;

  /**
   * Opens a file to be written in several sittings, by any process: `append: false` starts it anew, `append: true` goes on at its end
   * (or starts it). What was written and `close()`d is found again by the next `append: true`, and its length by `stat` on a
   * filesystem, or by the next writer's `sizeBytes` everywhere.
   * @throws WriterBusyError when another live writer holds the file.
   */
  writer(path: string, options: { readonly append: boolean }): Promise<FileWriter>;

  /**
   * Opens a file that is written in one sitting and appears whole, at `commit()`, or not at all: other readers never see a part of it.
   * For bytes whose final path is known before they arrive; saves the move (on object stores: the copy).
   */
  create(path: string): Promise<FileWriter>;

  /** @throws PathNotFoundError */
  stat(path: string): Promise<FileInfo>;

  /**
   * Lists direct children in bytewise order of their names.
   * @throws PathNotFoundError when the directory is missing (never for `/`).
   */
  list(path: string, options?: ListOptions): Promise<ListPage>;

  /**
   * The state of a file, told at once and without waiting, to be asked about with `isUnchanged`: what is read of the file from now on
   * is its content for as long as it is in this state. Undefined when it changed so lately, or answers so badly, that nothing is
   * certain. Absent, with `isUnchanged`, where only reading can tell.
   */
  observe?(path: string): object | "missing" | undefined;

  /**
   * The state of many files below a directory, to be asked about with `isUnchanged`: as `observe` tells it of one file, but many times
   * as cheap for each. That a file is missing is a part of it, so that it changes when the file appears. Absent where `observe` is,
   * or is as cheap.
   * @param paths Whole paths, each below the directory.
   */
  observeAll?(directory: string, paths: readonly string[]): object | undefined;

  /** Whether what gave this state, files or the listing of a directory, is still in it, told at once. False also when that is not certain. */
  isUnchanged?(state: object): boolean;

  /**
   * Moves a file, replacing the destination; durable when it resolves. The source's bytes were committed by their writer.
   * @throws PathNotFoundError when the source is missing; the destination is then untouched.
   */
  move(source: string, destination: string): Promise<void>;

  /**
   * Deletes a file, or a directory with all that is in it (`/a` never touches `/ab`). When it resolves a power loss does not bring
   * back what was deleted.
   * @throws PathNotFoundError
   */
  delete(path: string, options?: DeleteOptions): Promise<void>;

  /**
   * Removes a directory if, and only if, nothing is in it, however many others write into it at the same moment.
   * @returns Whether it is gone; false when something is in it. Absent where directories do not exist for themselves.
   */
  removeIfEmpty?(path: string): Promise<boolean>;

  /**
   * Opens another way to the store, for those who go over all of it: made for very many calls at once, and such that other
   * users of the driver do not wait for them. Absent where the driver's own calls are as good.
   */
  survey?(): StoreSurvey;

  /**
   * The absolute path on this host of the file that holds these bytes, for native sending. Absent unless files are local.
   * The file need not exist.
   */
  localFile?(path: string): string;

  /**
   * A URL at which a client may fetch the file itself; undefined for "not this one: stream it".
   * Absent unless the store can hand out URLs. The path is not checked for existence.
   */
  redirectUrl?(path: string, request: RedirectRequest): Promise<string | undefined>;

  /**
   * Every file below a directory in bytewise order of full paths, page by page: one flat listing where the store has one.
   * Absent where it would be no cheaper than walking with `list`. See `listTree` in walk.ts for the way that always works.
   */
  listFiles?(path: string): AsyncIterable<readonly FileInfo[]>;

  /**
   * The directories below another one, however deep, whose names end in a certain way, but none that lies in another such one: page
   * by page, in bytewise order of their paths with a slash at the end. What is in them costs nothing. A missing directory has none.
   * Absent where it would be no cheaper than walking with `list`.
   * @throws UnsupportedError when the store turns out not to be able to.
   */
  findDirectories?(path: string, query: DirectoryQuery): AsyncIterable<readonly string[]>;

  /**
   * Unfinished writes that `writer` left below a directory in a state of the backend that `list` does not show (multipart uploads),
   * so that they can be purged. Absent where every trace is a file.
   */
  listUnfinished?(path: string): AsyncIterable<{ readonly path: string; readonly startedAt: Date; abort(): Promise<void> }>;
}

/** What a survey can do, with the driver's own promises and failures. Dispose it when all is done. */
export interface StoreSurvey extends Pick<StorageDriver, "getContent" | "stat" | "list">, AsyncDisposable {
  /**
   * Deletes files, and each directory that held one when nothing else is in it: group after group, each in its order. The first that
   * cannot be deleted fails the call, and nothing after it is touched.
   * @returns For each group whether its files were there; undefined for a group that was left as it is.
   */
  removeFiles(groups: readonly (readonly string[])[], options: RemoveOptions): Promise<readonly (readonly boolean[] | undefined)[]>;
}

/** When files are not to be removed any more. */
export interface RemoveOptions {
  /** At this moment of the host's clock, in milliseconds since the epoch, the call fails instead of deleting one more file. */
  readonly deadlineMs: number;
  /** A group whose last file was changed after this moment is left as it is. */
  readonly unlessChangedAfterMs: number | undefined;
}

/** How a whole file is put. */
export interface PutOptions {
  /** False lets a power loss take the file, where that is cheaper; nobody may have been told of it then. Default: true. */
  readonly durable?: boolean;
}

/** How something is deleted. */
export interface DeleteOptions {
  /** False lets a power loss bring it back, where that is cheaper: for what nobody was told of. Default: true. */
  readonly durable?: boolean;
}

/** A part of a file, in bytes. */
export interface ByteRange {
  readonly offset?: number;
  readonly length?: number;
}

/** What is known of a path. */
export interface FileInfo {
  readonly path: string;
  /** 0 for a directory. */
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  readonly isDirectory: boolean;
}

/** Which children a listing is to give. */
export interface ListOptions {
  /** Only names bytewise greater than this one; it need not exist. */
  readonly startAfter?: string;
  /** At most so many entries; a driver may give fewer and set `next`. */
  readonly limit?: number;
}

/** Which directories are to be found. */
export interface DirectoryQuery {
  /** What their names end with, or are. */
  readonly nameEnd: string;
  /** Only those whose path with a slash at the end is bytewise greater than this text. */
  readonly startAfter?: string;
  /** How many are likely to be wanted; 1000 unless told. */
  readonly pageSize?: number;
}

/** A child of a directory. */
export interface DirectoryEntry {
  readonly name: string;
  readonly isDirectory: boolean;
}

/** One page of a listing. */
export interface ListPage {
  readonly entries: readonly DirectoryEntry[];
  /** Pass as `startAfter` for the next page; undefined when this was the last one. */
  readonly next: string | undefined;
  /** What `isUnchanged` is to be asked about; undefined where the driver could not tell. Holds no names. */
  readonly state?: object | undefined;
}

/** Who asks for a URL, and for what. */
export interface RedirectRequest {
  readonly method: "GET" | "HEAD";
  /** The client's address, for middlewares that decide by it. */
  readonly clientAddress?: string;
}

/**
 * A file being written. Leaving it (`await using`) without `commit` keeps what was written of a `writer`, and discards a `create`.
 * One call at a time; after `commit`, `cancel` or `close` every further call but disposal rejects.
 */
export interface FileWriter extends AsyncDisposable {
  /** Bytes in the file: those found at opening and those accepted since. */
  readonly sizeBytes: number;

  /**
   * A text that is another one when the stored bytes are others: as found at opening, and after `close` as left. Two writers of one
   * file in turn show the same text if nobody wrote between them. Absent where `stat` tells when the bytes were last changed.
   */
  readonly contentTag?: string | undefined;

  /**
   * Appends bytes. Await it before the next call: that is the back-pressure. The chunk may be reused when it resolves.
   * @throws StorageFullError; what was written up to then is counted by `sizeBytes`.
   */
  write(chunk: Uint8Array): Promise<void>;

  /** Makes the content final and durable, then closes. Until the writer is left, the driver may keep other writers from the file. */
  commit(): Promise<void>;

  /** Discards everything, also what earlier sittings wrote, and closes. */
  cancel(): Promise<void>;

  /**
   * Closes and keeps the bytes for a later `append`. Not a promise of durability: the bytes may be lost with the power.
   * @throws WriterBusyError or PathNotFoundError when they turn out to be kept nowhere, as another one took the file, or deleted it;
   *   what the store throws when it lost them: the file is gone then.
   */
  close(): Promise<void>;
}
