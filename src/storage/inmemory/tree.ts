import type { DirectoryEntry } from "../driver.ts";
import { PathNotFoundError } from "../errors.ts";
import { parentPath } from "../paths.ts";
import { MemoryFile } from "./file.ts";

/** A directory in memory. */
export class MemoryDirectory {
  readonly isDirectory = true;
  readonly sizeBytes = 0;
  readonly #children = new Map<string, MemoryNode>();
  #sorted: readonly DirectoryEntry[] | undefined;
  modifiedAt = new Date();

  get(name: string): MemoryNode | undefined {
    return this.#children.get(name);
  }

  /** The children in bytewise order of names. */
  entries(): readonly DirectoryEntry[] {
    // Names are ASCII, so the order of code units is the bytewise one.
    this.#sorted ??= Array.from(this.#children, ([name, { isDirectory }]) => ({ name, isDirectory })).sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted;
  }

  set(name: string, node: MemoryNode): void {
    if (!this.#children.has(name)) this.#changed();
    this.#children.set(name, node);
  }

  delete(name: string): void {
    if (this.#children.delete(name)) this.#changed();
  }

  #changed(): void {
    this.#sorted = undefined;
    this.modifiedAt = new Date();
  }
}

/** What a name stands for. */
export type MemoryNode = MemoryFile | MemoryDirectory;

/** Files and directories by path. Directories stay when they become empty, as on a disk. */
export class MemoryTree {
  readonly #driver: string;
  readonly #root = new MemoryDirectory();

  /** @param driver The driver's name, for the texts of errors. */
  constructor(driver: string) {
    this.#driver = driver;
  }

  find(path: string): MemoryNode | undefined {
    let node: MemoryNode = this.#root;
    for (const name of componentsOf(path)) {
      const child: MemoryNode | undefined = node.isDirectory ? node.get(name) : undefined;
      if (child === undefined) return undefined;
      node = child;
    }
    return node;
  }

  /** @throws PathNotFoundError; an Error for a directory */
  file(path: string): MemoryFile {
    const node = this.find(path);
    if (node === undefined) throw new PathNotFoundError(this.#driver, path);
    if (node.isDirectory) throw new Error(`${this.#driver}: ${path} is a directory`);
    return node;
  }

  /** Puts a file in its place, parents included. @throws Error when a directory is there, or a parent is a file */
  put(path: string, file: MemoryFile): void {
    const directory = this.#makeDirectory(parentPath(path));
    const name = nameOf(path);
    if (directory.get(name)?.isDirectory === true) throw new Error(`${this.#driver}: ${path} is a directory`);
    directory.set(name, file);
  }

  /** Takes a file or a directory with all that is in it away. @throws PathNotFoundError */
  remove(path: string): void {
    const directory = this.find(parentPath(path));
    const name = nameOf(path);
    if (directory?.isDirectory !== true || directory.get(name) === undefined) throw new PathNotFoundError(this.#driver, path);
    directory.delete(name);
  }

  #makeDirectory(path: string): MemoryDirectory {
    let directory = this.#root;
    for (const name of componentsOf(path)) {
      const child = directory.get(name) ?? new MemoryDirectory();
      if (!child.isDirectory) throw new Error(`${this.#driver}: cannot make the directory ${path}: ${name} is a file`);
      directory.set(name, child);
      directory = child;
    }
    return directory;
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function componentsOf(path: string): readonly string[] {
  return path === "/" ? [] : path.slice(1).split("/");
}
