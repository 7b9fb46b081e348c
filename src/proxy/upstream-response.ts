import { UpstreamError } from "./upstream-error.ts";

const DEFAULT_RETRY_AFTER_SECONDS = 10;
const MAX_RETRY_AFTER_SECONDS = 3600;

/**
 * Reads a whole body.
 * @throws UpstreamError `garbage` when it is longer than allowed, `unavailable` when it breaks off.
 */
export async function readBody(response: Response, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of response.body ?? []) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxBytes) throw new UpstreamError("garbage", `the answer is longer than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof UpstreamError) throw error;
    throw new UpstreamError("unavailable", "the answer broke off", { cause: error });
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

/** Reads a JSON body. @throws UpstreamError */
export async function readJson(response: Response, maxBytes: number): Promise<unknown> {
  const bytes = await readBody(response, maxBytes);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new UpstreamError("garbage", "the answer is not JSON", { cause: error });
  }
}

/** How long an upstream wants to be left alone: its `Retry-After`, in seconds or as a date, within sensible bounds. */
export function retryAfterOf(response: Response, now = Date.now()): number {
  const header = response.headers.get("retry-after");
  if (header === null) return DEFAULT_RETRY_AFTER_SECONDS;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isNaN(seconds) ? DEFAULT_RETRY_AFTER_SECONDS : Math.min(MAX_RETRY_AFTER_SECONDS, Math.max(1, Math.ceil(seconds)));
}

/** The whole size that a `Content-Length` or, with a 206, a `Content-Range` states; undefined when neither does. */
export function sizeOf(response: Response): number | undefined {
  const text = response.status === 206 ? /^bytes \d+-\d+\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1] : response.headers.get("content-length");
  return text !== undefined && text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
