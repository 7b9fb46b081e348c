import { WriterBusyError } from "../errors.ts";

/**
 * Which files this process is writing to. Object stores have no locks; between processes, what was changed behind a writer's back is
 * found at its commit, by the tags of the parts.
 */
export class HeldPaths {
  readonly #driver: string;
  readonly #held = new Set<string>();

  /** @param driver Its name, for error texts. */
  constructor(driver: string) {
    this.#driver = driver;
  }

  /** Takes a path until disposed of. @throws WriterBusyError when it is taken */
  take(path: string): Disposable {
    if (this.#held.has(path)) throw new WriterBusyError(this.#driver, path);
    this.#held.add(path);
    return { [Symbol.dispose]: () => void this.#held.delete(path) };
  }
}
