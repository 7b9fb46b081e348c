import { RegistryError } from "../oci/errors.ts";
import type { ByteSource } from "../registry/registry.ts";

/**
 * The body of a request as bytes that end with an error when the client goes silent or away.
 * Bun's own idle timeout cuts steady slow uploads and is switched off for bodies; this watch takes its place.
 * @param stallTimeoutMs How long no byte may arrive.
 */
export async function* watchedBody(body: ReadableStream<Uint8Array>, stallTimeoutMs: number): ByteSource {
  const reader = body.getReader();
  /** Undefined while the chunk is with the consumer: its time is not the client's silence. */
  let waitingSince: number | undefined;
  let stalled = false;
  // One timer for the whole body: arming one for every 64 KiB chunk would cost more than the chunk.
  const watch = setInterval(() => {
    if (waitingSince === undefined || performance.now() - waitingSince < stallTimeoutMs) return;
    stalled = true;
    void reader.cancel().catch(() => undefined);
  }, Math.max(50, Math.min(5_000, stallTimeoutMs / 4)));
  let ended = false;
  try {
    for (;;) {
      waitingSince = performance.now();
      const { done, value } = await reader.read();
      waitingSince = undefined;
      if (done) break;
      yield value;
    }
    ended = true;
    if (stalled) throw new RegistryError("SIZE_INVALID", { status: 408, message: "the request body stalled" });
  } finally {
    clearInterval(watch);
    if (!ended) await reader.cancel().catch(() => undefined);
  }
}

/** What a small body is first expected to have; most manifests have less. */
const FIRST_BYTES = 16 * 1024;

/**
 * Reads a body that must be small.
 * @throws RegistryError as `tooLarge` makes it, having read no more than `maxBytes` and one chunk.
 */
export async function readBody(source: ByteSource, maxBytes: number, tooLarge: () => RegistryError): Promise<Uint8Array<ArrayBuffer>> {
  // Chunks are not kept: a client may send single bytes, and each comes with a buffer of its own.
  let bytes = new Uint8Array(FIRST_BYTES);
  let sizeBytes = 0;
  for await (const chunk of source) {
    const end = sizeBytes + chunk.length;
    if (end > maxBytes) throw tooLarge();
    if (end > bytes.length) bytes = enlarged(bytes, Math.max(end, Math.min(2 * bytes.length, maxBytes)));
    bytes.set(chunk, sizeBytes);
    sizeBytes = end;
  }
  return bytes.slice(0, sizeBytes);
}

function enlarged(bytes: Uint8Array, sizeBytes: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(sizeBytes);
  larger.set(bytes);
  return larger;
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
