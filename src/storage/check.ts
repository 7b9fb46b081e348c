import type { StorageDriver } from "./driver.ts";
import { PathNotFoundError } from "./errors.ts";

/** What was tried. */
export interface CheckResult {
  readonly action: string;
  readonly outcome: "ok" | "failed" | "skipped";
  readonly durationMs: number;
  /** The store's own words; with `failed` only. */
  readonly error?: string;
  /** What is likely to be missing; with `failed` only. */
  readonly hint?: string;
}

/** How a store is checked. */
export interface CheckOptions {
  /** A folder that is nobody's; it is gone afterwards. */
  readonly folder: string;
  /** How long one action may take. */
  readonly timeoutMs: number;
  /** Fetches a signed URL as a client would, without credentials. @throws Error when it is refused */
  readonly fetchUrl: (url: string, method: "GET" | "HEAD") => Promise<{ readonly sizeBytes: number; readonly text: string }>;
  readonly listener?: (result: CheckResult) => void;
}

interface Check {
  readonly action: string;
  /** Actions that must have gone well before. */
  readonly after: readonly string[];
  readonly hint: string;
  run(): Promise<void>;
}

const TEXT = "a registry tried whether it may use this store\n";
/** More than one part where stores take parts. */
const PIECE_BYTES = 6 * 1024 * 1024;

/**
 * Tries everything that a registry does on a store, with the permissions that it has there. Touches nothing but its own folder, which is
 * removed at the end, whatever happened.
 */
export async function checkStore(driver: StorageDriver, options: CheckOptions): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of checksOf(driver, options)) {
    const isPossible = check.after.every((action) => results.some((result) => result.action === action && result.outcome === "ok"));
    const result = isPossible ? await tried(check, options.timeoutMs) : ({ action: check.action, outcome: "skipped", durationMs: 0 } as const);
    results.push(result);
    options.listener?.(result);
  }
  return results;
}

async function tried({ action, hint, run }: Check, timeoutMs: number): Promise<CheckResult> {
  const startedMs = performance.now();
  try {
    await within(run(), timeoutMs);
    return { action, outcome: "ok", durationMs: performance.now() - startedMs };
  } catch (error) {
    return { action, outcome: "failed", durationMs: performance.now() - startedMs, error: describe(error), hint };
  }
}

