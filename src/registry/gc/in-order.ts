/**
 * Maps items with a bounded number of calls under way, and gives the results in the order of the items as they come.
 * Leaving early, or a failure, waits for the calls under way.
 */
export async function* mapInOrder<T, R>(items: Iterable<T>, limit: number, map: (item: T) => Promise<R>): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  try {
    for (const item of items) {
      const result = map(item);
      // It is waited for below, maybe after others failed.
      result.catch(() => undefined);
      running.push(result);
      if (running.length >= limit) yield await (running.shift() as Promise<R>);
    }
    while (running.length > 0) yield await (running.shift() as Promise<R>);
  } finally {
    await Promise.allSettled(running);
  }
}
