import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileWriter } from "../driver.ts";
import { PathNotFoundError, WriterBusyError } from "../errors.ts";
import { openFilesystemDriver } from "./driver.ts";

let root: string;
let file: string;
let nowMs: number;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "appended-file-"));
  mkdirSync(join(root, "up"));
  file = join(root, "up/data");
  nowMs = Date.now();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function opened(): Promise<FileWriter> {
  return await openFilesystemDriver({ rootdirectory: root }, { clock: { now: () => nowMs } }).writer("/up/data", { append: true });
}

/** What a call fails with. */
async function failureOf(call: Promise<unknown>): Promise<unknown> {
  return await call.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Makes the file look as if nobody had written to it for a minute. */
function age(): void {
  utimesSync(file, nowMs / 1000 - 60, nowMs / 1000 - 60);
}

// The null device takes every byte, and cannot be synced: as a disk that loses what was written to it.
describe("an appended file whose bytes the disk loses", () => {
  beforeEach(() => symlinkSync("/dev/null", file));

  test("while it is written is gone, and its writer told so when it closes", async () => {
    const writer = await opened();
    const piece = new Uint8Array(8 * 1024 * 1024);
    for (let count = 0; count < 8; count++) await writer.write(piece);
    expect(await failureOf(writer.close())).toMatchObject({ message: expect.stringContaining("EINVAL") });
    expect(existsSync(file)).toBe(false);
  });

  test("takes no more of them once that is known", async () => {
    const writer = await opened();
    const piece = new Uint8Array(8 * 1024 * 1024);
    let failure: unknown;
    for (let count = 0; count < 10_000 && failure === undefined; count++) {
      failure = await failureOf(writer.write(piece));
      await Bun.sleep(0);
    }
    expect(failure).toMatchObject({ message: expect.stringContaining("EINVAL") });
    await writer[Symbol.asyncDispose]();
    expect(existsSync(file)).toBe(false);
  });

  test("at the commit is gone: a second commit would find nothing wrong", async () => {
    const writer = await opened();
    await writer.write(bytes("lost"));
    expect(await failureOf(writer.commit())).toMatchObject({ message: expect.stringContaining("EINVAL") });
    expect(existsSync(file)).toBe(false);
  });
});

describe("an appended file that is not its writer's any more", () => {
  test("cannot be put away as if all had been kept", async () => {
    const slow = await opened();
    age();
    await using successor = await opened();
    await slow.write(bytes("lost"));
    expect(await failureOf(slow.close())).toBeInstanceOf(WriterBusyError);
    await successor.write(bytes("kept"));
    await successor.commit();
    expect(readFileSync(file, "utf8")).toBe("kept");
  });

  test("cannot be put away when it was deleted", async () => {
    const writer = await opened();
    await writer.write(bytes("x"));
    rmSync(file);
    expect(await failureOf(writer.close())).toBeInstanceOf(PathNotFoundError);
  });

  test("is noticed by its writer although the clock was set back", async () => {
    const slow = await opened();
    writeFileSync(`${file}.other`, "");
    renameSync(`${file}.other`, file);
    nowMs -= 3_600_000;
    expect(await failureOf(slow.write(bytes("x")))).toBeInstanceOf(WriterBusyError);
    await slow[Symbol.asyncDispose]();
  });

  test("is not committed when somebody else wrote into it, as can be where there are no locks", async () => {
    const writer = await opened();
    await writer.write(bytes("mine"));
    appendFileSync(file, "theirs");
    expect(await failureOf(writer.commit())).toBeInstanceOf(WriterBusyError);
    expect(readFileSync(file, "utf8")).toBe("minetheirs");
  });
});
