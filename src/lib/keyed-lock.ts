/** Mutual exclusion by key, in the order of asking. A key that nobody holds or waits for costs nothing. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits until the key is free and takes it; disposing gives it back. */
  async take(key: string): Promise<Disposable> {
    const previous = this.#tails.get(key);
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const tail = previous === undefined ? released : previous.then(() => released);
    this.#tails.set(key, tail);
    if (previous !== undefined) await previous;
    return {
      [Symbol.dispose]: () => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
        release();
      },
    };
  }
}
