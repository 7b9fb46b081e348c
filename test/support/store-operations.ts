import { expect } from "bun:test";
import type { FileWriter, StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError } from "../../src/storage/errors.ts";
import { digestOf } from "./http.ts";

const WRITE_BYTES = 1024 * 1024;

/** One call of each kind, by name, on a store that has `/file`. Whoever makes them all at once must expect them to fail. */
export function eachCall(driver: StorageDriver, content: Uint8Array): Readonly<Record<string, () => Promise<unknown>>> {
  return {
    stat: () => driver.stat("/file"),
    getContent: () => driver.getContent("/file"),
    reader: () => driver.reader("/file"),
    putContent: () => driver.putContent("/file", "new"),
    list: () => driver.list("/"),
    delete: () => driver.delete("/file"),
    move: () => driver.move("/file", "/moved"),
    writer: () => driver.writer("/up/data", { append: true }),
    create: async () => {
      await using writer = await driver.create("/created");
      await writeAll(writer, content);
      await writer.commit();
    },
  };
}

/** Where an operation works, and with what. */
export interface OperationContext {
  /** A folder that is the operation's own. */
  readonly folder: string;
  /** The content of a large file: more than one part. */
  readonly large: Uint8Array;
  /** Other bytes, as many. */
  readonly other: Uint8Array;
}

type Work = (driver: StorageDriver, context: OperationContext) => Promise<void>;

/** What is done with a store, and what must have come of it. */
export interface Operation {
  readonly prepare?: Work;
  readonly run: Work;
  /** What must be so when it went well. */
  readonly check?: Work;
  /** What must still be so when it failed for good. */
  readonly unharmed?: Work;
  /** The names of all objects that there are below the folder after that. */
  readonly leaves: readonly string[];
}

/** Every kind of call that a driver makes. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  getContent: {
    prepare: (driver, { folder }) => driver.putContent(`${folder}/file`, "text"),
    run: async (driver, { folder }) => expect(await textAt(driver, `${folder}/file`)).toBe("text"),
    unharmed: async (driver, { folder }) => expect((await driver.stat(`${folder}/file`)).sizeBytes).toBe(4),
    leaves: ["file"],
  },
  putContent: {
    prepare: (driver, { folder }) => driver.putContent(`${folder}/file`, "old"),
    run: (driver, { folder }) => driver.putContent(`${folder}/file`, "new"),
    check: async (driver, { folder }) => expect(await textAt(driver, `${folder}/file`)).toBe("new"),
    unharmed: async (driver, { folder }) => expect(["old", "new"]).toContain(await textAt(driver, `${folder}/file`)),
    leaves: ["file"],
  },
  reader: {
    prepare: (driver, { folder, large }) => create(driver, `${folder}/file`, large),
    run: (driver, { folder, large }) => holds(driver, `${folder}/file`, large),
    unharmed: (driver, { folder, large }) => holds(driver, `${folder}/file`, large),
    leaves: ["file"],
  },
  "writer, from nothing": {
    run: (driver, context) => append(driver, context, { from: 0, to: endOfFirst(context) }),
    check: goesOn,
    unharmed: goesOn,
    leaves: ["file"],
  },
  "writer, going on": {
    prepare: (driver, context) => append(driver, context, { from: 0, to: endOfFirst(context) }),
    run: (driver, context) => append(driver, context, { from: endOfFirst(context), to: context.large.length }),
    check: goesOn,
    unharmed: goesOn,
    leaves: ["file"],
  },
  "writer, to its commit": {
    prepare: (driver, context) => append(driver, context, { from: 0, to: context.large.length }),
    async run(driver, { folder }) {
      await using writer = await driver.writer(`${folder}/file`, { append: true });
      await writer.commit();
    },
    check: (driver, { folder, large }) => holds(driver, `${folder}/file`, large),
    unharmed: goesOn,
    leaves: ["file"],
  },
  "writer, cancelled": {
    prepare: (driver, context) => append(driver, context, { from: 0, to: endOfFirst(context) }),
    async run(driver, { folder }) {
      await using writer = await driver.writer(`${folder}/file`, { append: true });
      await writer.cancel();
    },
    check: (driver, { folder }) => isMissing(driver, `${folder}/file`),
    leaves: [],
  },
  create: {
    prepare: (driver, { folder, other }) => create(driver, `${folder}/file`, other),
    run: (driver, { folder, large }) => create(driver, `${folder}/file`, large),
    check: (driver, { folder, large }) => holds(driver, `${folder}/file`, large),
    unharmed: (driver, { folder, other }) => holds(driver, `${folder}/file`, other),
    leaves: ["file"],
  },
  stat: {
    prepare: (driver, { folder }) => driver.putContent(`${folder}/file`, "text"),
    async run(driver, { folder }) {
      expect((await driver.stat(`${folder}/file`)).sizeBytes).toBe(4);
      expect((await driver.stat(folder)).isDirectory).toBe(true);
      await isMissing(driver, `${folder}/missing`);
    },
    leaves: ["file"],
  },
  list: {
    prepare: (driver, { folder }) => driver.putContent(`${folder}/a/file`, "text"),
    run: async (driver, { folder }) => expect((await driver.list(folder)).entries).toEqual([{ name: "a", isDirectory: true }]),
    leaves: ["a/file"],
  },
  move: {
    prepare: (driver, { folder }) => driver.putContent(`${folder}/from`, "text"),
    run: (driver, { folder }) => driver.move(`${folder}/from`, `${folder}/to`),
    async check(driver, { folder }) {
      expect(await textAt(driver, `${folder}/to`)).toBe("text");
      await isMissing(driver, `${folder}/from`);
    },
    unharmed: async (driver, { folder }) => expect(await textAt(driver, `${folder}/from`)).toBe("text"),
    leaves: ["to"],
  },
  "move of much": {
    prepare: (driver, { folder, large }) => create(driver, `${folder}/from`, large),
    run: (driver, { folder }) => driver.move(`${folder}/from`, `${folder}/to`),
    async check(driver, { folder, large }) {
      await holds(driver, `${folder}/to`, large);
      await isMissing(driver, `${folder}/from`);
    },
    async unharmed(driver, { folder, large }) {
      await holds(driver, `${folder}/from`, large);
      await isMissing(driver, `${folder}/to`);
    },
    leaves: ["to"],
  },
  delete: {
    prepare: async (driver, { folder }) => void (await Promise.all(["a", "b", "c/d"].map((name) => driver.putContent(`${folder}/dir/${name}`, name)))),
    run: (driver, { folder }) => driver.delete(`${folder}/dir`),
    check: (driver, { folder }) => isMissing(driver, `${folder}/dir`),
    leaves: [],
  },
};

/** Makes a file. */
export async function create(driver: StorageDriver, path: string, bytes: Uint8Array): Promise<void> {
  await using writer = await driver.create(path);
  await writeAll(writer, bytes);
  await writer.commit();
}

