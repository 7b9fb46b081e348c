import { type FileHandle, open, unlink } from "node:fs/promises";
import { join } from "node:path";

/** The bytes of a blob that have arrived so far, to be read by who came late or is slow. */
export interface Spool extends AsyncDisposable {
  /** Adds bytes; absent where somebody else writes the file. */
  append?(chunk: Uint8Array): Promise<void>;
  /** Reads what is there from a position on, `length` bytes at most; empty when nothing is there yet. */
  read(position: number, length: number): Promise<Uint8Array>;
}

/** Reads along in a file that another one writes; it may be renamed or deleted meanwhile. */
export async function followFile(path: string): Promise<Spool> {
  const file = await open(path, "r");
  return { read: (position, length) => readAt(file, position, length), [Symbol.asyncDispose]: () => file.close() };
}

/** Keeps bytes in a file without a name, which is gone with the process. */
export async function temporarySpool(folder: string): Promise<Spool> {
  const path = join(folder, `registry-spool-${crypto.randomUUID()}`);
  const file = await open(path, "wx+", 0o600);
  await unlink(path);
  let sizeBytes = 0;
  return {
    async append(chunk) {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await file.write(chunk, done, chunk.length - done, sizeBytes);
        done += bytesWritten;
        sizeBytes += bytesWritten;
      }
    },
    read: (position, length) => readAt(file, position, length),
    [Symbol.asyncDispose]: () => file.close(),
  };
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafe(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}
