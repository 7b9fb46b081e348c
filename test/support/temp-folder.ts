import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder that goes away when it is disposed of. */
export interface TempFolder extends AsyncDisposable {
  readonly path: string;
}

/**
 * Makes an empty folder below the system's folder for temporary files. Its name is lower-case and short: podman makes image names of
 * paths, and sockets are to fit into it.
 */
export async function tempFolder(): Promise<TempFolder> {
  const path = join(tmpdir(), `registry-test-${randomBytes(5).toString("hex")}`);
  await mkdir(path, { mode: 0o700 });
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
