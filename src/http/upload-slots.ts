import { RegistryError } from "../oci/errors.ts";

/** Bounds how many request bodies are written to the store at the same time: each holds buffers. */
export class UploadSlots {
  readonly #limit: number;
  #taken = 0;

  /** @param limit 0 for no limit. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many are taken. */
  get taken(): number {
    return this.#taken;
  }

  /** @throws RegistryError TOOMANYREQUESTS when all are taken */
  take(): Disposable {
    if (this.#limit > 0 && this.#taken >= this.#limit) {
      throw new RegistryError("TOOMANYREQUESTS", { detail: "too many uploads at once", headers: { "retry-after": "2" } });
    }
    this.#taken++;
    return { [Symbol.dispose]: () => void this.#taken-- };
  }
}
