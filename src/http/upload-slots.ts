import { RegistryError } from "../oci/errors.ts";

/** Most bytes of bodies held whole in memory, over all requests … */
const MAX_HELD_BYTES = 256 * 1024 * 1024;
/** … beyond the first of each, which nearly every manifest fits in: those get through whatever others hold. */
const UNCOUNTED_BYTES = 64 * 1024;

/** Bounds how many request bodies are written to the store at the same time, as each holds buffers, and what is held of others. */
export class UploadSlots {
  readonly #limit: number;
  readonly #maxHeldBytes: number;
  #taken = 0;
  #heldBytes = 0;

  /** @param limit 0 for no limit. */
  constructor(limit: number, maxHeldBytes = MAX_HELD_BYTES) {
    this.#limit = limit;
    this.#maxHeldBytes = maxHeldBytes;
  }

  /** How many are taken. */
  get taken(): number {
    return this.#taken;
  }

  /** @throws RegistryError TOOMANYREQUESTS when all are taken */
  take(): Disposable {
    if (this.#limit > 0 && this.#taken >= this.#limit) throw tooMany("too many uploads at once");
    this.#taken++;
    return { [Symbol.dispose]: () => void this.#taken-- };
  }

  /** Counts a body that is held in memory for as long as its request lasts; disposing ends that. */
  hold(): HeldBody {
    let sizeBytes = 0;
    const countedBytes = (): number => Math.max(0, sizeBytes - UNCOUNTED_BYTES);
    const setSize = (to: number): void => {
      this.#heldBytes -= countedBytes();
      sizeBytes = to;
      this.#heldBytes += countedBytes();
    };
    return {
      add: (bytes) => {
        setSize(sizeBytes + bytes);
        if (countedBytes() > 0 && this.#heldBytes > this.#maxHeldBytes) throw tooMany("too many large manifests at once");
      },
      [Symbol.dispose]: () => setSize(0),
    };
  }
}

/** A body that is held in memory. */
export interface HeldBody extends Disposable {
  /** Says that it grew. @throws RegistryError TOOMANYREQUESTS when too much is held */
  add(bytes: number): void;
}

function tooMany(detail: string): RegistryError {
  return new RegistryError("TOOMANYREQUESTS", { detail, headers: { "retry-after": "2" } });
}
