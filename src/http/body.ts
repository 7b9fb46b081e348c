import { RegistryError } from "../oci/errors.ts";
import type { ByteSource } from "../registry/registry.ts";

/**
 * The body of a request as bytes that end with an error when the client goes silent or away.
 * Bun's own idle timeout cuts steady slow uploads and is switched off for bodies; this watch takes its place.
 * @param stallTimeoutMs How long no byte may arrive.
 */
export async function* watchedBody(body: ReadableStream<Uint8Array>, stallTimeoutMs: number): ByteSource {
  const reader = body.getReader();
  let lastByteAt = performance.now();
  let stalled = false;
  // One timer for the whole body: arming one for every 64 KiB chunk would cost more than the chunk.
  const watch = setInterval(() => {
    if (performance.now() - lastByteAt < stallTimeoutMs) return;
    stalled = true;
    void reader.cancel().catch(() => undefined);
  }, Math.max(50, Math.min(5_000, stallTimeoutMs / 4)));
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      lastByteAt = performance.now();
      yield value;
      // Time spent by the consumer is not the client's silence.
      lastByteAt = performance.now();
    }
    ended = true;
    if (stalled) throw new RegistryError("SIZE_INVALID", { status: 408, message: "the request body stalled" });
  } finally {
    clearInterval(watch);
    if (!ended) await reader.cancel().catch(() => undefined);
  }
}

/**
 * Reads a body that must be small.
 * @throws RegistryError as `tooLarge` makes it, having read no more than `maxBytes` and one chunk.
 */
export async function readBody(source: ByteSource, maxBytes: number, tooLarge: () => RegistryError): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of source) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(sizeBytes);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** How much of a refused request's body is read, so that a client that sends before it listens gets to read the answer. */
const DRAIN_BYTES = 1024 * 1024;
const DRAIN_MS = 2_000;

/** Reads the rest of a refused request's body, within bounds; errors do not matter any more. */
export async function drainBody(request: Request): Promise<void> {
  const body = request.body;
  if (body === null || request.bodyUsed || body.locked) return;
  const reader = body.getReader();
  const timer = setTimeout(() => void reader.cancel().catch(() => undefined), DRAIN_MS);
  try {
    let left = DRAIN_BYTES;
    while (left > 0) {
      const { done, value } = await reader.read();
      if (done) return;
      left -= value.length;
    }
    await reader.cancel();
  } catch {
    // The client is gone: nobody is left to be told.
  } finally {
    clearTimeout(timer);
  }
}
