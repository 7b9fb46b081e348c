import { FFIType, type Pointer, ptr } from "bun:ffi";
import { closeSync, constants, openSync, statSync } from "node:fs";
import { openCLibrary } from "../../lib/c-library.ts";
import { LruMap } from "../../lib/lru.ts";
import { COARSE_TICK_MS, TICK_MS } from "./file-state.ts";

/** Files of the groups that are remembered from when they were first seen: some 8 MiB. */
const MAX_SIGHTED_FILES = 50_000;
/**
 * Looking takes half a microsecond a file. What takes so long waits for a disk, and is given up: it would make every request wait.
 * Waiting for one's turn on a busy processor takes less.
 */
const MAX_LOOK_MS = 20;
/** How many files are looked at from one glance at the clock to the next. */
const FILES_PER_GLANCE = 8;

const STATX = { statx: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.u32, FFIType.ptr], returns: FFIType.i32 } } as const;
const STATX_CTIME = 0x80;
const STATX_INO = 0x100;
const STATX_SIZE = 0x200;
const WANTED = STATX_CTIME | STATX_INO | STATX_SIZE;
const STATX_BYTES = 256;
/** Where in `struct statx`, in words of 32 bits: the inode, the size, seconds and nanoseconds of the change time, and the device. */
const FACT_WORDS = [8, 9, 10, 11, 24, 25, 26, 34, 35];
const NANOSECONDS = FACT_WORDS.indexOf(26);
const CHANGE_SECONDS = FACT_WORDS.indexOf(24);

/** The facts of many files below one folder, those that are missing among them. */
export class FileGroupState {
  readonly #group: FileGroup;
  readonly #facts: Uint32Array;

  constructor(group: FileGroup, facts: Uint32Array) {
    this.#group = group;
    this.#facts = facts;
  }

  /** Asks the file system whether every file is as it was. False also when it cannot be asked, or takes long. */
  isCurrent(): boolean {
    const found = this.#group.look();
    return found !== undefined && isSame(found, this.#facts);
  }
}

/** Tells which states of groups of files can be trusted, as `FileStates` does of single ones. */
export class FileGroups {
  readonly #sightings = new LruMap<string, { readonly facts: Uint32Array; readonly firstSeenMs: number }>(MAX_SIGHTED_FILES, MAX_SIGHTED_FILES);
  readonly #nowMs: () => number;
  #statx: Statx | undefined;

  /** @param nowMs A clock that only goes forward. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /**
   * The state of files below a folder; undefined when one of them is too new to be trusted, when the folder is missing, and where the
   * C library has no quick way to look.
   * @param names Paths relative to the folder.
   */
  trusted(folder: string, names: readonly string[]): FileGroupState | undefined {
    this.#statx ??= openStatx();
    const group = new FileGroup({ statx: this.#statx, nowMs: this.#nowMs }, folder, names);
    const facts = group.look();
    if (facts === undefined) return undefined;
    const nowMs = this.#nowMs();
    const key = `${folder}\0${names.length}\0${names[0] ?? ""}\0${Bun.hash(names.join("\0"))}`;
    const sighting = this.#sightings.get(key);
    if (sighting === undefined || !isSame(sighting.facts, facts)) {
      this.#sightings.set(key, { facts, firstSeenMs: nowMs }, names.length);
      return undefined;
    }
    return nowMs - sighting.firstSeenMs >= (isCoarse(facts) ? COARSE_TICK_MS : TICK_MS) ? new FileGroupState(group, facts) : undefined;
  }
}

/** Paths, and where the answer goes, are given by their addresses. */
type Statx = (folder: number, path: number, answer: number) => boolean;

/** Tells nothing where there is no such function, as on macOS: what it cannot see is asked of the file system in the usual way. */
function openStatx(): Statx {
  try {
    const { statx } = openCLibrary(STATX).symbols;
    return (folder, path, answer) => statx(folder, path as Pointer, 0, WANTED, answer as Pointer) === 0;
  } catch {
    return () => false;
  }
}

/** What looking takes. */
interface LookTools {
  readonly statx: Statx;
  readonly nowMs: () => number;
}

/** Files below one folder, which is resolved once for all of them: that is most of what looking at a file costs. */
class FileGroup {
  readonly #tools: LookTools;
  readonly #folder: string;
  /** Each ended by a zero byte. In a buffer of its own, as all whose address is taken: small arrays without one do not stay where they are. */
  readonly #names: Buffer;
  readonly #count: number;

  constructor(tools: LookTools, folder: string, names: readonly string[]) {
    this.#tools = tools;
    this.#folder = folder;
    const text = names.map((name) => `${name}\0`).join("");
    this.#names = Buffer.from(new ArrayBuffer(text.length));
    this.#names.write(text, "latin1");
    this.#count = names.length;
  }

  /** The facts of all files, zeros for those that are missing; undefined when one cannot be looked at, or it takes long. */
  look(): Uint32Array | undefined {
    let folder: number;
    try {
      folder = openSync(this.#folder, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch {
      return undefined;
    }
    try {
      return this.#lookBelow(folder);
    } finally {
      closeSync(folder);
    }
  }

  #lookBelow(folder: number): Uint32Array | undefined {
    const { statx, nowMs } = this.#tools;
    const startedMs = nowMs();
    const facts = new Uint32Array(this.#count * FACT_WORDS.length);
    const answer = new Uint32Array(new ArrayBuffer(STATX_BYTES));
    const addresses = { name: ptr(this.#names), answer: ptr(answer) };
    for (let start = 0, file = 0; start < this.#names.length; file++) {
      const end = this.#names.indexOf(0, start);
      if (statx(folder, addresses.name + start, addresses.answer)) copyFacts(answer, facts, file * FACT_WORDS.length);
      else if (!this.#isMissing(this.#names.toString("latin1", start, end))) return undefined;
      if (file % FILES_PER_GLANCE === 0 && nowMs() - startedMs > MAX_LOOK_MS) return undefined;
      start = end + 1;
    }
    return facts;
  }

  // The call does not say why it failed.
  #isMissing(name: string): boolean {
    try {
      return statSync(`${this.#folder}/${name}`, { throwIfNoEntry: false }) === undefined;
    } catch {
      return false;
    }
  }
}

function copyFacts(answer: Uint32Array, facts: Uint32Array, at: number): void {
  for (let fact = 0; fact < FACT_WORDS.length; fact++) facts[at + fact] = answer[FACT_WORDS[fact] ?? 0] ?? 0;
}

function isSame(some: Uint32Array, others: Uint32Array): boolean {
  if (some.length !== others.length) return false;
  for (let index = 0; index < some.length; index++) if (some[index] !== others[index]) return false;
  return true;
}

/** Whether a file has a time of whole seconds, as file systems that count no parts of them give to all. */
function isCoarse(facts: Uint32Array): boolean {
  for (let file = 0; file < facts.length; file += FACT_WORDS.length) {
    if (facts[file + NANOSECONDS] === 0 && facts[file + CHANGE_SECONDS] !== 0) return true;
  }
  return false;
}
