import type { HashAnswer, HashRequest } from "./upload-hash.ts";

/*
 * Hashes bytes away from the thread that serves requests. Bytes come in shared memory and are answered for when they were read;
 * every request has one answer, in order.
 */

declare const self: Worker;

const hashers = new Map<number, Bun.CryptoHasher>();

self.onmessage = (event: MessageEvent<HashRequest>) => {
  self.postMessage(answer(event.data));
};

function answer(request: HashRequest): HashAnswer {
  try {
    switch (request.op) {
      case "update":
        hasherOf(request).update(request.bytes);
        return null;
      case "digest": {
        const hex = hasherOf(request).digest("hex");
        hashers.delete(request.id);
        return { hex };
      }
      case "close":
        hashers.delete(request.id);
        return null;
    }
  } catch (error) {
    hashers.delete(request.id);
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function hasherOf({ id, algorithm }: Exclude<HashRequest, { op: "close" }>): Bun.CryptoHasher {
  let hasher = hashers.get(id);
  if (hasher === undefined) {
    hasher = new Bun.CryptoHasher(algorithm);
    hashers.set(id, hasher);
  }
  return hasher;
}