/** Writes bytes in pieces, as they come from a client. */
export async function writeAll(writer: FileWriter, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += WRITE_BYTES) await writer.write(bytes.subarray(offset, offset + WRITE_BYTES));
}

/** Fails unless a file has exactly these bytes. */
export async function holds(driver: StorageDriver, path: string, bytes: Uint8Array): Promise<void> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of await driver.reader(path)) hash.update(chunk);
  expect(`sha256:${hash.digest("hex")}`).toBe(digestOf(bytes));
}

/** Whatever is stored of `file` is the beginning of the large content, and can be gone on with to its end. */
async function goesOn(driver: StorageDriver, { folder, large }: OperationContext): Promise<void> {
  await using writer = await driver.writer(`${folder}/file`, { append: true });
  expect(writer.sizeBytes).toBeLessThanOrEqual(large.length);
  await writeAll(writer, large.subarray(writer.sizeBytes));
  await writer.commit();
  await holds(driver, `${folder}/file`, large);
}

/** Writes a stretch of the large content, as one request of an upload does. */
async function append(driver: StorageDriver, { folder, large }: OperationContext, { from, to }: { readonly from: number; readonly to: number }): Promise<void> {
  await using writer = await driver.writer(`${folder}/file`, { append: true });
  expect(writer.sizeBytes).toBe(from);
  await writeAll(writer, large.subarray(from, to));
  await writer.close();
}

/** A part, and some more that fills none. */
function endOfFirst({ large }: OperationContext): number {
  return Math.floor(large.length * 0.6) + 1;
}

async function isMissing(driver: StorageDriver, path: string): Promise<void> {
  const error = await driver.stat(path).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(PathNotFoundError);
}

async function textAt(driver: StorageDriver, path: string): Promise<string> {
  return Buffer.from(await driver.getContent(path)).toString();
}
