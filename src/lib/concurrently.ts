/** How many items are handled before other requests get their turn, where each item takes microseconds. */
const ITEMS_PER_TURN = 256;

/**
 * Lets timers, sockets and other requests have a turn. Needed in long loops over local storage, whose calls finish without one.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/**
 * Maps items with a bounded number of calls under way at once. After the first failure no further call begins.
 * @returns The results in the order of the items.
 */
export async function mapConcurrently<T, R>(items: Iterable<T>, limit: number, map: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const iterator = items[Symbol.iterator]();
  let started = 0;
  let failed = false;
  const work = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true && !failed; next = iterator.next()) {
      const index = started++;
      try {
        results[index] = await map(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
      if (started % ITEMS_PER_TURN === 0) await yieldToEventLoop();
    }
  };
  const workers = await Promise.allSettled(Array.from({ length: Math.max(1, limit) }, work));
  const failure = workers.find((worker) => worker.status === "rejected");
  if (failure !== undefined) throw failure.reason;
  return results;
}

/**
 * Maps items in their order, with calls for the next ones under way while a result is waited for. What was begun for nothing, when the
 * caller stops early or a call fails, is left to end by itself.
 */
export async function* mapAhead<T, R>(items: Iterable<T>, limit: number, map: (item: T) => Promise<R>): AsyncGenerator<R> {
  const ahead: Promise<R>[] = [];
  for (const item of items) {
    const result = map(item);
    result.catch(() => undefined);
    if (ahead.push(result) < limit) continue;
    yield await (ahead.shift() ?? result);
  }
  for (const result of ahead) yield await result;
}

/** Waits for all, also when one fails: nothing goes on behind the caller's back. @throws what the first failure threw */
export async function waitForAll(...promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises);
  const failure = results.find((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
}
