import type { CheckedRange } from "../byte-range.ts";
import type { OpenFile } from "./open-file.ts";

const CHUNK_BYTES = 256 * 1024;

/** Streams a part of an open file, as fast as it is taken; closes the file at the end, at a failure, or when it is cancelled. */
export function streamFile(file: OpenFile, range: CheckedRange, asFailure: (error: unknown) => Error): ReadableStream<Uint8Array> {
  let position = range.startByte;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const wantedBytes = Math.min(CHUNK_BYTES, range.endByte - position);
          const chunk = await file.read(position, wantedBytes);
          position += chunk.length;
          if (chunk.length > 0) controller.enqueue(chunk);
          if (chunk.length < wantedBytes || position === range.endByte) {
            await file.close();
            controller.close();
          }
        } catch (error) {
          await file.close();
          controller.error(asFailure(error));
        }
      },
      async cancel() {
        await file.close();
      },
    },
    { highWaterMark: 0 },
  );
}
