import { release } from "../lib/release.ts";

/**
 * The same bytes as the body of an answer, at the pace of whoever receives it. The memory of each chunk is used again for the next:
 * left to the garbage collector, a pull of a gigabyte took 60 MiB more at the peak, and a quarter more CPU time.
 * @param source Its chunks belong to whoever reads it.
 */
export function sentStream(source: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const reader = source.getReader();
  return new ReadableStream<Uint8Array>({
    type: "direct",
    async pull(controller) {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return controller.close();
        // The chunk has been copied, or sent, when this returns; what it returns is to wait for while there is no room for more.
        const written = controller.write(value as Uint8Array<ArrayBuffer>);
        release(value);
        await written;
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