async function within(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function checksOf(driver: StorageDriver, { folder, fetchUrl }: CheckOptions): readonly Check[] {
  const [small, moved, upload, created] = [`${folder}/small`, `${folder}/moved`, `${folder}/upload/data`, `${folder}/created`];
  const piece = new Uint8Array(PIECE_BYTES).fill(7);
  const checks: Check[] = [
    {
      action: "put",
      after: [],
      hint: "writing objects (s3:PutObject), the name of the bucket, the credentials, the endpoint; on files: who owns the folder, and free space",
      run: () => driver.putContent(small, TEXT),
    },
    {
      action: "get",
      after: ["put"],
      hint: "reading objects (s3:GetObject)",
      run: async () => expectEqual(Buffer.from(await driver.getContent(small)).toString(), TEXT),
    },
    {
      action: "ranged get",
      after: ["put"],
      hint: "reading objects (s3:GetObject); a proxy before the store that drops Range",
      run: async () => expectEqual(await Bun.readableStreamToText(await driver.reader(small, { offset: 2, length: 8 })), TEXT.slice(2, 10)),
    },
    {
      action: "stat",
      after: ["put"],
      hint: "reading and listing objects (s3:GetObject, s3:ListBucket)",
      run: async () => expectEqual((await driver.stat(small)).sizeBytes, TEXT.length),
    },
    {
      action: "stat of what is missing",
      after: ["put"],
      hint: "listing objects (s3:ListBucket): without it a store says 'forbidden' for what is not there, and no push can work",
      run: async () => {
        const failure = await driver.stat(`${folder}/missing`).catch((error: unknown) => error);
        if (!(failure instanceof PathNotFoundError)) throw failure instanceof Error ? failure : new Error("the store shows an object that nobody wrote");
      },
    },
    {
      action: "list",
      after: ["put"],
      hint: "listing objects (s3:ListBucket)",
      run: async () => expectEqual((await driver.list(folder)).entries.map(({ name }) => name).join(), "small"),
    },
    {
      action: "overwrite",
      after: ["put", "get"],
      hint: "overwriting objects: no object lock, no versions that cannot be replaced",
      run: async () => {
        await driver.putContent(small, `${TEXT}again`);
        expectEqual((await driver.getContent(small)).length, TEXT.length + 5);
        await driver.putContent(small, TEXT);
      },
    },
    {
      action: "upload in several requests",
      after: [],
      hint: "multipart uploads (s3:PutObject, s3:ListMultipartUploadParts, s3:ListBucketMultipartUploads, s3:AbortMultipartUpload)",
      run: async () => {
        for (const sitting of [0, 1]) {
          await using writer = await driver.writer(upload, { append: sitting > 0 });
          expectEqual(writer.sizeBytes, sitting * PIECE_BYTES);
          await writer.write(piece);
          if (sitting === 0) await writer.close();
          else await writer.commit();
        }
      },
    },
    {
      action: "move",
      after: ["upload in several requests"],
      hint: "copying within the bucket and deleting (s3:GetObject, s3:PutObject, s3:DeleteObject)",
      run: async () => {
        await driver.move(upload, moved);
        expectEqual((await driver.stat(moved)).sizeBytes, 2 * PIECE_BYTES);
      },
    },
    {
      action: "upload in one request",
      after: [],
      hint: "multipart uploads (s3:PutObject, s3:AbortMultipartUpload)",
      run: async () => {
        await using writer = await driver.create(created);
        await writer.write(piece);
        await writer.commit();
        expectEqual((await driver.stat(created)).sizeBytes, PIECE_BYTES);
      },
    },
  ];
  if (driver.redirectUrl !== undefined) for (const method of ["GET", "HEAD"] as const) checks.push(redirectCheck(driver, small, { method, fetchUrl }));
  if (driver.listUnfinished !== undefined) {
    checks.push({
      action: "list unfinished uploads",
      after: [],
      hint: "s3:ListBucketMultipartUploads: without it unfinished uploads cannot be purged",
      run: async () => {
        for await (const _ of driver.listUnfinished?.(folder) ?? []);
      },
    });
  }
  checks.push({
    action: "delete",
    after: [],
    hint: `deleting and listing objects (s3:DeleteObject, s3:ListBucket); remove ${folder} by hand`,
    run: async () => {
      await driver.delete(folder).catch((error: unknown) => {
        if (!(error instanceof PathNotFoundError)) throw error;
      });
    },
  });
  return checks;
}

function redirectCheck(driver: StorageDriver, path: string, { method, fetchUrl }: Pick<CheckOptions, "fetchUrl"> & { readonly method: "GET" | "HEAD" }): Check {
  return {
    action: `signed URL, ${method}`,
    after: ["put"],
    hint: "the endpoint as clients see it, and the clock of this host; with storage.redirect.disable blobs go through the registry instead",
    async run() {
      const url = await driver.redirectUrl?.(path, { method });
      // Not every credential can sign: blobs are streamed then.
      if (url === undefined) return;
      const { sizeBytes, text } = await fetchUrl(url, method);
      expectEqual(sizeBytes, TEXT.length);
      if (method === "GET") expectEqual(text, TEXT);
    },
  };
}

function expectEqual(found: unknown, expected: unknown): void {
  if (found !== expected) throw new Error(`found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
}

function describe(error: unknown): string {
  const parts: string[] = [];
  for (let each = error; each instanceof Error && parts.length < 5; each = each.cause) if (!parts.includes(each.message)) parts.push(each.message);
  return (parts.length === 0 ? String(error) : parts.join(": ")).replaceAll(/\s+/g, " ");
}
